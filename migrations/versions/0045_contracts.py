"""Contracts: prices, percentages off, minimums and commitments that were agreed with one account, each with its dates.

What an account pays under a contract has a table of its own, so that a release that knows no contracts reads none of
it as everybody's price; the view ``charged_prices`` has both for whoever explains a call. Entries get one more kind.

Revision ID: 0045
Revises: 0044
"""

from pathlib import Path

from alembic import op

revision = "0045"
down_revision = "0044"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # In a transaction of its own, which may wait for calls, and may be run again.
    with op.get_context().autocommit_block():
        op.execute(Path(__file__).with_name("0045_contracts_kind.sql").read_text())
    statements = Path(__file__).with_name("0045_contracts.sql").read_text().split("--;;\n")
    for statement in statements:
        if statement.strip():
            op.execute(statement)
