"""A deprecated or retired model names the one that takes its place.

Revision ID: 0079
Revises: 0078
"""

from pathlib import Path

from alembic import op

revision = "0079"
down_revision = "0078"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for statement in Path(__file__).with_name("0079_successors.sql").read_text().split("--;;\n"):
        op.execute(statement)
