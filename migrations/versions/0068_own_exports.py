"""Exports of all that an account has, which its owners order, and keys that act for a person.

Revision ID: 0068
Revises: 0067
"""

from alembic import op

revision = "0068"
down_revision = "0067"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        ALTER TABLE management_keys DROP CONSTRAINT management_keys_scopes_check,
            ADD CONSTRAINT management_keys_scopes_check CHECK (cardinality(scopes) > 0 AND scopes <@ ARRAY[
                'keys:read', 'keys:write', 'usage:read', 'usage:write', 'members:read', 'members:write',
                'billing:read', 'billing:write', 'person:read', 'person:write'
            ]) NOT VALID
    """)
    op.execute("ALTER TABLE management_keys VALIDATE CONSTRAINT management_keys_scopes_check")
    op.execute("CREATE INDEX exports_of_account ON exports ((filters ->> 'account_id'), id) WHERE kind = 'account'")
