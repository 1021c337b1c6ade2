"""Credit lines: their limits, how far what was drawn is unbilled receivable, and the receivables with their payments.

The two indexes find an account's bookings that are no usage, and its grants that are a line; no call adds to either.

Revision ID: 0029
Revises: 0028
"""

from pathlib import Path

from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

INDEXES = {
    "entries_account_kind": "entries (account_id, kind) WHERE kind <> 'usage'",
    "grants_of_lines": "grants (account_id) WHERE kind = 'line'",
}


def upgrade() -> None:
    statements = Path(__file__).with_name("0029_credit_lines.sql").read_text().split("--;;\n")
    for statement in statements:
        if statement.strip():
            op.execute(statement)
    with op.get_context().autocommit_block():
        op.execute("SET statement_timeout = 0")
        for name, index in INDEXES.items():
            # One that was given up half-way is left invalid.
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            op.execute(f"CREATE INDEX CONCURRENTLY {name} ON {index}")
        op.execute("SET statement_timeout = '5s'")
