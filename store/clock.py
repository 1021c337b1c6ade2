"""Tells Postgres' time in every process: periods, deadlines and expiries are the same whatever a machine's clock.

Each heartbeat brings Postgres' time; between two of them the monotonic clock runs on. The machine's own wall clock only
says how far it is off. Nothing else in the product that concerns money reads a wall clock.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime

import structlog

log = structlog.get_logger("store.clock")

# A wall clock that is off by more than this is reported; NTP keeps machines within milliseconds.
OFF_S = 1.0


def describe_offset(offset_s: float) -> str:
    """7200.4 -> ``7200.4 s ahead of PostgreSQL's``."""
    return f"{abs(offset_s):.1f} s {'ahead of' if offset_s > 0 else 'behind'} PostgreSQL's"


class Clock:
    """Postgres' time as this process knows it. ``wall`` and ``elapsed`` are the machine's clocks, in seconds."""

    def __init__(self, wall: Callable[[], float] = time.time, elapsed: Callable[[], float] = time.monotonic) -> None:
        self._wall = wall
        self.elapsed = elapsed
        # Postgres' time at the monotonic clock's zero.
        self._base_s: float | None = None
        self._reported_off = False

    def observe(self, postgres_at: datetime, sent: float, received: float) -> None:
        """Take in what Postgres' clock showed between ``sent`` and ``received``, both by :attr:`elapsed`.

        What is known stays where the answer allows it, so a slow answer spoils nothing that a fast one has said.
        """
        earliest, latest = postgres_at.timestamp() - received, postgres_at.timestamp() - sent
        if self._base_s is None:
            self._base_s = (earliest + latest) / 2
        self._base_s = min(max(self._base_s, earliest), latest)
        self._report()

    def now(self) -> datetime:
        """Postgres' time; this machine's own before Postgres has said any."""
        if self._base_s is None:
            return datetime.fromtimestamp(self._wall(), UTC)
        return datetime.fromtimestamp(self._base_s + self.elapsed(), UTC)

    @property
    def offset_s(self) -> float:
        """How far this machine's wall clock is ahead of Postgres'; negative where it is behind."""
        return 0.0 if self._base_s is None else self._wall() - self._base_s - self.elapsed()

    def _report(self) -> None:
        offset_s = self.offset_s
        is_off = abs(offset_s) > OFF_S
        if is_off and not self._reported_off:
            log.warning("clock_off", ahead_of_postgres_s=round(offset_s, 3))
        elif self._reported_off and not is_off:
            log.info("clock_right_again", ahead_of_postgres_s=round(offset_s, 3))
        self._reported_off = is_off
