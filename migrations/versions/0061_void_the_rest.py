"""The rest of an invoice that was credited in part can be voided; what was paid of it is set off.

Revision ID: 0061
Revises: 0060
"""

from pathlib import Path

from alembic import op

revision = "0061"
down_revision = "0060"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for statement in Path(__file__).with_name("0061_void_the_rest.sql").read_text().split("--;;\n"):
        if statement.strip():
            op.execute(statement)
