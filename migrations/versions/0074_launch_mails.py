"""An account chooses whether it gets a mail when a model goes live, beside its vote.

Revision ID: 0074
Revises: 0073
"""

from pathlib import Path

from alembic import op

revision = "0074"
down_revision = "0073"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for statement in Path(__file__).with_name("0074_launch_mails.sql").read_text().split("--;;\n"):
        if statement.strip():
            op.execute(statement)
