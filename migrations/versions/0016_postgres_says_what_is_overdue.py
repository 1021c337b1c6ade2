"""Postgres itself says which holds are overdue, so that no process' clock can end a call that still runs.

Older releases run on it while it is rolled out: their ``jobs`` go on to release through ``release_calls``. The first
release after this one may drop that.

Revision ID: 0016
Revises: 0015
"""

from pathlib import Path

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(Path(__file__).with_suffix(".sql").read_text())
