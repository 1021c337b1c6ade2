"""Seals entries in batches, each with a SHA-256 over its entries and the batch before; walks the chain to verify it.

Entries are sealed in the order of (transaction, id), and only those of transactions below the oldest that is still
open: whatever such a transaction booked is visible, and no other can get a number below it. So no entry is skipped, and
none comes to lie behind the seal. A transaction that stays open delays the seal, never a call.
"""

import hashlib
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing import sealed_usage
from billing.archives import Archive, ArchivedChain, ArchiveFault, list_archives
from store.postgres import Database

BATCH_ENTRIES_MAX = 5_000
FIRST_DIGEST = bytes(32)
_NIL = UUID(int=0)
# Jobs that seal at once take turns.
_LOCK = text("SELECT pg_advisory_xact_lock(hashtext('gigarouter seal'))")
_HORIZON = text("SELECT pg_snapshot_xmin(pg_current_snapshot())::text")
_LAST = text(
    "SELECT number, last_xact::text AS last_xact, last_entry, entries, postings, digest, sealed_at FROM sealed_batches"
    " ORDER BY number DESC LIMIT 1"
)
_BATCHES = text(
    "SELECT number, last_xact::text AS last_xact, last_entry, entries, postings, digest, sealed_at FROM sealed_batches"
    " WHERE number >= :first ORDER BY number LIMIT 200"
)
# One line of JSON for each entry, as docs/ledger.md has it: a change of it would be another chain.
_LINES = """
    SELECT e.xact::text AS xact, e.id, e.booked_at, p.legs,
        jsonb_build_array(e.id, e.kind, e.source_ref, e.account_id, e.period,
        to_char(e.booked_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), e.note, p.postings)::text AS line
    FROM (SELECT * FROM entries WHERE {condition} ORDER BY xact, id LIMIT :limit) e
    CROSS JOIN LATERAL (
        SELECT count(*) AS legs, jsonb_agg(jsonb_build_array(leg, ledger_account_id, amount_nano, version) ORDER BY leg)
            AS postings FROM postings WHERE entry_id = e.id
    ) p ORDER BY e.xact, e.id
"""
# What stands for a month that was put away (billing/archives.py) has no transaction, and is in no batch.
_BEFORE = "xact IS NULL AND id > :id AND source_ref NOT LIKE 'archive:%'"
_SINCE = "(xact, id) > (CAST(CAST(:xact AS text) AS xid8), :id)"
_NEW_BEFORE = text(_LINES.format(condition=_BEFORE))
_NEW = text(_LINES.format(condition=f"{_SINCE} AND xact < CAST(CAST(:horizon AS text) AS xid8)"))
_SEALED_BEFORE = text(_LINES.format(condition=f"{_BEFORE} AND id <= :last_id"))
_SEALED = text(
    _LINES.format(condition=f"{_SINCE} AND (xact, id) <= (CAST(CAST(:last_xact AS text) AS xid8), :last_id)")
)
_LEFT_BEFORE = text(f"SELECT count(*) FROM entries WHERE {_BEFORE}")  # noqa: S608 - constants
_INSERT = text("""
    INSERT INTO sealed_batches (number, last_xact, last_entry, entries, postings, digest)
    VALUES (:number, CAST(CAST(:last_xact AS text) AS xid8), :last_entry, :entries, :postings, :digest)
""")
_ADD_BALANCES = text("""
    INSERT INTO sealed_balances AS b (ledger_account_id, amount_nano, postings)
    SELECT ledger_account_id, sum(amount_nano), count(*) FROM postings WHERE entry_id = ANY(CAST(:entries AS uuid[]))
    GROUP BY 1 ORDER BY 1
    ON CONFLICT (ledger_account_id) DO UPDATE
    SET amount_nano = b.amount_nano + EXCLUDED.amount_nano, postings = b.postings + EXCLUDED.postings
""")


class Batch(msgspec.Struct, frozen=True):
    """A sealed batch: its last entry, how much it has, and its digest."""

    number: int
    last_xact: str | None
    last_entry: UUID
    entries: int
    postings: int
    digest: bytes
    sealed_at: datetime


