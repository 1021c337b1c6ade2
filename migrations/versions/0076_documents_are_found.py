"""Documents are found by words of theirs, newest first.

Revision ID: 0076
Revises: 0074
"""

from pathlib import Path

from alembic import op

revision = "0076"
down_revision = "0074"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for statement in Path(__file__).with_name("0076_documents_are_found.sql").read_text().split("--;;\n"):
        if statement.strip():
            op.execute(statement)
