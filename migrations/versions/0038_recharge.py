"""Auto-recharge: consent in versions, the attempts, mails to customers; links to Stripe's portal.

Revision ID: 0038
Revises: 0037
"""

from pathlib import Path

from alembic import op

revision = "0038"
down_revision = "0037"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for statement in Path(__file__).with_name("0038_recharge.sql").read_text().split("--;;\n"):
        if statement.strip():
            op.execute(statement)
