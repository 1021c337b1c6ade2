"""Billing: accounts, the double-entry ledger, grants, prices, usage and the one exactly-once gate of a charge.

Revision ID: 0003
Revises: 0002
"""

from pathlib import Path

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    here = Path(__file__).parent
    for name in ("0003_billing_tables.sql", "0003_billing_charge.sql"):
        for statement in (here / name).read_text().split("--;;\n"):
            if statement.strip():
                op.execute(statement)
