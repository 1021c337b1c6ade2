"""Of each month, usage and ledger are compared as entries are sealed, so that the frequent check reads a row a month.

The job that seals fills it from the next batch on; what was sealed before is for the nightly check alone, as until now.

Revision ID: 0028
Revises: 0027
"""

from pathlib import Path

from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None


def upgrade() -> None:
    statements = Path(__file__).with_name("0028_sealed_usage.sql").read_text().split("--;;\n")
    for statement in statements:
        if statement.strip():
            op.execute(statement)
