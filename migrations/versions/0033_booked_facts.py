"""That a fact is booked once is held by a table of its own, so that entries can be of months.

``booked_facts`` has a row for each fact, filled by a trigger with its entry: of two transactions with one fact the
second waits for the first, and is refused if that commits, as by the unique index on ``entries.source_ref`` that goes.
An entry of usage has no other fact than itself: ``usage:`` and its own id repeat the primary key, and have no row.

The trigger comes first, which waits until all transactions that write entries have ended; then the facts of before are
filled in beside all traffic; then the index goes. Older releases run on it while it is rolled out: what they book goes
through the trigger. Those that read the name of the violated constraint find another one, for a payment that is
recorded twice, and answer 500 instead of 409 until they are replaced.

Revision ID: 0033
Revises: 0032
"""

from pathlib import Path

from alembic import op

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None


def upgrade() -> None:
    statements = Path(__file__).with_suffix(".sql").read_text().split("--;;\n")
    for statement in statements:
        if statement.strip():
            op.execute(statement)
    with op.get_context().autocommit_block():
        op.execute("SET statement_timeout = 0")
        op.execute("CALL use_booked_facts()")
        op.execute("SET statement_timeout = '5s'")
    op.execute("DROP PROCEDURE use_booked_facts")
