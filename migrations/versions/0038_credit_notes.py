"""Credit notes of a part of a document; reminders of invoices as mails.

Revision ID: 0038
Revises: 0043
"""

from pathlib import Path

from alembic import op

revision = "0038"
down_revision = "0043"
branch_labels = None
depends_on = None


def upgrade() -> None:
    statements = Path(__file__).with_name("0038_credit_notes.sql").read_text().split("--;;\n")
    for statement in statements:
        if statement.strip():
            op.execute(statement)
