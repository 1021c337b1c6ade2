"""An export has the audit's money in USD, of earlier rows, too.

Revision ID: 0083
Revises: 0082
"""

from pathlib import Path

from alembic import op

revision = "0083"
down_revision = "0082"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for statement in Path(__file__).with_name("0083_audit_in_usd.sql").read_text().split("--;;\n"):
        if statement.strip():
            op.execute(statement)
