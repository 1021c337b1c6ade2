"""``ended_calls`` is partitioned by month, and the database learns how a table that has rows is.

Every request id is a UUIDv7, so all tries to end a call meet in one month's table, whose primary key is the gate. There
is no default partition: an id that no month has is refused. A table with rows becomes the partition of all that is
before a month that has not begun; an empty one is dropped. What takes long (to validate the bound) holds no lock that
a call needs; the exchange takes its locks in the order in which calls do, gives up what it does not get within 200 ms,
and tries again.

Older releases run on it while it is rolled out: they name the table alone. An older ``charge_calls`` makes the id of an
entry's second month from the first one's time now, no longer from a hash alone.

Revision ID: 0032
Revises: 0031
"""

from pathlib import Path

from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None


def upgrade() -> None:
    statements = Path(__file__).with_suffix(".sql").read_text().split("--;;\n")
    for statement in statements:
        if statement.strip():
            op.execute(statement)
    with op.get_context().autocommit_block():
        op.execute("SET statement_timeout = 0")
        op.execute("CALL partition_by_month('ended_calls', 'request_id')")
        op.execute("SET statement_timeout = '5s'")
