"""Invoices of drawn credit that Stripe collects; payments of a receivable that come back.

Revision ID: 0059
Revises: 0058
"""

from pathlib import Path

from alembic import op

revision = "0059"
down_revision = "0058"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for statement in Path(__file__).with_name("0059_collections.sql").read_text().split("--;;\n"):
        if statement.strip():
            op.execute(statement)
