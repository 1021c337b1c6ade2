"""The postings of running balances are counted, so that a version is posted once whichever month its entry is in.

``posted_balances`` has the sum and the last version of the postings to each customer's credit and debt. A trigger on
``postings`` alone moves it, by the next version, one posting for each; at the commit the balance must be the same. So
neither a unique index over all months nor a search for the posting of a version is needed.

The trigger comes first and leaves accounts alone that are not counted yet; then these are counted, a few hundred at a
time and none that a call has locked; then the index goes. Older releases run on it while it is rolled out.

Revision ID: 0035
Revises: 0034
"""

from pathlib import Path

from alembic import op

revision = "0035"
down_revision = "0034"
branch_labels = None
depends_on = None


def upgrade() -> None:
    statements = Path(__file__).with_suffix(".sql").read_text().split("--;;\n")
    for statement in statements:
        if statement.strip():
            op.execute(statement)
    with op.get_context().autocommit_block():
        op.execute("SET statement_timeout = 0")
        op.execute("CALL count_postings()")
        op.execute("CALL finish_count_postings()")
        op.execute("SET statement_timeout = '5s'")
    op.execute("DROP PROCEDURE count_postings, finish_count_postings")
