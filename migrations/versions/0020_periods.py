"""Each entry belongs to a month, and each usage event says what a line of an invoice needs to be recomputed.

``entries.period`` is the UTC month in which the calls of a usage entry occurred, and of booking for every other kind;
a commit books one entry per account and month. ``usage_events`` gets what the call held, which bounds its cost, and how
much of its charge was paid from promotional and goodwill credit, split over the calls of a commit in a fixed order.

Older releases run on it while it is rolled out: they call ``charge_calls`` with 22 arguments and one entry per account,
which splits that entry by month itself and leaves ``held_nano`` empty. Entries and usage events of before have none of
these and stay as they were booked; the checks of columns are not valid for them, and never made so. The first release
after this one may drop the ``charge_calls`` of 22 arguments, the ``charge_leased_calls`` of 24 and the ``post_usage``
of five.

Revision ID: 0020
Revises: 0016
"""

from pathlib import Path

from alembic import op

revision = "0020"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    statements = Path(__file__).with_name("0020_periods.sql").read_text().split("--;;\n")
    for statement in statements:
        if statement.strip():
            op.execute(statement)
