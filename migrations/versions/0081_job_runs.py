"""When each job of the jobs processes ran last, and failed: for whoever asks whether they keep up.

Revision ID: 0081
Revises: 0080
"""

from pathlib import Path

from alembic import op

revision = "0081"
down_revision = "0080"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for statement in Path(__file__).with_suffix(".sql").read_text().split("--;;\n"):
        if statement.strip():
            op.execute(statement)
