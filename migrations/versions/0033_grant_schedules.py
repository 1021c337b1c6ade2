"""Given credit by the month: schedules, whose months jobs give.

Revision ID: 0033
Revises: 0032
"""

from pathlib import Path

from alembic import op

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for statement in Path(__file__).with_name("0033_grant_schedules.sql").read_text().split("--;;\n"):
        if statement.strip():
            op.execute(statement)
