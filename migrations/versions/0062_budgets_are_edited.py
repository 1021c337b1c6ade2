"""The product may change what a budget says.

Revision ID: 0062
Revises: 0061
"""

from alembic import op

revision = "0062"
down_revision = "0061"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("GRANT UPDATE (name, period, amount_nano) ON budgets TO gigarouter_app")
