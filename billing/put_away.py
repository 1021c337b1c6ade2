"""Puts closed months of the ledger away: into a file first, and later, by a step of its own, out of the database.

Both steps verify the file by walking the batches of its month with what the file has. What goes is what calls of the
month booked; one entry for each account stands for it, so that balances, statements and reports stay what they were.
"""

from datetime import date
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.archives import Archive, Counts, file_name, list_archives, sha256_of, write_file
from billing.periods import State, get_period, next_month
from billing.seal import verify
from store.postgres import Database

_IS_A_TABLE = text("SELECT to_regclass('entries_' || :month) IS NOT NULL")
# The batches that have an entry of the month. One that is in none is not sealed yet.
_SPAN = text("""
    WITH made AS (
        SELECT coalesce(xact, '0') AS xact, id FROM entries WHERE source_ref NOT LIKE 'archive:%'
            AND id >= first_id_at(CAST(:since AS date)::timestamp AT TIME ZONE 'UTC')
            AND id < first_id_at(CAST(:until AS date)::timestamp AT TIME ZONE 'UTC')
    ), ends AS (
        (SELECT xact, id FROM made ORDER BY 1, 2 LIMIT 1)
        UNION ALL (SELECT xact, id FROM made ORDER BY 1 DESC, 2 DESC LIMIT 1)
    )
    SELECT min(b.number) AS first, max(b.number) AS last, count(*) = count(b.number) AS is_sealed
    FROM ends LEFT JOIN LATERAL (
        SELECT number FROM sealed_batches
        WHERE (coalesce(last_xact, '0'), last_entry) >= (ends.xact, ends.id) ORDER BY number LIMIT 1
    ) b ON true
""")
_RECORD = text("""
    INSERT INTO ledger_archives AS a (period, file, sha256, entries, postings, calls, last_batch)
    VALUES (:period, :file, :sha256, :entries, :postings, :calls, :last_batch)
    ON CONFLICT (period) DO UPDATE SET file = EXCLUDED.file, sha256 = EXCLUDED.sha256, entries = EXCLUDED.entries,
        postings = EXCLUDED.postings, calls = EXCLUDED.calls, last_batch = EXCLUDED.last_batch, written_at = now()
""")
# What calls drew from credit lines is moved by batches, from their entries.
_IS_ACCRUED = text("SELECT batch >= :last OR NOT EXISTS (SELECT FROM grants WHERE kind = 'line') FROM line_accrual")


class CannotPutAway(Exception):
    """A month that cannot be put away; the message says why and what to do."""


async def archive(db: Database, period: date, folder: Path) -> Archive:
    """Write a closed month to its file, verify it and record it. Raises :class:`CannotPutAway`."""
    path = folder / file_name(period)
    async with db.transaction(snapshot=True) as tx:
        first, last = await _require_whole(tx, period)
        counts = await write_file(tx, period, path)
        await _require_right(tx, _archive(period, path, counts, last), folder, first)
    async with db.transaction() as tx:
        facts = {"period": period, "file": path.name, "sha256": sha256_of(path), "last_batch": last}
        await tx.execute(
            _RECORD, facts | {"entries": counts.entries, "postings": counts.postings, "calls": counts.calls}
        )
        return (await _find(tx, period))[0]


async def drop(db: Database, period: date, folder: Path) -> None:
    """Verify a month's file again, then drop what is in it. Raises :class:`CannotPutAway`."""
    async with db.transaction(snapshot=True) as tx:
        first, _ = await _require_whole(tx, period)
        found = await _find(tx, period)
        if not found:
            raise CannotPutAway(f"{period:%Y-%m} is in no file yet: gigarouter ledger archive {period:%Y-%m}")
        path = folder / found[0].file
        if not path.is_file() or sha256_of(path) != found[0].sha256:
            raise CannotPutAway(f"{path} is not the file that was written; write it again")
        await _require_right(tx, found[0], folder, first)
    connection = await db.connect()
    try:
        await connection.execute("SET statement_timeout = 0")
        await connection.execute(f"CALL drop_archived_month('{period.isoformat()}')")
    finally:
        await connection.close()


async def _require_whole(tx: AsyncConnection, period: date) -> tuple[int, int]:
    """The first and the last batch of a month, all of which is sealed, and which takes no entries any more."""
    month = await get_period(tx, period)
    if month is None or month.state is not State.CLOSED:
        raise CannotPutAway(f"{period:%Y-%m} is not closed: gigarouter admin close start {period:%Y-%m}")
    if any(found.dropped_at is not None for found in await _find(tx, period)):
        raise CannotPutAway(f"{period:%Y-%m} was dropped before")
    if not await tx.scalar(_IS_A_TABLE, {"month": f"{period:%Y%m}"}):
        raise CannotPutAway(f"{period:%Y-%m} has no tables of its own: it is in those of before there were months")
    span = (await tx.execute(_SPAN, {"since": period, "until": next_month(period)})).one()
    if span.first is None:
        raise CannotPutAway(f"{period:%Y-%m} has no entries")
    if not span.is_sealed:
        raise CannotPutAway(f"{period:%Y-%m} is not sealed yet: is `gigarouter jobs` running?")
    if not await tx.scalar(_IS_ACCRUED, {"last": span.last}):
        raise CannotPutAway(f"what {period:%Y-%m} drew from credit lines is not unbilled yet: it is once a day")
    return span.first, span.last


async def _require_right(tx: AsyncConnection, written: Archive, folder: Path, first: int) -> None:
    """Walk the batches of the month with what its file has, and nothing of the month from the database."""
    verdict = await verify(tx, first=first, last=written.last_batch, archives=folder, instead=written)
    if verdict.wrong_batch is not None:
        raise CannotPutAway(
            f"batch {verdict.wrong_batch} of {written.month} is wrong in {written.file}: {verdict.message}"
        )


async def _find(tx: AsyncConnection, period: date) -> list[Archive]:
    return [found for found in await list_archives(tx) if found.period == period]


def _archive(period: date, path: Path, counts: Counts, last: int) -> Archive:
    return Archive(period, path.name, sha256_of(path), counts.entries, counts.postings, counts.calls, last, None, None)
