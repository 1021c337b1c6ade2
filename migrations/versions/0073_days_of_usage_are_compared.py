"""Days whose sums of usage have changed since they were compared with the events, for the nightly check.

Revision ID: 0073
Revises: 0072
"""

from pathlib import Path

from alembic import op

revision = "0073"
down_revision = "0072"
branch_labels = None
depends_on = None


def upgrade() -> None:
    statements = Path(__file__).with_suffix(".sql").read_text().split("--;;\n")
    for statement in statements:
        if statement.strip():
            op.execute(statement)
