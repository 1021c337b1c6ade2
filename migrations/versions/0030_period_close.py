"""Months are closed: none takes entries any more, and a call that is charged too late goes to the open month.

The trigger on ``entries`` has a condition that no entry of the present month meets: a commit pays a comparison for it.

Revision ID: 0030
Revises: 0029
"""

from pathlib import Path

from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None


def upgrade() -> None:
    statements = Path(__file__).with_name("0030_period_close.sql").read_text().split("--;;\n")
    for statement in statements:
        if statement.strip():
            op.execute(statement)
