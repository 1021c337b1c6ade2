"""The chart gets the ledger accounts that finance needs, and a customer's debt becomes a running balance.

A house ledger account may have a ``detail``: the jurisdiction of a tax, the provider of a payable. What an account
owes, ``customer_overdraft``, is counted as its credit is: by version, under the lock of the credit's row.

Older releases run on it while it is rolled out: they open accounts whose debt is not counted yet (null), and give
credit to accounts in debt without paying that first. The job "count and pay debts" repairs both. It also counts the
debt of accounts of before, in one pass; until then the debt is summed where it is needed. The first release after this
one may drop the ``post_usage`` of five arguments.

Revision ID: 0021
Revises: 0020
"""

from pathlib import Path

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    statements = Path(__file__).with_name("0021_chart_and_debt.sql").read_text().split("--;;\n")
    for statement in statements:
        if statement.strip():
            op.execute(statement)
