"""Exports of all that an account has, which its owners order.

Revision ID: 0068
Revises: 0067
"""

from alembic import op

revision = "0068"
down_revision = "0067"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE INDEX exports_of_account ON exports ((filters ->> 'account_id'), id) WHERE kind = 'account'")
