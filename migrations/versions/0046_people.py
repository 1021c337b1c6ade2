"""People: who signs in. A member refers to a person, or to none until somebody signs in.

A member without ``person_id`` belongs to the person with its e-mail address, so that the release before this one
may go on to write members. The release after the next may fill what is empty and drop ``members.email``.

Revision ID: 0046
Revises: 0045
"""

from pathlib import Path

from alembic import op

revision = "0046"
down_revision = "0045"
branch_labels = None
depends_on = None


def upgrade() -> None:
    statements = Path(__file__).with_suffix(".sql").read_text().split("--;;\n")
    for statement in statements:
        if statement.strip():
            op.execute(statement)
