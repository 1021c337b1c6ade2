"""Exports for finance: what was requested, how far it is, and the files that were written; ``jobs`` writes them.

``csv_cell`` makes a cell harmless that a spreadsheet would take for a formula, where rows are copied out as CSV.

Revision ID: 0027
Revises: 0026
"""

from pathlib import Path

from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    statements = Path(__file__).with_name("0027_exports.sql").read_text().split("--;;\n")
    for statement in statements:
        if statement.strip():
            op.execute(statement)