class Verdict(msgspec.Struct, frozen=True):
    """What a walk along the chain found: the first wrong batch and why, or None; ``head`` is the last batch that is."""

    batches: int
    entries: int
    postings: int
    wrong_batch: int | None
    message: str
    head: Batch | None


async def last_batch(tx: AsyncConnection) -> Batch | None:
    """The head of the chain."""
    row = (await tx.execute(_LAST)).one_or_none()
    return None if row is None else Batch(*row)


async def seal(db: Database, *, batches_max: int = 100) -> int:
    """Seal what can be sealed, at most so many batches; returns how many entries that were."""
    sealed = 0
    for _ in range(batches_max):
        async with db.transaction() as tx:
            await tx.execute(_LOCK)
            entries = await _seal_one(tx)
        sealed += entries
        if entries < BATCH_ENTRIES_MAX:
            break
    return sealed


async def _seal_one(tx: AsyncConnection) -> int:
    last = await last_batch(tx)
    # Each statement has a snapshot of its own: the entries are read after the horizon, and have all that is below it.
    horizon = await tx.scalar(_HORIZON)
    rows: list[Any] = []
    if last is None or last.last_xact is None:
        position = {"id": last.last_entry if last else _NIL}
        rows = list(await tx.execute(_NEW_BEFORE, position | {"limit": BATCH_ENTRIES_MAX}))
    if not rows:
        xact, entry = (last.last_xact, last.last_entry) if last and last.last_xact else ("0", _NIL)
        facts = {"xact": xact, "id": entry, "horizon": horizon, "limit": BATCH_ENTRIES_MAX}
        rows = list(await tx.execute(_NEW, facts))
    if not rows:
        return 0
    facts = {
        "number": last.number + 1 if last else 1,
        "last_xact": rows[-1].xact,
        "last_entry": rows[-1].id,
        "entries": len(rows),
        "postings": sum(row.legs for row in rows),
        "digest": digest(last.digest if last else FIRST_DIGEST, [row.line for row in rows]),
    }
    await tx.execute(_INSERT, facts)
    ids, times = [row.id for row in rows], [row.booked_at for row in rows]
    await tx.execute(_ADD_BALANCES, {"entries": ids})
    await sealed_usage.add_sealed(tx, ids, min(times), max(times))
    return len(rows)


def digest(previous: bytes, lines: list[str]) -> bytes:
    """The digest of a batch: SHA-256 of the one before it and of its entries, each a line that ends in a line feed."""
    return hashlib.sha256(previous + "".join(f"{line}\n" for line in lines).encode()).digest()


async def verify(
    tx: AsyncConnection,
    *,
    first: int = 1,
    last: int | None = None,
    archives: Path | None = None,
    instead: Archive | None = None,
) -> Verdict:
    """Walk the chain from batch ``first`` to ``last``, or its end, in one snapshot; stops at the first wrong batch.

    Months that were put away are read from their files in the folder ``archives``. Without it the walk begins behind
    them, and says so. The month ``instead`` is read from its file although the database has it.
    """
    dropped = [archive for archive in await list_archives(tx) if archive.dropped_at is not None]
    put_away = max((archive.last_batch for archive in dropped), default=0)
    message = ""
    if archives is None and first <= put_away:
        first, message = put_away + 1, f"batches up to {put_away} are in files: gigarouter ledger verify reads them"
    before = await _batch(tx, first - 1)
    if first > 1 and before is None:
        return Verdict(0, 0, 0, first, f"batch {first - 1} is missing", None)
    files = [archive for archive in dropped if archive.last_batch >= first]
    chain = None if archives is None else ArchivedChain(archives, files, instead)
    found = await _walk(tx, before, first, last, chain)
    is_whole = found.wrong_batch is None and first == 1 and last is None
    if is_whole and chain is not None and (wrong := await chain.fault(tx)):
        return msgspec.structs.replace(found, wrong_batch=put_away, message=wrong)
    return msgspec.structs.replace(found, message=found.message or message)


