"""Stored outcomes are counted per account and hour, so that they can be bounded without being read.

The counters are kept by a trigger where an outcome is stored, and nothing is ever taken off them: an hour's row goes
when its outcomes have gone. Outcomes from before are not counted, for a day. Older code runs on it and is counted; it
cannot read the vectors that newer code stores in ``idempotency.body``, which no release has done before.

Revision ID: 0014
Revises: 0012
"""

from pathlib import Path

from alembic import op

revision = "0014"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    statements = Path(__file__).with_name("0014_kept_outcomes.sql").read_text().split("--;;\n")
    for statement in statements:
        if statement.strip():
            op.execute(statement)
