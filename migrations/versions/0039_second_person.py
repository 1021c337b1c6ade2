"""Proposals, which a second person decides; accounts that are closed.

Revision ID: 0039
Revises: 0037
"""

from pathlib import Path

from alembic import op

revision = "0039"
down_revision = "0037"
branch_labels = None
depends_on = None


def upgrade() -> None:
    statements = Path(__file__).with_name("0039_second_person.sql").read_text().split("--;;\n")
    for statement in statements:
        if statement.strip():
            op.execute(statement)
