"""Writes a closed month of the ledger to a file, and reads it: what calls booked need not stay in the database.

The file is text, compressed by gzip, a line for each thing, whose parts are divided by tabs. ``M`` and the month begin
it; ``E`` is an entry that was made in the month: its transaction, the uses of grants, and the very line that the seal
has hashed (docs/ledger.md); ``C`` is a call that ended; ``T`` and the counts end it.
"""

import gzip
import hashlib
import heapq
import os
import zlib
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TextIO
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.periods import next_month

FORMAT = 1
# A compressed file is as small as at the highest level, and written three times as fast.
LEVEL = 6

_ENTRIES = text("""
    SELECT coalesce(e.xact::text, '') AS xact, p.legs,
        coalesce((SELECT jsonb_agg(jsonb_build_array(u.grant_id, u.amount_nano) ORDER BY u.grant_id)
            FROM grant_uses u WHERE u.entry_id = e.id), '[]')::text AS uses,
        jsonb_build_array(e.id, e.kind, e.source_ref, e.account_id, e.period,
        to_char(e.booked_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), e.note, p.postings)::text AS line
    FROM entries e CROSS JOIN LATERAL (
        SELECT count(*) AS legs, jsonb_agg(jsonb_build_array(leg, ledger_account_id, amount_nano, version) ORDER BY leg)
            AS postings FROM postings WHERE entry_id = e.id
    ) p WHERE e.id >= first_id_at(CAST(:since AS date)::timestamp AT TIME ZONE 'UTC')
        AND e.id < first_id_at(CAST(:until AS date)::timestamp AT TIME ZONE 'UTC') ORDER BY e.xact NULLS FIRST, e.id
""")
_CALLS = text("""
    SELECT jsonb_build_array(request_id, outcome, account_id, entry_id,
        to_char(occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))::text AS line
    FROM ended_calls WHERE request_id >= first_id_at(CAST(:since AS date)::timestamp AT TIME ZONE 'UTC')
        AND request_id < first_id_at(CAST(:until AS date)::timestamp AT TIME ZONE 'UTC') ORDER BY request_id
""")
_ARCHIVES = text("""
    SELECT period, file, sha256, entries, postings, calls, last_batch, written_at, dropped_at
    FROM ledger_archives ORDER BY period
""")

# What stands for entries that are in files alone: an entry of each month and account, in no sealed batch.
_SUMS = text("""
    SELECT substr(e.source_ref, 9, 7) AS month, e.account_id::text AS account,
        p.ledger_account_id::text AS ledger_account, sum(p.amount_nano)::bigint AS amount
    FROM entries e JOIN postings p ON p.entry_id = e.id
    WHERE e.xact IS NULL AND e.source_ref LIKE 'archive:%' GROUP BY 1, 2, 3
""")


class ArchiveFault(Exception):
    """A file is not what was written; the message says what is wrong with it."""


class Counts(msgspec.Struct):
    """How much a file has."""

    entries: int = 0
    postings: int = 0
    calls: int = 0


class Archive(msgspec.Struct, frozen=True):
    """A month that is in a file, and in the database as well until it was dropped."""

    period: date
    file: str
    sha256: bytes
    entries: int
    postings: int
    calls: int
    last_batch: int
    written_at: datetime | None
    dropped_at: datetime | None

    @property
    def month(self) -> str:
        """As people write it, 2026-11."""
        return f"{self.period:%Y-%m}"


class ArchivedEntry(msgspec.Struct, frozen=True):
    """An entry of a file: its place in the order of the seal, its hashed line, and what that says."""

    place: tuple[int, UUID]
    line: str
    account: str | None
    legs: list[tuple[int, str, int, int | None]]


def file_name(period: date) -> str:
    """The name of a month's file."""
    return f"ledger-{period:%Y-%m}.jsonl.gz"


async def list_archives(tx: AsyncConnection) -> list[Archive]:
    """The months that are in files, the oldest first."""
    return [Archive(*row) for row in await tx.execute(_ARCHIVES)]


async def put_away_in(tx: AsyncConnection, entry: UUID) -> Archive | None:
    """The archive of the month that an entry was made in, where that was dropped; None where it is in the database."""
    for archive in await list_archives(tx):
        if archive.dropped_at and _first_id(archive.period) <= entry < _first_id(next_month(archive.period)):
            return archive
    return None


async def write_file(tx: AsyncConnection, period: date, path: Path) -> Counts:
    """Write the month that begins on ``period``; wants a snapshot. A file of that name is replaced at the end."""
    span = {"since": period, "until": next_month(period)}
    counts = Counts()
    fresh = path.with_suffix(".part")
    with fresh.open("wb") as raw, gzip.GzipFile("", "wb", LEVEL, raw, mtime=0) as file:
        file.write(f"M\t{period:%Y-%m}\t{FORMAT}\n".encode())
        async with tx.stream(_ENTRIES, span) as rows:
            async for row in rows:
                file.write(f"E\t{row.xact}\t{row.uses}\t{row.line}\n".encode())
                counts.entries, counts.postings = counts.entries + 1, counts.postings + row.legs
        async with tx.stream(_CALLS, span) as rows:
            async for row in rows:
                file.write(f"C\t{row.line}\n".encode())
                counts.calls += 1
        file.write(f"T\t{msgspec.json.encode(counts).decode()}\n".encode())
    _make_durable(fresh)
    fresh.replace(path)
    _make_durable(path.parent)
    return counts


