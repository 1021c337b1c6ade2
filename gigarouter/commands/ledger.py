"""`gigarouter ledger`: puts closed months away in files, and verifies the chain over files and database together."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import date
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from billing import put_away
from billing.seal import Verdict, verify
from gigarouter import settings
from store.faults import CannotStart
from store.postgres import Database

T = TypeVar("T")
WRONG = 1
app = typer.Typer(no_args_is_help=True, help="Put closed months of the ledger away, and verify what is in files.")
Month = Annotated[str, typer.Argument(help="A month that is closed, such as 2026-11.")]
Folder = Annotated[
    Path, typer.Option("--archives", help="The folder of the files of months.", exists=True, file_okay=False)
]


@app.command()
def archive(month: Month, archives: Folder) -> None:
    """Write a closed month to a file and verify it; the database keeps the month until `ledger drop`."""
    written = _with_database(lambda db: put_away.archive(db, _period(month), archives))
    counts = f"{written.entries:,} entries, {written.postings:,} postings, {written.calls:,} calls"
    typer.echo(f"{archives / written.file}: {counts}.")
    typer.echo(f"SHA-256 {written.sha256.hex()}")
    typer.echo("Keep copies of it elsewhere, then: gigarouter ledger drop " + month)


@app.command()
def drop(month: Month, archives: Folder) -> None:
    """Drop what is in a month's file from the database, after the file was verified again. Cannot be undone."""
    _with_database(lambda db: put_away.drop(db, _period(month), archives))
    typer.echo(f"What the calls of {month} booked is in its file alone; one entry for each account stands for it.")


@app.command(name="verify")
def verify_chain(archives: Folder, first: Annotated[int, typer.Option(help="The first batch.", min=1)] = 1) -> None:
    """Verify the chain of sealed batches over files and database; exits with 1 and names the first wrong batch."""

    async def walk(db: Database) -> Verdict:
        async with db.transaction(snapshot=True) as tx:
            return await verify(tx, first=first, archives=archives)

    verdict = _with_database(walk)
    typer.echo(f"{verdict.batches:,} batches are right: {verdict.entries:,} entries, {verdict.postings:,} postings.")
    if verdict.wrong_batch is not None:
        typer.secho(f"Batch {verdict.wrong_batch} is wrong: {verdict.message}.", err=True, fg="red")
        raise typer.Exit(WRONG)
    if verdict.head is not None:
        typer.echo(f"The head is batch {verdict.head.number}, {verdict.head.digest.hex()}.")


def _period(month: str) -> date:
    try:
        return date.fromisoformat(f"{month}-01")
    except ValueError as fault:
        raise CannotStart(f"{month} is no month such as 2026-11.") from fault


def _with_database(work: Callable[[Database], Awaitable[T]]) -> T:
    async def run() -> T:
        db = Database(settings.load_local().require_database_url(), as_owner=True)
        try:
            return await work(db)
        except (put_away.CannotPutAway, OSError) as fault:
            raise CannotStart(str(fault)) from fault
        finally:
            await db.close()

    return asyncio.run(run())
