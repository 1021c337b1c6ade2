"""Reads how every queue and lag stands, in one statement, and when each job ran last."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from router.queues.table import QUEUES
from router.queues.values import JobRun, QueueState, lateness_of

_READ = text(
    " UNION ALL ".join(
        f"SELECT {place} AS place, q.* FROM ({queue.sql}) AS q (waiting, oldest_at, note, is_known)"  # noqa: S608
        for place, queue in enumerate(QUEUES)
    )
)
_JOBS = text("SELECT name, every_s, limit_s, ran_at, failed_at, failures, fault FROM job_runs ORDER BY name")
# Two processes may have the same job: who was done last holds, and its failures are those since.
_NOTE = text("""
    INSERT INTO job_runs AS j (name, every_s, limit_s, ran_at, failed_at, failures, fault)
    VALUES (:name, :every_s, :limit_s, :ran_at, :failed_at, :failures, :fault)
    ON CONFLICT (name) DO UPDATE SET every_s = EXCLUDED.every_s, limit_s = EXCLUDED.limit_s,
        ran_at = greatest(j.ran_at, EXCLUDED.ran_at), failed_at = greatest(j.failed_at, EXCLUDED.failed_at),
        failures = CASE WHEN EXCLUDED.ran_at > coalesce(j.ran_at, '-infinity') THEN EXCLUDED.failures
            ELSE j.failures + EXCLUDED.failures END,
        fault = CASE WHEN EXCLUDED.failures > 0 THEN EXCLUDED.fault ELSE j.fault END
""")
# A job that a later release has no more.
_FORGET = text("DELETE FROM job_runs WHERE greatest(ran_at, failed_at) < now() - interval '7 days'")


async def read_queues(tx: AsyncConnection, now: datetime) -> list[QueueState]:
    """Read every queue, in the order of :data:`router.queues.table.QUEUES`."""
    rows = {row.place: row for row in await tx.execute(_READ)}
    found = ((queue, rows[place]) for place, queue in enumerate(QUEUES))
    return [
        QueueState(
            queue,
            row.waiting,
            row.oldest_at,
            row.note,
            lateness_of(queue, row.waiting, row.oldest_at, now, is_known=row.is_known),
        )
        for queue, row in found
    ]


async def read_job_runs(tx: AsyncConnection) -> list[JobRun]:
    """Read when each job ran last, by name; nothing of one that never did."""
    return [JobRun(**row._mapping) for row in await tx.execute(_JOBS)]


async def note_job_runs(tx: AsyncConnection, runs: Sequence[JobRun]) -> None:
    """Note when jobs were done and how often they failed since that was noted last."""
    if runs:
        await tx.execute(_NOTE, [msgspec.structs.asdict(run) for run in runs])


async def forget_job_runs(tx: AsyncConnection) -> None:
    """Forget jobs that nobody has run for a week."""
    await tx.execute(_FORGET)
