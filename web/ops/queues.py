"""Shows every queue and lag of the product, and when each job ran last: what is late first, then what is not known."""

from datetime import datetime
from typing import ClassVar

import msgspec

from web.answers import Crumb, Page
from web.ops.write import OPERATIONS
from web.parts.curl import curl
from web.parts.tables import Column
from web.request import PageRequest

HEAD = (
    Column("What"),
    Column("State"),
    Column("Waits", is_number=True),
    Column("Since"),
    Column("For", is_number=True),
    Column("May wait", is_number=True),
    Column("Who moves it"),
    Column("What to do"),
)
JOBS_HEAD = (
    Column("Job"),
    Column("State"),
    Column("Done last"),
    Column("Late after", is_number=True),
    Column("Failures since", is_number=True),
    Column("Failed last"),
)
ORDER = {"late": 0, "unknown": 1, "in_time": 2}
MANUAL = "/finance/manual/queues"
UNITS = (("d", 86_400), ("h", 3_600), ("min", 60))


class QueueAnswer(msgspec.Struct, frozen=True):
    """A queue as the operation answers it."""

    name: str
    title: str
    state: str
    waiting: int | None
    unit: str
    oldest_at: datetime | None
    age_s: float | None
    limit_s: float | None
    note: str
    moved_by: str
    page: str
    runbook: str


class JobAnswer(msgspec.Struct, frozen=True):
    """A job as the operation answers it."""

    name: str
    state: str
    ran_at: datetime | None
    every_s: float
    limit_s: float
    failures: int
    failed_at: datetime | None
    fault: str


class QueuesAnswer(msgspec.Struct, frozen=True):
    """All queues."""

    data: list[QueueAnswer]
    late: int
    unknown: int


class JobsAnswer(msgspec.Struct, frozen=True):
    """All jobs."""

    data: list[JobAnswer]
    late: int


class QueueRow(msgspec.Struct, frozen=True):
    """A queue as the page shows it: spans in words, its state with the page's word."""

    queue: QueueAnswer
    state: str
    age: str
    limit: str
    runbook_href: str


class JobRow(msgspec.Struct, frozen=True):
    """A job as the page shows it."""

    job: JobAnswer
    state: str
    limit: str


class QueuesPage(Page, frozen=True, kw_only=True):
    """What waits."""

    template: ClassVar[str] = "ops/queues.html"

    rows: tuple[QueueRow, ...]
    late: int
    unknown: int
    jobs: tuple[JobRow, ...]
    late_jobs: int
    at: datetime
    curl: str
    head: tuple[Column, ...] = HEAD
    jobs_head: tuple[Column, ...] = JOBS_HEAD


async def show(request: PageRequest) -> QueuesPage:
    """Every queue and every job, what is late first."""
    queues = (await request.run("list_queues", QueuesAnswer)).value
    jobs = (await request.run("list_jobs", JobsAnswer)).value
    rows = tuple(map(_row, sorted(queues.data, key=lambda one: ORDER[one.state])))
    return QueuesPage(
        title="Queues and lags",
        crumbs=(OPERATIONS, Crumb("Queues and lags")),
        rows=rows,
        late=queues.late,
        unknown=queues.unknown,
        jobs=tuple(
            JobRow(job, _word(job.state), span(job.limit_s))
            for job in sorted(jobs.data, key=lambda one: (ORDER[one.state], -one.failures, one.name))
        ),
        late_jobs=jobs.late,
        at=request.exchange.now,
        curl=curl("GET", request.operations.declared("list_queues").path, writes=False),
    )


def _row(one: QueueAnswer) -> QueueRow:
    age = "" if one.age_s is None else span(one.age_s)
    limit = "no limit" if one.limit_s is None else "not at all" if one.limit_s == 0 else span(one.limit_s)
    return QueueRow(one, _word(one.state), age, limit, f"{MANUAL}#{one.runbook.partition('#')[2]}")


def _word(state: str) -> str:
    return state.replace("_", " ")


def span(seconds: float) -> str:
    """A span in its two largest units, such as ``2 h 5 min``."""
    left, words = int(seconds), []
    for name, size in UNITS:
        count, left = divmod(left, size)
        if count:
            words.append(f"{count} {name}")
    if left or not words:
        words.append(f"{left} s")
    return " ".join(words[:2])
