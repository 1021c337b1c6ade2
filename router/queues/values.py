"""Holds what a queue is and how one stands. Pure.

A queue is something that waits for a job or for a person; a lag is something that follows something else.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

import msgspec

RUNBOOK: Final = "docs/queues.md"


class Lateness(StrEnum):
    """How a queue or a job stands; what is unknown is never in time."""

    LATE = "late"
    IN_TIME = "in_time"
    UNKNOWN = "unknown"


class Queue(msgspec.Struct, frozen=True):
    """What waits, and for how long the oldest of it may.

    ``sql`` gives how much waits (null: it is not counted), since when, what else is to be said, and whether that is
    known. ``limit``: None where nobody set one. ``moved_by``: a job by its name, or who. ``page``: where in the console
    it is handled. ``counts_faults``: what is counted is wrong, however lately it was looked at.
    """

    name: str
    title: str
    unit: str
    limit: timedelta | None
    moved_by: str
    page: str
    sql: str
    counts_faults: bool = False

    @property
    def runbook(self) -> str:
        """The section that says what it is, and what to do."""
        return f"{RUNBOOK}#{self.name.replace('_', '-')}"


class QueueState(msgspec.Struct, frozen=True):
    """A queue as it stands. ``oldest_at``: None where nothing waits, or where it is not known since when."""

    queue: Queue
    waiting: int | None
    oldest_at: datetime | None
    note: str
    lateness: Lateness


class JobRun(msgspec.Struct, frozen=True, kw_only=True):
    """When a job was done last, by whichever process, and when it failed. ``failures``: since it was done last."""

    name: str
    every_s: float
    limit_s: float
    ran_at: datetime | None = None
    failed_at: datetime | None = None
    failures: int = 0
    fault: str = ""

    def lateness(self, now: datetime) -> Lateness:
        """Whether it was done as lately as it should have been."""
        if self.ran_at is None:
            return Lateness.LATE if self.failures else Lateness.UNKNOWN
        return Lateness.LATE if (now - self.ran_at).total_seconds() > self.limit_s else Lateness.IN_TIME


def lateness_of(
    queue: Queue, waiting: int | None, oldest_at: datetime | None, now: datetime, *, is_known: bool
) -> Lateness:
    """How what was read of a queue stands. What is not counted lags behind since ``oldest_at``."""
    if not is_known or (oldest_at is None and waiting is None):
        return Lateness.UNKNOWN
    if queue.counts_faults and waiting:
        return Lateness.LATE
    is_over = oldest_at is not None and queue.limit is not None and now - oldest_at > queue.limit
    return Lateness.LATE if is_over else Lateness.IN_TIME
