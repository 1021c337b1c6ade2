"""A commit books all of its accounts in the same few statements.

Revision ID: 0078
Revises: 0076
"""

from pathlib import Path

from alembic import op

revision = "0078"
down_revision = "0076"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(Path(__file__).with_name("0078_a_commit_is_one_set.sql").read_text())
