"""Months whose invoice is too small to be collected: they are on a later month's.

Revision ID: 0060
Revises: 0059
"""

from pathlib import Path

from alembic import op

revision = "0060"
down_revision = "0059"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for statement in Path(__file__).with_name("0060_carried_months.sql").read_text().split("--;;\n"):
        if statement.strip():
            op.execute(statement)
