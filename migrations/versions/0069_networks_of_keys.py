"""The networks from which a key may be used.

Revision ID: 0069
Revises: 0068
"""

from alembic import op

revision = "0069"
down_revision = "0068"
branch_labels = None
depends_on = None

TABLES = ("keys", "management_keys")


def upgrade() -> None:
    for table in TABLES:
        op.execute(
            f"ALTER TABLE {table} ADD COLUMN networks cidr[] NOT NULL DEFAULT '{{}}'"
            f" CONSTRAINT {table}_networks_few CHECK (cardinality(networks) <= 20)"
        )
        op.execute(f"COMMENT ON COLUMN {table}.networks IS 'From which it may be used; empty: from every one'")
    # Of management keys nothing else changes after their making but their end.
    op.execute("GRANT UPDATE (networks) ON management_keys TO gigarouter_app")
