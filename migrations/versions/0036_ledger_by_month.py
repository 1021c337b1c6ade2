"""Entries, postings and uses of grants are partitioned by month, by the id of their entry.

That a posting, and a use of a grant, belongs to the transaction of its entry is held by a trigger, in the place of
foreign keys to ``entries``, which would keep a month from being put away. So at the commit each entry sees all of its
postings, and finds one to a ledger account that does not exist: that foreign key goes, too, whose locks on the house's
accounts all commits had in common. Receivables and their payments refer to ``booked_facts`` now, which stays.

Each lock is held for an instant, and what reads whole tables (to validate) holds none that calls need. Older releases
run on it while it is rolled out: they name the tables alone. It refuses a database that has entries whose id is no
UUIDv7, which a release of before 0032 made where it booked calls of two months at once.

Revision ID: 0036
Revises: 0035
"""

from pathlib import Path

from alembic import op

revision = "0036"
down_revision = "0035"
branch_labels = None
depends_on = None


def upgrade() -> None:
    statements = Path(__file__).with_suffix(".sql").read_text().split("--;;\n")
    for statement in statements:
        if statement.strip():
            op.execute(statement)
    with op.get_context().autocommit_block():
        op.execute("SET statement_timeout = 0")
        op.execute("CALL let_go_of_entries()")
        op.execute("CALL partition_by_month('postings', 'entry_id', ARRAY['entries'])")
        op.execute("CALL partition_by_month('grant_uses', 'entry_id', ARRAY['entries', 'grants'])")
        op.execute("CALL partition_by_month('entries', 'id', ARRAY['accounts'])")
        op.execute("SET statement_timeout = '5s'")
    op.execute("DROP PROCEDURE let_go_of_entries")
