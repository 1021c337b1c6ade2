"""Mails of documents: one row per document and address, made in the transaction that issues it.

Revision ID: 0030
Revises: 0028
"""

from pathlib import Path

from alembic import op

revision = "0030"
down_revision = "0028"
branch_labels = None
depends_on = None


def upgrade() -> None:
    statements = Path(__file__).with_name("0030_document_mails.sql").read_text().split("--;;\n")
    for statement in statements:
        if statement.strip():
            op.execute(statement)
