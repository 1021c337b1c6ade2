"""Usage of an hour by key and model together, for the days of zones other than UTC.

Revision ID: 0087
Revises: 0083
"""

from pathlib import Path

from alembic import op

revision = "0087"
down_revision = "0083"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for statement in Path(__file__).with_name("0087_usage_by_key_and_model.sql").read_text().split("--;;\n"):
        if statement.strip():
            op.execute(statement)
