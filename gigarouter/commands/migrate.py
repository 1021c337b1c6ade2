"""`gigarouter migrate`: the schema, forward only."""

import asyncio

import typer

from gigarouter import schema, settings


def command(
    check: bool = typer.Option(False, "--check", help="Change nothing; exit with 1 when the schema is not up to date."),
) -> None:
    """Bring the schema of DATABASE_URL up to date; safe while the API runs, and when run twice."""
    url = settings.load().require_database_url()
    if not check:
        schema.migrate(url)
    asyncio.run(schema.require_migrated(url))
    typer.echo(f"The schema is at {schema.revisions()[0]}.")
