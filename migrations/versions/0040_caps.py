"""Caps, one per period, of keys and of accounts, and the index by which an account's spending is summed.

The index stands in the way of no traffic, so it may take longer than a migration's statement usually may.

Revision ID: 0040
Revises: 0039
"""

from pathlib import Path

from alembic import op

revision = "0040"
down_revision = "0039"
branch_labels = None
depends_on = None


def upgrade() -> None:
    statements = Path(__file__).with_name("0040_caps.sql").read_text().split("--;;\n")
    for statement in statements:
        if statement.strip():
            op.execute(statement)
    with op.get_context().autocommit_block():
        op.execute("SET statement_timeout = 0")
        # One that was given up half-way is left invalid.
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS key_spend_account_period")
        op.execute("CREATE INDEX CONCURRENTLY key_spend_account_period ON key_spend (account_id, period)")
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS key_spend_account")
        op.execute("SET statement_timeout = '5s'")
