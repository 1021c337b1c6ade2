"""Invitations to an account, or to the operators.

Revision ID: 0048
Revises: 0047
"""

from pathlib import Path

from alembic import op

revision = "0048"
down_revision = "0047"
branch_labels = None
depends_on = None


def upgrade() -> None:
    statements = Path(__file__).with_suffix(".sql").read_text().split("--;;\n")
    for statement in statements:
        if statement.strip():
            op.execute(statement)
