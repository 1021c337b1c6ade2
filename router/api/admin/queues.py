"""``/admin/v1/queues`` and ``/admin/v1/jobs``: what waits in the product and since when, and whether jobs run."""

from typing import ClassVar, Literal

from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from router.api.admin.request import Read
from router.api.fields import Instant
from router.api.forms import Answer
from router.api.operation import ALL, V1, Operations
from router.queues.read import read_job_runs, read_queues
from router.queues.values import Lateness

operations = Operations("queues", f"{V1}/queues", tag="Operations")
jobs = Operations("jobs", f"{V1}/jobs", tag="Operations")


class QueueOut(Answer):
    """What waits, or lags behind."""

    columns: ClassVar[tuple[str, ...]] = ("name", "state", "waiting", "oldest_at", "limit_s", "moved_by", "note")

    name: str
    title: str
    state: Lateness = Field(description="late; in_time; unknown, which is not in time.")
    waiting: int | None = Field(description="How much waits; null: it is not counted.")
    unit: str = Field(description="What is counted.")
    oldest_at: Instant | None = Field(description="Since when the oldest waits, or until when a lag has come.")
    age_s: float | None = Field(description="The same in seconds before now.")
    limit_s: float | None = Field(description="For how long it may; null: nobody set a limit.")
    note: str
    moved_by: str = Field(description="The job that moves it, or who does.")
    page: str = Field(description="Where it is handled in the console.")
    runbook: str = Field(description="What it is, and what to do where it is late.")


class QueuesOut(Answer):
    """Every queue and lag."""

    columns: ClassVar[tuple[str, ...]] = ("late", "unknown")

    data: list[QueueOut]
    late: int = Field(description="How many are late.")
    unknown: int = Field(description="Of how many it is not known.")
    object: Literal["queues"] = "queues"


class JobOut(Answer):
    """When a job was done last, by whichever process."""

    columns: ClassVar[tuple[str, ...]] = ("name", "state", "ran_at", "every_s", "failures", "failed_at", "fault")

    name: str
    state: Lateness = Field(description="late; in_time; unknown, which is not in time.")
    ran_at: Instant | None
    every_s: float = Field(description="The pause between two turns.")
    limit_s: float = Field(description="After so long without a turn that ended well it is late.")
    failures: int = Field(description="How often it failed since it was done last.")
    failed_at: Instant | None
    fault: str = Field(description="The kind of the latest fault; the log has the rest.")


class JobsOut(Answer):
    """Every job that has run in the last week."""

    columns: ClassVar[tuple[str, ...]] = ("late",)

    data: list[JobOut]
    late: int = Field(description="How many are late.")
    object: Literal["jobs"] = "jobs"


@operations.get("", verb="list", summary="What waits, and is anything late?", roles=ALL)
async def list_(admin: Read) -> QueuesOut:
    """Every queue and lag: how much waits, since when, for how long it may. What is unknown is never in time."""
    now = admin.exchange.now

    async def ask(connection: AsyncConnection) -> QueuesOut:
        rows = [
            QueueOut(
                name=one.queue.name,
                title=one.queue.title,
                state=one.lateness,
                waiting=one.waiting,
                unit=one.queue.unit,
                oldest_at=one.oldest_at,
                age_s=None if one.oldest_at is None else max(0.0, round((now - one.oldest_at).total_seconds(), 3)),
                limit_s=None if one.queue.limit is None else one.queue.limit.total_seconds(),
                note=one.note,
                moved_by=one.queue.moved_by,
                page=one.queue.page,
                runbook=one.queue.runbook,
            )
            for one in await read_queues(connection, now)
        ]
        states = [row.state for row in rows]
        return QueuesOut(data=rows, late=states.count(Lateness.LATE), unknown=states.count(Lateness.UNKNOWN))

    return await admin.read(ask)


@jobs.get("", verb="list", summary="When did each job run last?", roles=ALL)
async def list_jobs(admin: Read) -> JobsOut:
    """Each job of `gigarouter jobs` that ran in the last week, with its latest fault."""
    now = admin.exchange.now

    async def ask(connection: AsyncConnection) -> JobsOut:
        rows = [
            JobOut(
                name=run.name,
                state=run.lateness(now),
                ran_at=run.ran_at,
                every_s=run.every_s,
                limit_s=run.limit_s,
                failures=run.failures,
                failed_at=run.failed_at,
                fault=run.fault,
            )
            for run in await read_job_runs(connection)
        ]
        return JobsOut(data=rows, late=sum(row.state is Lateness.LATE for row in rows))

    return await admin.read(ask)
