"""Given credit by the month: schedules, whose months jobs give.

Revision ID: 0039
Revises: 0038
"""

from pathlib import Path

from alembic import op

revision = "0039"
down_revision = "0038"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for statement in Path(__file__).with_name("0039_grant_schedules.sql").read_text().split("--;;\n"):
        if statement.strip():
            op.execute(statement)
