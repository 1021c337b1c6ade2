"""What an account owes beside usage, and the index by which its entries that are no usage are found.

The index is made month by month and stands in the way of no traffic, so it may take longer than a migration's statement
usually may. A month that is made meanwhile has it from the start.

Revision ID: 0063
Revises: 0062
"""

from pathlib import Path

from alembic import op
from sqlalchemy import text

revision = "0063"
down_revision = "0062"
branch_labels = None
depends_on = None

INDEX = "entries_beside_usage"
_MONTHS = text("""
    SELECT i.inhrelid::regclass::text FROM pg_inherits i WHERE i.inhparent = 'entries'::regclass AND NOT EXISTS (
        SELECT FROM pg_index x JOIN pg_inherits a ON a.inhrelid = x.indexrelid
        WHERE x.indrelid = i.inhrelid AND a.inhparent = CAST(:index AS text)::regclass) ORDER BY 1
""")


def upgrade() -> None:
    for statement in Path(__file__).with_suffix(".sql").read_text().split("--;;\n"):
        if statement.strip():
            op.execute(statement)
    with op.get_context().autocommit_block():
        op.execute("SET statement_timeout = 0")
        op.execute(f"CREATE INDEX IF NOT EXISTS {INDEX} ON ONLY entries (account_id) WHERE kind <> 'usage'")
        for month in list(op.get_bind().execute(_MONTHS, {"index": INDEX}).scalars()):
            # One that was given up half-way is left invalid.
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {month}_beside_usage")
            op.execute(f"CREATE INDEX CONCURRENTLY {month}_beside_usage ON {month} (account_id) WHERE kind <> 'usage'")
            op.execute(f"ALTER INDEX {INDEX} ATTACH PARTITION {month}_beside_usage")
        op.execute("SET statement_timeout = '5s'")
