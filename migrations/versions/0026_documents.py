"""Who pays, who sells, and documents: their numbers without gaps, their lines and their files, none of which changes.

A document takes its number in the transaction that issues it, by a trigger, so that the product's role can neither skip
a number nor choose one. Older releases run on it: every table is new.

Revision ID: 0026
Revises: 0025
"""

from pathlib import Path

from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    statements = Path(__file__).with_name("0026_documents.sql").read_text().split("--;;\n")
    for statement in statements:
        if statement.strip():
            op.execute(statement)
