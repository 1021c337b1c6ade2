"""Payments, refunds and disputes are found by words, ids and amounts through an index.

Revision ID: 0082
Revises: 0081
"""

from pathlib import Path

from alembic import op

revision = "0082"
down_revision = "0081"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for statement in Path(__file__).with_name("0082_payments_are_found.sql").read_text().split("--;;\n"):
        if statement.strip():
            op.execute(statement)