def _make_durable(path: Path) -> None:
    """Have a file, or a folder's names, survive a cut of the power: the database will drop what is in it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> bytes:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def read_entries(path: Path, month: str) -> Iterator[ArchivedEntry]:
    """The entries of a file in the order of the seal. Raises :class:`ArchiveFault`."""
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="\n") as file:
            yield from _entries(file, path, month)
    except (OSError, EOFError, ValueError, zlib.error) as fault:
        raise ArchiveFault(f"{path.name} cannot be read: {fault}") from fault


def _entries(file: TextIO, path: Path, month: str) -> Iterator[ArchivedEntry]:
    if file.readline().rstrip("\n").split("\t") != ["M", month, str(FORMAT)]:
        raise ArchiveFault(f"{path.name} is no file of {month}")
    counts, end = Counts(), None
    for line in file:
        parts = line.rstrip("\n").split("\t")
        if parts[0] == "E" and len(parts) == 4:
            entry = _entry(parts[1], parts[3])
            counts.entries, counts.postings = counts.entries + 1, counts.postings + len(entry.legs)
            yield entry
        elif parts[0] == "C":
            counts.calls += 1
        else:
            end = msgspec.json.decode(parts[1], type=Counts) if parts[0] == "T" else None
            break
    if end != counts or file.read(1):
        raise ArchiveFault(f"{path.name} is not whole")


def _entry(xact: str, line: str) -> ArchivedEntry:
    facts = msgspec.json.decode(line)
    return ArchivedEntry((int(xact or -1), UUID(facts[0])), line, facts[3], facts[7] or [])


def _first_id(day: date) -> UUID:
    """No id of this day or later is smaller, as ``first_id_at`` of the database has it."""
    return UUID(int=int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000) << 80)


class ArchivedChain:
    """The entries of the months that were dropped, in the order of the seal, as a walk along the chain takes them."""

    def __init__(self, folder: Path, dropped: Sequence[Archive], instead: Archive | None = None) -> None:
        archives = [*dropped, *([] if instead is None else [instead])]
        self._bounds = None if instead is None else (_first_id(instead.period), _first_id(next_month(instead.period)))
        self._files = {archive.month: folder / archive.file for archive in archives}
        self._expected = {archive.month: archive.sha256 for archive in archives}
        tagged = (
            ((entry.place, month, entry) for entry in read_entries(path, month)) for month, path in self._files.items()
        )
        self._entries = heapq.merge(*tagged, key=lambda item: item[0])
        self._next: tuple[tuple[int, UUID], str, ArchivedEntry] | None = None
        self._sums: dict[tuple[str, str | None, str], int] = {}

    def take(self, until: tuple[int, UUID] | None) -> list[tuple[str, ArchivedEntry]]:
        """The entries up to a place, with their months; all that are left for None. Raises :class:`ArchiveFault`."""
        taken: list[tuple[str, ArchivedEntry]] = []
        while True:
            if self._next is None:
                self._next = next(self._entries, None)
            if self._next is None or (until is not None and self._next[0] > until):
                return taken
            taken.append(self._next[1:])
            self._next = None

    def replaces(self, entry: UUID) -> bool:
        """Whether an entry is read from a file although the database has it."""
        return self._bounds is not None and self._bounds[0] <= entry < self._bounds[1]

    def add_gone(self, month: str, entry: ArchivedEntry) -> None:
        """Count an entry that the database has no more."""
        for _, ledger_account, amount, _ in entry.legs:
            key = month, entry.account, ledger_account
            self._sums[key] = self._sums.get(key, 0) + amount

    async def fault(self, tx: AsyncConnection) -> str:
        """What is wrong beside the batches, at their end: sums that stand for what is gone, the rest of the files."""
        try:
            if self.take(None):
                return "the files have entries that no batch has"
        except ArchiveFault as fault:
            return str(fault)
        rows = await tx.execute(_SUMS)
        in_database = {(row.month, row.account, row.ledger_account): row.amount for row in rows}
        in_files = {key: amount for key, amount in self._sums.items() if amount}
        if differing := sorted({key[0] for key, _ in in_database.items() ^ in_files.items()}):
            return f"the sums that stand for the calls of {', '.join(differing)} are not those of the files"
        changed = [path.name for month, path in self._files.items() if sha256_of(path) != self._expected[month]]
        return f"{', '.join(changed)}: not the file that was written" if changed else ""
