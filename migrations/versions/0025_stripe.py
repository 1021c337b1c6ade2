"""Top-ups by Stripe: what a customer ordered and paid, refunds, disputes, and what Stripe said and has booked.

Amounts are cents, as Stripe has them; nano-dollars are in the ledger alone. No personal data is kept: names, addresses
and cards are Stripe's, and an event's body is not stored, because a job reads its object again.

Revision ID: 0025
Revises: 0024
"""

from pathlib import Path

from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for statement in Path(__file__).with_name("0025_stripe.sql").read_text().split("--;;\n"):
        if statement.strip():
            op.execute(statement)
