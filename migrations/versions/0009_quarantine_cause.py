"""Why an endpoint is quarantined becomes a column, instead of the beginning of the sentence in ``state_reason``.

Older releases run on it while it is rolled out: they write no cause and go on to write and read what stands at the
beginning of ``state_reason``, so a trigger derives the cause from that, and no sentence is changed here. Older
releases' jobs do not retry what this release quarantines; its own jobs do. The first release after this one drops the
trigger and its function, and takes the beginnings ``probe_…: `` out of the sentences that are left.

Few endpoints are quarantined at any time, so their rows are filled here and not by a job: by the same trigger.

Revision ID: 0009
Revises: 0008
"""

from pathlib import Path

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    statements = Path(__file__).with_name("0009_quarantine_cause.sql").read_text().split("--;;\n")
    for statement in statements:
        if statement.strip():
            op.execute(statement)
