"""A key that is shown once can be shown again to whoever repeats the request, and a key may have several old secrets.

``idempotency.sealed`` has what an answer shows once, encrypted under the secret keys of the settings, which are not in
the database; the row and it are deleted together. ``old_secrets`` has the digests of secrets that were replaced before
the latest rotation and still work; the one that the latest rotation replaced stays in ``keys.previous_digest``, which
older releases read. While they run beside this one, a rotation by them ends earlier secrets as it always did, and they
do not know the secrets in the new table. Nothing is replaced, so nothing is to be dropped later.

Revision ID: 0010
Revises: 0009
"""

from pathlib import Path

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    statements = Path(__file__).with_name("0010_shown_again.sql").read_text().split("--;;\n")
    for statement in statements:
        if statement.strip():
            op.execute(statement)
