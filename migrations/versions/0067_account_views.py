"""What operators look at as an account's owner sees it, and until when.

Revision ID: 0067
Revises: 0066
"""

from pathlib import Path

from alembic import op

revision = "0067"
down_revision = "0066"
branch_labels = None
depends_on = None


def upgrade() -> None:
    statements = Path(__file__).with_suffix(".sql").read_text().split("--;;\n")
    for statement in statements:
        if statement.strip():
            op.execute(statement)
