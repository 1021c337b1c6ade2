"""Sign-in codes, sessions, passkeys and outside identities of people, and what bounds how often somebody tries.

Revision ID: 0047
Revises: 0046
"""

from pathlib import Path

from alembic import op

revision = "0047"
down_revision = "0046"
branch_labels = None
depends_on = None


def upgrade() -> None:
    statements = Path(__file__).with_suffix(".sql").read_text().split("--;;\n")
    for statement in statements:
        if statement.strip():
            op.execute(statement)
