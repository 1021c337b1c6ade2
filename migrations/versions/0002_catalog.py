"""Catalogue: models and their aliases, license claims, resolutions, waivers, acceptances, and what became of a model.

Revision ID: 0002
Revises: 0001
"""

from pathlib import Path

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for statement in (Path(__file__).parent / "0002_catalog.sql").read_text().split("--;;\n"):
        if statement.strip():
            op.execute(statement)
