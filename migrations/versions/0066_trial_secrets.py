"""A secret of a key may be one of a trial call: made for that call, and ended with it.

Revision ID: 0066
Revises: 0064
"""

from alembic import op

revision = "0066"
down_revision = "0064"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE old_secrets ADD COLUMN is_trial boolean NOT NULL DEFAULT false")
    op.execute(
        "COMMENT ON COLUMN old_secrets.is_trial IS "
        "'The pages made it for one call of a member, nobody has seen it, and it replaced nothing'"
    )
