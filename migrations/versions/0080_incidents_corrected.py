"""Operators correct incidents: what one touches, and what an update said; each correction is a row, nothing is changed.

Revision ID: 0080
Revises: 0079
"""

from pathlib import Path

from alembic import op

revision = "0080"
down_revision = "0079"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for statement in Path(__file__).with_suffix(".sql").read_text().split("--;;\n"):
        if statement.strip():
            op.execute(statement)
