"""The longest life that the keys of an account may have.

Revision ID: 0070
Revises: 0069
"""

from alembic import op

revision = "0070"
down_revision = "0069"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        "CREATE TABLE key_policies ("
        " account_id uuid PRIMARY KEY CONSTRAINT key_policies_account REFERENCES accounts (id),"
        " max_days integer CHECK (max_days BETWEEN 1 AND 3650),"
        " changed_at timestamptz NOT NULL DEFAULT now())"
    )
    op.execute("COMMENT ON TABLE key_policies IS 'What an account lets its keys have; without a row it bounds nothing'")
    op.execute("COMMENT ON COLUMN key_policies.max_days IS 'How long a new key works at most; null: without end'")
    op.execute("GRANT SELECT, INSERT, UPDATE ON key_policies TO gigarouter_app")
