"""The index that entries are sealed by, and checks of the migrations before that hold for old rows, too.

Neither stands in the way of traffic, so both may take longer than a migration's statement usually may. Checks of
columns that old rows do not have (``entries_period``, the two of ``usage_events``) stay as they are: for new rows.

Revision ID: 0024
Revises: 0023
"""

from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

VALID = {
    "ledger_accounts": (
        "ledger_accounts_kind",
        "ledger_accounts_detail",
        "ledger_accounts_running",
        "credit_never_negative",
        "debt_never_positive",
    ),
    "entries": ("entries_kind",),
    "grants": ("grants_kind",),
}


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("SET statement_timeout = 0")
        # One that was given up half-way is left invalid.
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS entries_xact")
        op.execute("CREATE INDEX CONCURRENTLY entries_xact ON entries (xact, id)")
        for table, constraints in VALID.items():
            for constraint in constraints:
                op.execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT {constraint}")
        op.execute("SET statement_timeout = '5s'")