async def _walk(
    tx: AsyncConnection, before: Batch | None, first: int, last: int | None, chain: ArchivedChain | None
) -> Verdict:
    batches = entries = postings = 0
    try:
        if chain is not None and before is not None:
            chain.take(_place(before))
    except ArchiveFault as fault:
        return Verdict(0, 0, 0, first, str(fault), before)
    while page := [
        Batch(*row) for row in await tx.execute(_BATCHES, {"first": before.number + 1 if before else first})
    ]:
        for batch in page:
            if last is not None and batch.number > last:
                return Verdict(batches, entries, postings, None, "", before)
            number = before.number + 1 if before else 1
            if batch.number != number:
                return Verdict(batches, entries, postings, number, "it is missing", before)
            if wrong := await _fault(tx, before, batch, chain):
                return Verdict(batches, entries, postings, batch.number, wrong, before)
            before = batch
            batches, entries, postings = batches + 1, entries + batch.entries, postings + batch.postings
    return Verdict(batches, entries, postings, None, "", before)


async def _batch(tx: AsyncConnection, number: int) -> Batch | None:
    found = [Batch(*row) for row in await tx.execute(_BATCHES, {"first": number})][:1]
    return found[0] if found and found[0].number == number else None


async def _fault(tx: AsyncConnection, before: Batch | None, batch: Batch, chain: ArchivedChain | None) -> str:
    """What is wrong with a batch, as a sentence; empty where nothing is."""
    if wrong := await _order_fault(tx, before, batch):
        return wrong
    try:
        rows = await _rows_of(tx, before, batch, chain)
    except ArchiveFault as fault:
        return str(fault)
    counts = (len(rows), sum(legs for legs, _ in rows.values()))
    if counts != (batch.entries, batch.postings):
        return f"it has {counts[0]} entries and {counts[1]} postings, and had {batch.entries} and {batch.postings}"
    if (
        digest(before.digest if before else FIRST_DIGEST, [line for _, (_, line) in sorted(rows.items())])
        != batch.digest
    ):
        return "its entries or postings are not those that were sealed"
    return ""


async def _order_fault(tx: AsyncConnection, before: Batch | None, batch: Batch) -> str:
    """Entries without a transaction come first, all of them."""
    if before is not None and before.last_xact is not None:
        return "it has entries without a transaction behind entries that have one" if batch.last_xact is None else ""
    if batch.last_xact is None:
        return ""
    left = await tx.scalar(_LEFT_BEFORE, {"id": before.last_entry if before else _NIL})
    return f"{left} entries without a transaction are in no batch before it" if left else ""


async def _rows_of(
    tx: AsyncConnection, before: Batch | None, batch: Batch, chain: ArchivedChain | None
) -> dict[tuple[int, UUID], tuple[int, str]]:
    """A batch's entries by their place: how many legs each has, and its line. Raises :class:`ArchiveFault`."""
    facts: dict[str, object] = {"last_id": batch.last_entry, "limit": None}
    if batch.last_xact is None:
        found = await tx.execute(_SEALED_BEFORE, facts | {"id": before.last_entry if before else _NIL})
    else:
        xact, last = (before.last_xact, before.last_entry) if before and before.last_xact else ("0", _NIL)
        found = await tx.execute(_SEALED, facts | {"last_xact": batch.last_xact, "xact": xact, "id": last})
    rows = {(int(row.xact or -1), row.id): (row.legs, row.line) for row in found}
    if chain is None:
        return rows
    rows = {place: row for place, row in rows.items() if not chain.replaces(place[1])}
    for month, entry in chain.take(_place(batch)):
        in_database = rows.get(entry.place)
        if in_database is None:
            rows[entry.place] = (len(entry.legs), entry.line)
            chain.add_gone(month, entry)
        elif in_database[1] != entry.line:
            raise ArchiveFault(f"entry {entry.place[1]} is not the one in the file of {month}")
    return rows


def _place(batch: Batch) -> tuple[int, UUID]:
    """Where a batch ends in the order of the seal."""
    return int(batch.last_xact or -1), batch.last_entry
