"""Writes the exports that wait, one at a time, from one snapshot of the database: what ``jobs`` does of them.

A run extends its lease while it works and stops at once when the export was cancelled. A run that takes up what a
killed process had begun writes only the files that are missing, if the period was over when the first run began;
otherwise its rows may have changed, and it begins anew.
"""

import asyncio
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.exports import journals, rows
from billing.exports.formats import ExportKind
from billing.exports.parquet import ParquetUnavailable
from billing.exports.requests import (
    RUNS_MAX,
    Export,
    ExportFile,
    LeaseLost,
    add_file,
    claim,
    exports_with_files,
    extend,
    fail,
    find_export,
    find_plan,
    finish,
    keep_files,
    list_files,
    record_plan,
)
from billing.exports.storage import MANIFEST, CannotWrite, ExportFolder, HashingFile
from billing.exports.tables import SCHEMA_VERSION
from billing.exports.work import ExportRefused, Part, PartWriter, Work
from mail.kinds import OwnDataFailed, OwnDataReady
from mail.outbox import enqueue
from mail.values import Mail
from store.ids import ExportId, wire
from store.postgres import Database

log = structlog.get_logger("exports")

BEAT_S = 5.0
# A statement that sorts and copies a month of many calls takes minutes.
STATEMENT_S_MAX = 3600.0
# A call is charged within a minute of its admission; what is that long over is no longer added to.
SETTLED = timedelta(hours=1)

# Postgres sorts in so much memory, then on its disk; and groups by hours, of which it expects too many, by hashing.
_SORTS = "SET LOCAL work_mem = '64MB'"
_HEAD = "SELECT number, digest, sealed_at FROM sealed_batches ORDER BY number DESC LIMIT 1"


async def run_next(db: Database, folder: ExportFolder, own: PartWriter | None = None) -> bool:
    """Write the export that waits longest; False where none does. Raises the faults of a store that is away.

    ``own`` writes what accounts' owners ordered of all that they have.
    """
    async with db.transaction() as tx:
        export = await claim(tx)
    if export is None:
        return False
    named = log.bind(export=wire(ExportId, export.id), run=export.runs)
    failure = ""
    lost = False
    run = Run(db, folder, export, _writer(export, own))
    try:
        async with asyncio.TaskGroup() as group:
            beat = group.create_task(run.keep_lease())
            await run.write()
            beat.cancel()
    except* LeaseLost:
        lost = True
    except* (ExportRefused, ParquetUnavailable, CannotWrite) as refused:
        failure = str(_first(refused))
    if failure:
        async with db.transaction() as tx:
            await fail(tx, export, failure)
            await _mail(tx, export, failure)
    if lost or failure:
        named.warning("export_ended", reason=failure or "cancelled, or taken up by another process")
        await remove_old(db, folder)
    else:
        named.info("export_done", rows=run.rows_done)
    return True


async def remove_old(db: Database, folder: ExportFolder) -> None:
    """Remove the files of exports that expired, failed, or were cancelled."""
    async with db.transaction() as tx:
        kept = await exports_with_files(tx)
    await asyncio.to_thread(folder.remove_others, kept)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner


def _writer(export: Export, own: PartWriter | None) -> PartWriter:
    if export.kind is not ExportKind.ACCOUNT:
        return journals if export.kind is ExportKind.JOURNAL else rows
    assert own is not None, "jobs writes what owners ordered, and brings its writer; this is a bug"
    return own


