"""Entries are sealed in batches, a chain of SHA-256, in the order of the transactions that booked them.

A batch takes entries of transactions below the oldest one that is still open, so none can come to lie behind it. Older
releases run on it: their entries get their transaction by the column's default. Entries of before have none; they are
sealed first, in the order of their ids.

Revision ID: 0023
Revises: 0022
"""

from pathlib import Path

from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    statements = Path(__file__).with_name("0023_sealed_batches.sql").read_text().split("--;;\n")
    for statement in statements:
        if statement.strip():
            op.execute(statement)
