"""Bounds: functions of the owner's are for the product alone, old probes may go, the audit log is listed by an index.

Nothing is replaced; older releases run on it unchanged.

Revision ID: 0008
Revises: 0007
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# They run with their owner's rights, so nobody's temporary table may stand before ours.
FUNCTIONS = ("make_route_weeks(date, integer)", "drop_route_weeks(date)")


def upgrade() -> None:
    for function in FUNCTIONS:
        op.execute(f"ALTER FUNCTION {function} SET search_path = public, pg_temp")
        op.execute(f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {function} TO gigarouter_app")
    op.execute("GRANT DELETE ON probes TO gigarouter_app")
    # No call writes here, so operators may wait while it is made. CONCURRENTLY would wait for a second migration, which
    # waits for this one.
    op.execute("CREATE INDEX audit_at ON audit (at, id)")
