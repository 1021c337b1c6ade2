"""Accounts whose usage is told to Stripe's meters, and the outbox of what they are told.

Revision ID: 0064
Revises: 0063
"""

from pathlib import Path

from alembic import op

revision = "0064"
down_revision = "0063"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for statement in Path(__file__).with_suffix(".sql").read_text().split("--;;\n"):
        if statement.strip():
            op.execute(statement)
