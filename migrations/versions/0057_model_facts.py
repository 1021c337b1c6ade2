"""What sources state of a model beside what a call needs. Columns are only added, with defaults: no row is rewritten.

Revision ID: 0057
Revises: 0056
"""

from pathlib import Path

from alembic import op

revision = "0057"
down_revision = "0056"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for statement in Path(__file__).with_name("0057_model_facts.sql").read_text().split("--;;\n"):
        op.execute(statement)
