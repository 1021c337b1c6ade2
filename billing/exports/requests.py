"""Keeps the exports that were requested: what each is of, how far it is, its files. Whoever writes one has a lease.

A lease is extended while its process works; one that ended by itself is taken up by any other, with a new number of
the run. So an export that was cancelled, or taken up by another, is not written any further: its row says so.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.exports.formats import ExportFormat, ExportKind, Grain
from store.ids import AccountId, ExportId, KeyId, ProviderId, new_id

LEASE = timedelta(seconds=30)
# An export that ended so often without a word is not tried again.
RUNS_MAX = 5
OPEN_MAX = 20


class ExportState(StrEnum):
    """Where an export stands."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class Filters(msgspec.Struct, frozen=True):
    """What is exported of a kind. ``mapping`` is the file of accounts' codes; ``grain`` is a journal's."""

    account_id: AccountId | None = None
    key_id: KeyId | None = None
    model_id: str | None = None
    provider_id: ProviderId | None = None
    grain: Grain | None = None
    mapping: str = ""


class Export(msgspec.Struct, frozen=True, kw_only=True):
    """An export, over ``[since, until)``."""

    id: ExportId
    kind: ExportKind
    format: ExportFormat
    since: datetime
    until: datetime
    filters: Filters
    state: ExportState
    requested_by: str
    requested_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    expires_at: datetime | None
    runs: int
    rows_total: int | None
    rows_done: int
    failure: str


class ExportFile(msgspec.Struct, frozen=True):
    """A file that was written whole; ``sums`` are of its columns, amounts as decimal text."""

    number: int
    name: str
    rows: int
    size: int
    sha256: bytes
    sums: dict[str, str]
    read_at: datetime


class LeaseLost(Exception):
    """The export was cancelled, or another process has taken it up."""


_COLUMNS = ", ".join(name if name != "filters" else "filters::text AS filters" for name in Export.__struct_fields__)
_INSERT = text("""
    INSERT INTO exports (id, kind, format, since, until, filters, requested_by)
    VALUES (:id, :kind, :format, :since, :until, CAST(:filters AS jsonb), :requested_by)
""")
_FIND = text(f"SELECT {_COLUMNS} FROM exports WHERE id = :id")  # noqa: S608 - constants
_LIST = text(
    f"SELECT {_COLUMNS} FROM exports WHERE kind <> 'account' AND (CAST(:before AS uuid) IS NULL OR id < :before)"  # noqa: S608
    " ORDER BY id DESC LIMIT :limit"
)
# By the index of migration 0068.
_OWN = "kind = 'account' AND filters ->> 'account_id' = CAST(:account AS text)"
_LIST_OWN = text(
    f"SELECT {_COLUMNS} FROM exports WHERE {_OWN} AND (CAST(:before AS uuid) IS NULL OR id < :before)"  # noqa: S608
    " ORDER BY id DESC LIMIT :limit"
)
_COUNT_OWN = text(f"""
    SELECT count(*) FILTER (WHERE state IN ('queued', 'running')) AS open,
        count(*) FILTER (WHERE requested_at > now() - interval '1 day') AS today
    FROM exports WHERE {_OWN}
""")  # noqa: S608 - constants
_CANCEL_OWN = text(f"""
    UPDATE exports SET state = 'cancelled', lease_until = NULL, ended_at = now()
    WHERE {_OWN} AND state IN ('queued', 'running')
""")  # noqa: S608 - constants
_EXPIRE_OWN = text(f"UPDATE exports SET state = 'expired' WHERE {_OWN} AND state = 'done'")  # noqa: S608 - constants
_CLAIM = text(f"""
    UPDATE exports SET state = 'running', runs = runs + 1, started_at = coalesce(started_at, now()),
        lease_until = now() + :lease
    WHERE id = (
        SELECT id FROM exports WHERE state = 'queued' OR (state = 'running' AND lease_until < now())
        ORDER BY kind = 'account', requested_at LIMIT 1 FOR UPDATE SKIP LOCKED
    ) RETURNING {_COLUMNS}
""")  # noqa: S608 - constants
_MINE = "WHERE id = :id AND state = 'running' AND runs = :run RETURNING id"
_EXTEND = text(f"UPDATE exports SET lease_until = now() + :lease, rows_done = :rows_done {_MINE}")  # noqa: S608
_PLAN = text(f"UPDATE exports SET plan = CAST(:plan AS jsonb), rows_total = :rows {_MINE}")  # noqa: S608
_DONE = text(f"""
    UPDATE exports SET state = 'done', lease_until = NULL, ended_at = now(), expires_at = now() + :kept,
        manifest = CAST(:manifest AS jsonb), rows_done = :rows {_MINE}
""")  # noqa: S608 - constants
_FAIL = text(
    f"UPDATE exports SET state = 'failed', lease_until = NULL, ended_at = now(), failure = :failure {_MINE}"  # noqa: S608
)
_CANCEL = text("""
    UPDATE exports SET state = 'cancelled', lease_until = NULL, ended_at = now()
    WHERE id = :id AND state IN ('queued', 'running') RETURNING id
""")
_EXPIRE = text("UPDATE exports SET state = 'expired' WHERE state = 'done' AND expires_at <= now() RETURNING id")
_KEEP = text("SELECT id FROM exports WHERE state IN ('queued', 'running', 'done')")
_FILES = text(
    "SELECT number, name, rows, bytes, sha256, sums::text AS sums, read_at FROM export_files WHERE export_id = :id"
    " ORDER BY number"
)
_ARCHIVES = text(
    "SELECT export_id, number, name, rows, bytes, sha256, sums::text AS sums, read_at FROM export_files"
    " WHERE export_id = ANY(CAST(:ids AS uuid[])) AND number = 1"
)
_ADD_FILE = text("""
    INSERT INTO export_files (export_id, number, name, rows, bytes, sha256, sums, read_at)
    VALUES (:export_id, :number, :name, :rows, :size, :sha256, CAST(:sums AS jsonb), :read_at)
""")
_DROP_FILES = text("DELETE FROM export_files WHERE export_id = :id AND NOT number = ANY(:numbers)")
_MANIFEST = text("SELECT manifest::text FROM exports WHERE id = :id")
_OPEN = text("SELECT count(*) FROM exports WHERE state IN ('queued', 'running') AND kind <> 'account'")
_OLD_PLAN = text("SELECT plan::text FROM exports WHERE id = :id")


