"""Sums of usage by quarter-hour, beside those by hour: of zones whose midnights are not on an hour of UTC.

The tables begin empty; jobs fill them from usage events, the latest first, beside all traffic, and reports read events
until then. A jobs process of before would add calls to the old tables alone: the database refuses its turns, which wait
in ``usage_pending`` for one of now.

Revision ID: 0072
Revises: 0070
"""

from pathlib import Path

from alembic import op

revision = "0072"
down_revision = "0070"
branch_labels = None
depends_on = None


def upgrade() -> None:
    statements = Path(__file__).with_suffix(".sql").read_text().split("--;;\n")
    for statement in statements:
        if statement.strip():
            op.execute(statement)
