"""A charge belongs to a lease: the right of one process to charge in one generation of Redis.

Older releases run on it while it is rolled out: they go on to charge through ``charge_calls``, without a lease, as
unfenced as they always were, and take part in barriers by their row in ``processes``. The first release after this one
may put ``charge_calls`` into ``charge_leased_calls``.

Revision ID: 0015
Revises: 0014
"""

from pathlib import Path

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    statements = Path(__file__).with_name("0015_charge_leases.sql").read_text().split("--;;\n")
    for statement in statements:
        if statement.strip():
            op.execute(statement)
