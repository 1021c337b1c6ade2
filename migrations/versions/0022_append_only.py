"""The product's role may change of money only what the product changes, and the database holds it to that.

Of a grant it may lower what remains, of a running balance it may make one version with its posting in the same
transaction, and what a key spent only grows. An entry's postings have a version exactly where their ledger account has
a running balance. Older releases change nothing else, so they run on it.

Revision ID: 0022
Revises: 0021
"""

from pathlib import Path

from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    statements = Path(__file__).with_name("0022_append_only.sql").read_text().split("--;;\n")
    for statement in statements:
        if statement.strip():
            op.execute(statement)
