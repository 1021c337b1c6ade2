"""References of vector spaces know their texts, so that they hold for what another set of probes has in common.

Revision ID: 0007
Revises: 0006
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE space_references ADD COLUMN texts text[]")
    op.execute(
        "COMMENT ON COLUMN space_references.texts IS 'Digest of each probe in the order of the vectors; null: as the "
        "probe set that names the row'"
    )