async def request_export(
    tx: AsyncConnection,
    kind: ExportKind,
    format: ExportFormat,
    since: datetime,
    until: datetime,
    filters: Filters,
    requested_by: str,
) -> Export:
    """Queue an export, which ``jobs`` begins within seconds."""
    export_id = ExportId(new_id())
    facts = {"kind": kind, "format": format, "since": since, "until": until, "requested_by": requested_by}
    await tx.execute(_INSERT, {"id": export_id, "filters": msgspec.json.encode(filters).decode(), **facts})
    found = await find_export(tx, export_id)
    assert found is not None, "an export was not there after it was made; this is a bug"
    return found


async def open_exports(tx: AsyncConnection) -> int:
    """How many exports wait or are being written, those of accounts' owners not counted."""
    return int((await tx.execute(_OPEN)).scalar_one())


async def find_export(tx: AsyncConnection, export_id: ExportId) -> Export | None:
    """An export by its id."""
    row = (await tx.execute(_FIND, {"id": export_id})).one_or_none()
    return None if row is None else _export(row)


async def list_exports(tx: AsyncConnection, before: UUID | None, limit: int) -> list[Export]:
    """Exports but those of accounts' owners, the newest first; ``before`` is the last one of the page before."""
    return [_export(row) for row in await tx.execute(_LIST, {"before": before, "limit": limit})]


async def list_own_exports(tx: AsyncConnection, account_id: AccountId, before: UUID | None, limit: int) -> list[Export]:
    """The exports of all that an account has, which its owners ordered, the newest first."""
    values = {"account": str(account_id), "before": before, "limit": limit}
    return [_export(row) for row in await tx.execute(_LIST_OWN, values)]


async def count_own_exports(tx: AsyncConnection, account_id: AccountId) -> tuple[int, int]:
    """How many of them wait or are being written, and how many were ordered within a day."""
    row = (await tx.execute(_COUNT_OWN, {"account": str(account_id)})).one()
    return row.open, row.today


async def drop_own_exports(tx: AsyncConnection, account_id: AccountId) -> None:
    """End them all, because the account has ended: their files have names of people, and are removed within minutes."""
    await tx.execute(_CANCEL_OWN, {"account": str(account_id)})
    await tx.execute(_EXPIRE_OWN, {"account": str(account_id)})


