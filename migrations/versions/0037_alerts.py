"""Budgets, the alerts that were raised, webhooks and what was sent to them.

Revision ID: 0037
Revises: 0036
"""

from pathlib import Path

from alembic import op

revision = "0037"
down_revision = "0036"
branch_labels = None
depends_on = None


def upgrade() -> None:
    statements = Path(__file__).with_name("0037_alerts.sql").read_text().split("--;;\n")
    for statement in statements:
        if statement.strip():
            op.execute(statement)
