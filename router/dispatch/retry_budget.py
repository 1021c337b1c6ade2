"""Limits a process's retries and hedges, so that an outage is not multiplied by the attempts of every call. Pure.

The caller passes the time. The budget protects endpoints that fail from several attempts of every call. A retry at an
endpoint that answers multiplies nothing, so it is counted but never refused; a retry at one that failed within the last
ten seconds, and has answered nothing since, needs the budget. An endpoint that asks for patience has not failed.
"""

from typing import Final

from store.ids import EndpointId

# Finagle's numbers: retries are at most a fifth of the calls of ten seconds, and three a second are always allowed.
RETRIES_PER_CALL: Final = 0.2
RETRIES_PER_S: Final = 3.0
WINDOW_S: Final = 10
# A hedge is earned by twenty calls; no more than ten are saved up for a slow moment.
HEDGES_PER_CALL: Final = 0.05
HEDGES_SAVED: Final = 10.0

_NEVER: Final = float("-inf")


class RetryBudget:
    """The budget for retries and the one for hedges of a process's calls in one lane."""

    __slots__ = ("_calls", "_failed_at", "_hedges", "_retries")

    def __init__(self) -> None:
        self._calls = Window()
        self._retries = Window()
        self._hedges = 0.0
        self._failed_at: dict[EndpointId, float] = {}

    def record_call(self, now: float) -> None:
        """Record a call, which earns a fifth of a retry and a twentieth of a hedge."""
        self._calls.add(now)
        if self._hedges < HEDGES_SAVED:
            self._hedges += HEDGES_PER_CALL

    def record_answer(self, endpoint: EndpointId) -> None:
        """Record that an attempt there was answered."""
        if self._failed_at:
            self._failed_at.pop(endpoint, None)

    def record_failure(self, endpoint: EndpointId, now: float) -> None:
        """Record that an attempt there failed."""
        self._failed_at[endpoint] = now

    def take_retry(self, endpoint: EndpointId, now: float) -> bool:
        """Take a retry at that endpoint; False where the budget refuses it."""
        allowed = max(RETRIES_PER_S * WINDOW_S, RETRIES_PER_CALL * self._calls.count(now))
        is_failing = now - self._failed_at.get(endpoint, _NEVER) < WINDOW_S
        if is_failing and self._retries.count(now) >= allowed:
            return False
        self._retries.add(now)
        return True

    def take_hedge(self) -> bool:
        """Take a hedge; False where none was earned."""
        if self._hedges < 1:
            return False
        self._hedges -= 1
        return True

    def return_hedge(self) -> None:
        """Return a hedge that was not sent after all."""
        self._hedges += 1


class Window:
    """Counts events of the last ten seconds, to the second."""

    __slots__ = ("_counts", "_second", "_total")

    def __init__(self) -> None:
        self._counts = [0] * WINDOW_S
        self._second = 0
        self._total = 0

    def add(self, now: float) -> None:
        """Count an event."""
        self._forget(int(now))
        self._counts[self._second % WINDOW_S] += 1
        self._total += 1

    def count(self, now: float) -> int:
        """The number of events."""
        self._forget(int(now))
        return self._total

    def _forget(self, second: int) -> None:
        if second <= self._second:
            return
        for past in range(self._second + 1, min(second, self._second + WINDOW_S) + 1):
            self._total -= self._counts[past % WINDOW_S]
            self._counts[past % WINDOW_S] = 0
        self._second = second