async def claim(tx: AsyncConnection) -> Export | None:
    """Take up the oldest export that waits, or whose process has ended, finance's first; None where there is none."""
    row = (await tx.execute(_CLAIM, {"lease": LEASE})).one_or_none()
    return None if row is None else _export(row)


async def extend(tx: AsyncConnection, export: Export, rows_done: int) -> None:
    """Extend the lease, and say how far it is. Raises :class:`LeaseLost`."""
    await _mine(tx, _EXTEND, export, {"lease": LEASE, "rows_done": rows_done})


async def record_plan(tx: AsyncConnection, export: Export, plan: bytes, rows: int) -> None:
    """Record which files there will be. Raises :class:`LeaseLost`."""
    await _mine(tx, _PLAN, export, {"plan": plan.decode(), "rows": rows})


async def find_plan(tx: AsyncConnection, export_id: ExportId) -> bytes | None:
    """The plan of an earlier run."""
    plan = await tx.scalar(_OLD_PLAN, {"id": export_id})
    return None if plan is None else str(plan).encode()


async def finish(tx: AsyncConnection, export: Export, manifest: bytes, rows: int, kept: timedelta) -> None:
    """The export is written whole; its files stay for ``kept``. Raises :class:`LeaseLost`."""
    await _mine(tx, _DONE, export, {"manifest": manifest.decode(), "rows": rows, "kept": kept})


async def fail(tx: AsyncConnection, export: Export, failure: str) -> None:
    """The export cannot be written, for a reason that a person can read. Raises :class:`LeaseLost`."""
    await _mine(tx, _FAIL, export, {"failure": failure})


async def cancel(tx: AsyncConnection, export_id: ExportId) -> bool:
    """Stop an export that waits or is being written; False where it has ended."""
    return await tx.scalar(_CANCEL, {"id": export_id}) is not None


async def expire(tx: AsyncConnection) -> int:
    """End exports whose time is over; returns how many."""
    return len((await tx.execute(_EXPIRE)).all())


async def exports_with_files(tx: AsyncConnection) -> set[ExportId]:
    """The exports whose files are to stay."""
    return {ExportId(row.id) for row in await tx.execute(_KEEP)}


async def archives_of(tx: AsyncConnection, exports: list[ExportId]) -> dict[ExportId, ExportFile]:
    """The one file of each of these exports that is an archive and written."""
    rows = await tx.execute(_ARCHIVES, {"ids": exports})
    return {ExportId(row.export_id): _file(row) for row in rows}


async def list_files(tx: AsyncConnection, export_id: ExportId) -> list[ExportFile]:
    """The files of an export that are written whole."""
    return [_file(row) for row in await tx.execute(_FILES, {"id": export_id})]


async def add_file(tx: AsyncConnection, export: Export, file: ExportFile, rows_done: int) -> None:
    """Record a file that is written whole, with the lease. Raises :class:`LeaseLost`."""
    await extend(tx, export, rows_done)
    facts = {name: getattr(file, name) for name in ExportFile.__struct_fields__}
    facts["sums"] = msgspec.json.encode(file.sums).decode()
    await tx.execute(_ADD_FILE, {"export_id": export.id, **facts})


async def keep_files(tx: AsyncConnection, export: Export, numbers: list[int]) -> None:
    """Forget the files of an earlier run but these."""
    await tx.execute(_DROP_FILES, {"id": export.id, "numbers": numbers})


async def find_manifest(tx: AsyncConnection, export_id: ExportId) -> bytes | None:
    """The manifest of an export that is done, as JSON."""
    manifest = await tx.scalar(_MANIFEST, {"id": export_id})
    return None if manifest is None else str(manifest).encode()


def _file(row: Row[Any]) -> ExportFile:
    sums = msgspec.json.decode(row.sums, type=dict[str, str])
    return ExportFile(row.number, row.name, row.rows, row.bytes, bytes(row.sha256), sums, row.read_at)


async def _mine(tx: AsyncConnection, statement: Any, export: Export, facts: dict[str, object]) -> None:  # noqa: ANN401
    if await tx.scalar(statement, {"id": export.id, "run": export.runs, **facts}) is None:
        raise LeaseLost


def _export(row: Row[Any]) -> Export:
    facts = dict(row._mapping)
    filters = msgspec.json.decode(facts.pop("filters"), type=Filters)
    kinds = {"kind": ExportKind(facts["kind"]), "format": ExportFormat(facts["format"])}
    return Export(**{**facts, **kinds, "filters": filters, "state": ExportState(facts["state"])})
