"""One outbox: what waits in the two that were is moved, and what the release before still writes goes there, too.

A mail keeps its Message-ID, so that one that is being sent at this moment is seen once; one that was sent is remembered
and not sent again. The tables that were stay, empty, until no process of the release before runs any more.

Revision ID: 0050
Revises: 0049
"""

from pathlib import Path

from alembic import op

revision = "0050"
down_revision = "0049"
branch_labels = None
depends_on = None


def upgrade() -> None:
    statements = Path(__file__).with_name("0050_one_outbox.sql").read_text().split("--;;\n")
    for statement in statements:
        if statement.strip():
            op.execute(statement)
