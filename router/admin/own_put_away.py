"""Writes what an account's calls booked in months that were put away, from the files of those months.

The files are read as ``gigarouter ledger verify`` reads them (:mod:`billing.archives`): whole, and those that were
written, by their SHA-256. A month whose file is not at hand, or is another, is named with its file and why.
"""

import asyncio
import csv
import io
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import structlog

from billing.archives import ArchiveFault, read_entries, sha256_of
from billing.exports.cells import harmless
from billing.exports.work import Work
from billing.movements import BALANCE_KINDS
from billing.periods import next_month
from store.ids import AccountId, EntryId, wire

log = structlog.get_logger("exports")

HEAD = ("entry", "at", "kind", "reference", "balance_change_usd", "debt_change_usd")
# So many bytes of a month's rows are in memory, the others on the disk, until all of the month was read and is right.
IN_MEMORY_BYTES = 8 << 20
_NANO = Decimal("0.000000001")
# The months that were dropped and of which one entry stands for what the account's calls booked.
_MONTHS = """
    SELECT a.period, a.file, encode(a.sha256, 'hex') AS sha256, f.entry_id AS stand_in
    FROM ledger_archives a
    JOIN booked_facts f ON f.source_ref = 'archive:' || to_char(a.period, 'YYYY-MM') || ':' || $1::uuid
    WHERE a.dropped_at IS NOT NULL ORDER BY a.period
"""
_LEDGER_ACCOUNTS = f"SELECT id::text, kind FROM ledger_accounts WHERE account_id = $1 AND kind IN {BALANCE_KINDS}"  # noqa: S608
_KEPT = """
    SELECT id FROM entries WHERE account_id = $1 AND id <> $2
        AND id >= first_id_at($3::date::timestamp AT TIME ZONE 'UTC')
        AND id < first_id_at(($3::date + interval '1 month') AT TIME ZONE 'UTC')
"""
_SUMS = "SELECT ledger_account_id::text AS id, amount_nano FROM postings WHERE entry_id = $1"


class PutAwayMonth(msgspec.Struct, frozen=True):
    """A month that was put away: our file of it, and that of the archive with its movements, or why there is none."""

    month: str
    file: str
    sha256: str
    movements: str | None
    rows: int
    why: str


class _Month(msgspec.Struct, frozen=True):
    """What a month's file is read with: the ledger accounts of the balance, and the entries that the database kept."""

    period: date
    path: Path
    sha256: str
    kinds: dict[str, str]
    kept: frozenset[UUID]
    sums: dict[str, int]

    def read(self, write: Callable[[Sequence[object]], object]) -> int:
        """Write a row for each entry that is in the file alone; how many. Raises :class:`ArchiveFault`."""
        if not self.path.is_file():
            raise ArchiveFault("the file is not here")
        if sha256_of(self.path).hex() != self.sha256:
            raise ArchiveFault("the file here is not the one that was written")
        count, left = 0, dict(self.sums)
        for entry, line in self._gone():
            changes = dict.fromkeys(("customer_credit", "customer_overdraft"), 0)
            for _, ledger_account, amount, _ in entry:
                if kind := self.kinds.get(ledger_account):
                    changes[kind] += amount
                    left[ledger_account] = left.get(ledger_account, 0) - amount
            write(_row(line, changes["customer_credit"], -changes["customer_overdraft"]))
            count += 1
        if any(left.values()):
            raise ArchiveFault("its movements are not what stands for them")
        return count

    def _gone(self) -> Iterator[tuple[list[tuple[int, str, int, int | None]], list[Any]]]:
        for entry in read_entries(self.path, f"{self.period:%Y-%m}"):
            is_own = any(leg[1] in self.kinds for leg in entry.legs)
            if is_own and entry.place[1] not in self.kept:
                yield entry.legs, msgspec.json.decode(entry.line)


async def write_put_away(
    work: Work, archive: zipfile.ZipFile, account_id: AccountId, folder: Path | None
) -> list[PutAwayMonth]:
    """Write a file of movements for each month that was put away; which months those are."""
    kinds = {row["id"]: row["kind"] for row in await work.connection.fetch(_LEDGER_ACCOUNTS, account_id)}
    found: list[PutAwayMonth] = []
    for row in await work.connection.fetch(_MONTHS, account_id):
        kept = await work.connection.fetch(_KEPT, account_id, row["stand_in"], row["period"])
        sums = {one["id"]: one["amount_nano"] for one in await work.connection.fetch(_SUMS, row["stand_in"])}
        month = _Month(
            *(row["period"], (folder or Path()) / row["file"], row["sha256"], kinds),
            frozenset(UUID(str(one["id"])) for one in kept),
            {id: amount for id, amount in sums.items() if id in kinds},
        )
        name = f"movements-{row['period']:%Y-%m}.csv"
        rows, why = 0, "no folder of such files is set"
        if folder is not None:
            rows, why = await asyncio.to_thread(_write_month, archive, name, month)
        if why:
            log.warning("put_away_month_missing", month=f"{row['period']:%Y-%m}", file=row["file"], reason=why)
        work.count(rows)
        named = None if why else name
        found.append(PutAwayMonth(f"{row['period']:%Y-%m}", row["file"], row["sha256"], named, rows, why))
    return found


def _write_month(archive: zipfile.ZipFile, name: str, month: _Month) -> tuple[int, str]:
    """Write a month into the archive once all of it was read; how many rows, or why it is not there."""
    with tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES) as rows:
        text = io.TextIOWrapper(rows, encoding="utf-8", newline="", write_through=True)
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(HEAD)
        try:
            count = month.read(writer.writerow)
        except ArchiveFault as fault:
            return 0, str(fault)
        finally:
            text.detach()
        rows.seek(0)
        entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
        entry.compress_type = zipfile.ZIP_DEFLATED
        with archive.open(entry, "w", force_zip64=True) as target:
            while block := rows.read(1 << 20):
                target.write(block)
    return count, ""


def _row(line: list[Any], balance: int, debt: int) -> tuple[object, ...]:
    """The columns of movements.csv, of the line that was sealed (docs/ledger.md)."""
    entry_id, kind, reference, _, period, booked_at = line[:6]
    amounts = (f"{amount * _NANO:.9f}" for amount in (balance, debt))
    return (
        wire(EntryId, UUID(entry_id)),
        _counts_at(period, booked_at),
        kind,
        harmless(reference),
        *amounts,
    )


def _counts_at(period: str | None, booked_at: str) -> str:
    """When an entry counts, as ``billing.movements.COUNTS_AT`` has it: within the month that it belongs to."""
    first = date.fromisoformat(period or f"{booked_at[:7]}-01")
    begins, ends = (datetime.combine(day, time(), UTC) for day in (first, next_month(first)))
    at = max(begins, min(datetime.fromisoformat(booked_at), ends - timedelta(microseconds=1)))
    return f"{at:%Y-%m-%dT%H:%M:%S.%fZ}"
