"""Months of the ledger are put away: what their calls booked goes into a file, and a sum of each account stays.

``ledger_archives`` says of a month where its file is, what it has, and since when the month's rows are gone. What is
kept in the database of such a month is all that is no usage, usage of other months, and one entry for each account that
sums what is gone, so that every balance and every sum stays what it was. These entries are in no sealed batch.

Older releases run on it while it is rolled out, and until a month is put away.

Revision ID: 0037
Revises: 0036
"""

from pathlib import Path

from alembic import op

revision = "0037"
down_revision = "0036"
branch_labels = None
depends_on = None


def upgrade() -> None:
    statements = Path(__file__).with_suffix(".sql").read_text().split("--;;\n")
    for statement in statements:
        if statement.strip():
            op.execute(statement)
