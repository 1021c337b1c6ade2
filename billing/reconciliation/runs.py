"""Keeps which comparisons were asked for and what came of them; of each kind one waits at a time."""

from datetime import datetime
from enum import StrEnum

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from store.ids import ReconciliationId, new_id

_REQUEST = text("""
    INSERT INTO reconciliations (id, kind, requested_by) VALUES (:id, :kind, :by)
    ON CONFLICT (kind) WHERE state = 'queued' DO NOTHING
""")
_COLUMNS = "id, kind, state, requested_by, requested_at, ended_at, examined, found, failure"
_QUEUED = text(f"SELECT {_COLUMNS} FROM reconciliations WHERE state = 'queued' AND kind = :kind")  # noqa: S608
_LIST = text(f"""
    SELECT {_COLUMNS} FROM reconciliations
    WHERE (CAST(:before AS uuid) IS NULL OR id < CAST(:before AS uuid)) ORDER BY id DESC LIMIT :most
""")  # noqa: S608 - constants
_FIND = text(f"SELECT {_COLUMNS} FROM reconciliations WHERE id = :id")  # noqa: S608 - constants
_END = text("""
    UPDATE reconciliations SET state = :state, ended_at = now(), examined = :examined, found = :found,
        failure = :failure WHERE id = :id AND state = 'queued'
""")
_LAST = text("SELECT max(requested_at) FROM reconciliations WHERE kind = :kind AND state = 'done'")
_LAST_ENDED = text("SELECT max(ended_at) FROM reconciliations WHERE kind = :kind AND state <> 'queued'")


class RunKind(StrEnum):
    """With whom the ledger is compared."""

    STRIPE = "stripe"
    PROVIDERS = "providers"
    METERS = "meters"


class RunState(StrEnum):
    """What became of it."""

    QUEUED = "queued"
    DONE = "done"
    FAILED = "failed"


class Run(msgspec.Struct, frozen=True):
    """A comparison: how many objects it looked at, and how many differences it found, resolved ones among them."""

    id: ReconciliationId
    kind: RunKind
    state: RunState
    requested_by: str
    requested_at: datetime
    ended_at: datetime | None
    examined: int
    found: int
    failure: str


async def request_run(tx: AsyncConnection, kind: RunKind, by: str) -> Run:
    """Ask for a comparison; one that waits already is the same."""
    await tx.execute(_REQUEST, {"id": new_id(), "kind": kind.value, "by": by})
    return _run((await tx.execute(_QUEUED, {"kind": kind.value})).one()._mapping)


async def find_queued(tx: AsyncConnection, kind: RunKind) -> Run | None:
    """The comparison of a kind that waits."""
    row = (await tx.execute(_QUEUED, {"kind": kind.value})).one_or_none()
    return None if row is None else _run(row._mapping)


async def end_run(tx: AsyncConnection, run: Run, *, examined: int = 0, found: int = 0, failure: str = "") -> None:
    """Say what came of it."""
    state = RunState.FAILED if failure else RunState.DONE
    facts = {"state": state.value, "examined": examined, "found": found, "failure": failure[:500]}
    await tx.execute(_END, {"id": run.id, **facts})


async def last_done_at(tx: AsyncConnection, kind: RunKind) -> datetime | None:
    """When the last one that ended well was asked for."""
    at: datetime | None = await tx.scalar(_LAST, {"kind": kind.value})
    return at


async def last_ended_at(tx: AsyncConnection, kind: RunKind) -> datetime | None:
    """When the last one ended, however it did."""
    at: datetime | None = await tx.scalar(_LAST_ENDED, {"kind": kind.value})
    return at


async def list_runs(tx: AsyncConnection, before: ReconciliationId | None, most: int) -> list[Run]:
    """List comparisons, the newest first."""
    return [_run(row._mapping) for row in await tx.execute(_LIST, {"before": before, "most": most})]


async def find_run(tx: AsyncConnection, run_id: ReconciliationId) -> Run | None:
    """One of them."""
    row = (await tx.execute(_FIND, {"id": run_id})).one_or_none()
    return None if row is None else _run(row._mapping)


def _run(row: object) -> Run:
    return msgspec.convert(dict(row), Run)  # type: ignore[call-overload]
