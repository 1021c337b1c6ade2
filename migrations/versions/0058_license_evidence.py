"""What readers know better of a license: statements with a link, which operators look at once.

The index is for the changes of models' facts, which their pages list from the audit; it stands in nobody's way.

Revision ID: 0058
Revises: 0057
"""

from pathlib import Path

from alembic import op

revision = "0058"
down_revision = "0057"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for statement in Path(__file__).with_name("0058_license_evidence.sql").read_text().split("--;;\n"):
        op.execute(statement)
    with op.get_context().autocommit_block():
        op.execute("SET statement_timeout = 0")
        # One that was given up half-way is left invalid.
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS audit_model_facts")
        op.execute(
            "CREATE INDEX CONCURRENTLY audit_model_facts ON audit (subject, at) "
            "WHERE action IN ('model.edit', 'model.import')"
        )
        op.execute("SET statement_timeout = '5s'")
