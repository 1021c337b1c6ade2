"""Sums of usage by hour and key, by hour and model, and by day, which jobs make from usage events.

A commit notes which calls it charged, in one row of ``usage_pending``, by a trigger on the one gate of calls; jobs add
those to the sums and delete the note, in one transaction. So each call is summed once, however late it was charged. The
trigger waits until all transactions that end calls have ended. Usage of before is summed by jobs, hour by hour.

Revision ID: 0055
Revises: 0054
"""

from pathlib import Path

from alembic import op

revision = "0055"
down_revision = "0054"
branch_labels = None
depends_on = None


def upgrade() -> None:
    statements = Path(__file__).with_suffix(".sql").read_text().split("--;;\n")
    for statement in statements:
        if statement.strip():
            op.execute(statement)
