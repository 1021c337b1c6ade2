"""Explanations are a log of calls: columns of their own, and indexes by account with time, key, model and how it went.

Adding the columns is an instant, and what an older release writes meanwhile has none of them: such rows are read by
their explanation, and no filter finds them. The time of a call is in its id, which each index ends with. Each week's
index is made beside all traffic, and a week that is made later has it from the start.

Revision ID: 0054
Revises: 0052
"""

from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0054"
down_revision = "0052"
branch_labels = None
depends_on = None

INDEXES = {
    "routes_account": "(account_id, request_id)",
    "routes_key": "(account_id, key_id, request_id)",
    "routes_model": "(account_id, model_id, request_id)",
    "routes_slow": "(account_id, duration_class, request_id)",
    "routes_outcome": "(account_id, outcome, request_id) WHERE outcome <> 'answered'",
    "routes_code": "(account_id, code, request_id) WHERE code <> ''",
}
_WEEKS = sa.text("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'routes'::regclass ORDER BY 1")
_IS_ATTACHED = sa.text("SELECT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = to_regclass(:name))")


def upgrade() -> None:
    statements = Path(__file__).with_suffix(".sql").read_text().split("--;;\n")
    for statement in statements:
        if statement.strip():
            op.execute(statement)
    with op.get_context().autocommit_block():
        op.execute("SET statement_timeout = 0")
        for name, columns in INDEXES.items():
            _index(name, columns)
        op.execute("SET statement_timeout = '5s'")


def _index(name: str, columns: str) -> None:
    """Make one index, week by week; what an earlier try has made whole stays."""
    op.execute(f"CREATE INDEX IF NOT EXISTS {name} ON ONLY routes {columns}")
    connection = op.get_bind()
    for week in connection.execute(_WEEKS).scalars().all():
        part = f"{name}_{week.removeprefix('routes_')}"
        if not connection.scalar(_IS_ATTACHED, {"name": part}):
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {part}")
            op.execute(f"CREATE INDEX CONCURRENTLY {part} ON {week} {columns}")
            op.execute(f"ALTER INDEX {name} ATTACH PARTITION {part}")