class Run:
    """One run of an export."""

    def __init__(self, db: Database, folder: ExportFolder, export: Export, writer: PartWriter) -> None:
        self._db = db
        self._folder = folder
        self._export = export
        self._writer = writer
        self.rows_done = 0

    async def keep_lease(self) -> None:
        """Extend the lease until cancelled. Raises :class:`LeaseLost`."""
        while True:
            await asyncio.sleep(BEAT_S)
            async with self._db.transaction() as tx:
                await extend(tx, self._export, self.rows_done)

    async def write(self) -> None:
        """Write all files that are missing, and the manifest."""
        export = self._export
        if export.runs > RUNS_MAX:
            raise ExportRefused(f"It was begun {RUNS_MAX} times and never finished: see the log of `gigarouter jobs`.")
        folder = await asyncio.to_thread(self._folder.make, export.id)
        connection = await self._db.connect(command_timeout_s=STATEMENT_S_MAX)
        try:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                read_at = await connection.fetchval("SELECT now()")
                await connection.execute(_SORTS)
                work = Work(export, connection, self._count)
                parts = await self._plan(work)
                written = await self._written(folder, parts)
                for part in parts:
                    if part.number not in written:
                        written[part.number] = await self._write_part(folder, work, part, read_at)
                await self._finish(folder, list(written.values()), await connection.fetchrow(_HEAD), read_at)
        finally:
            await connection.close()

    def _count(self, count: int) -> None:
        self.rows_done += count

    async def _plan(self, work: Work) -> list[Part]:
        """The files: those of the first run, if what they have cannot have changed since."""
        export = self._export
        if export.started_at is not None and export.until <= export.started_at - SETTLED:
            async with self._db.transaction() as tx:
                earlier = await find_plan(tx, export.id)
            if earlier is not None:
                return msgspec.json.decode(earlier, type=list[Part])
        parts = await self._writer.plan(work)
        async with self._db.transaction() as tx:
            await keep_files(tx, export, [])
            await record_plan(tx, export, msgspec.json.encode(parts), sum(part.rows for part in parts))
        return parts

    async def _written(self, folder: Path, parts: list[Part]) -> dict[int, ExportFile]:
        """The files of earlier runs that are there as they were recorded."""
        async with self._db.transaction() as tx:
            known = await list_files(tx, self._export.id)
            there = [file for file in known if _size(folder / file.name) == file.size]
            await keep_files(tx, self._export, [file.number for file in there])
        self.rows_done = sum(file.rows for file in there)
        return {file.number: file for file in there}

    async def _write_part(self, folder: Path, work: Work, part: Part, read_at: datetime) -> ExportFile:
        room = self._folder.bytes_max - await asyncio.to_thread(self._folder.size)
        before = self.rows_done
        with HashingFile(folder / part.name, room) as file:
            count, sums = await self._writer.write(work, part, file)
            digest = await asyncio.to_thread(file.finish)
        self.rows_done = before + count
        found = ExportFile(part.number, part.name, count, file.bytes, digest, sums, read_at)
        async with self._db.transaction() as tx:
            await add_file(tx, self._export, found, self.rows_done)
        return found

    async def _finish(self, folder: Path, files: list[ExportFile], head: Any, read_at: datetime) -> None:  # noqa: ANN401
        manifest = manifest_of(self._export, files, head, read_at)
        with HashingFile(folder / MANIFEST, 1 << 30) as file:
            file.write(msgspec.json.format(manifest, indent=1) + b"\n")
            await asyncio.to_thread(file.finish)
        async with self._db.transaction() as tx:
            kept = self._folder.own_kept if self._export.kind is ExportKind.ACCOUNT else self._folder.kept
            await finish(tx, self._export, manifest, self.rows_done, kept)
            await _mail(tx, self._export)


async def _mail(tx: AsyncConnection, export: Export, failure: str = "") -> None:
    """Tell an account's owners what became of the archive that one of them ordered."""
    account_id = export.filters.account_id
    if export.kind is not ExportKind.ACCOUNT or account_id is None:
        return
    mail: Mail
    if failure:
        mail = OwnDataFailed(ordered=export.requested_at, reason=failure)
    else:
        done = await find_export(tx, export.id)
        assert done is not None, "it was finished a moment ago; this is a bug"
        assert done.expires_at is not None, "what is done expires; this is a bug"
        mail = OwnDataReady(ordered=export.requested_at, until=done.expires_at)
    await enqueue(tx, mail, account_id, dedupe=f"own-data:{export.id.hex}")


def manifest_of(export: Export, files: list[ExportFile], head: Any, read_at: datetime) -> bytes:  # noqa: ANN401
    """What the files have, with the head of the ledger's chain: who keeps it can prove what they were made from."""
    filters = msgspec.structs.asdict(export.filters)
    manifest = {
        "export": wire(ExportId, export.id),
        "kind": export.kind,
        "format": export.format,
        "schema_version": SCHEMA_VERSION,
        "from": export.since,
        "to": export.until,
        # What is booked later is not in it: of a period that is not over there will be more.
        "period_was_over": export.until <= read_at,
        "filters": {name: value for name, value in filters.items() if value not in (None, "")},
        "rows": sum(file.rows for file in files),
        "files": [
            {
                "name": file.name,
                "rows": file.rows,
                "bytes": file.size,
                "sha256": file.sha256.hex(),
                "sums": file.sums,
                "read_at": file.read_at,
            }
            for file in sorted(files, key=lambda file: file.number)
        ],
        "chain_head": None
        if head is None
        else {"batch": head["number"], "digest": bytes(head["digest"]).hex(), "sealed_at": head["sealed_at"]},
    }
    return msgspec.json.encode(manifest)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
