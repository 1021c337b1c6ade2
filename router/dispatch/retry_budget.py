"""How many retries and hedges a process may send, so that an outage is not multiplied by the attempts of every call.

Pure: the caller passes the time. The budget protects endpoints that fail from being asked more than once per call by
everybody. A retry at an endpoint that answers multiplies nothing, so it is counted but never refused; one that failed
within the last ten seconds, and has answered nothing since, needs the budget. Who asks for patience has not failed.
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
    """The budgets of one process."""

    __slots__ = ("_calls", "_failed_at", "_hedges", "_retries")

    def __init__(self) -> None:
        self._calls = Window()
        self._retries = Window()
        self._hedges = 0.0
        self._failed_at: dict[EndpointId, float] = {}

    def record_call(self, now: float) -> None:
        """A call came: a retry's fifth and a hedge's twentieth are earned."""
        self._calls.add(now)
        if self._hedges < HEDGES_SAVED:
            self._hedges += HEDGES_PER_CALL

    def record_answer(self, endpoint: EndpointId) -> None:
        """An attempt there was answered."""
        if self._failed_at:
            self._failed_at.pop(endpoint, None)

    def record_failure(self, endpoint: EndpointId, now: float) -> None:
        """An attempt there failed."""
        self._failed_at[endpoint] = now

    def take_retry(self, endpoint: EndpointId, now: float) -> bool:
        """Whether a further attempt may be sent there; it is counted if so."""
        allowed = max(RETRIES_PER_S * WINDOW_S, RETRIES_PER_CALL * self._calls.count(now))
        is_failing = now - self._failed_at.get(endpoint, _NEVER) < WINDOW_S
        if is_failing and self._retries.count(now) >= allowed:
            return False
        self._retries.add(now)
        return True

    def take_hedge(self) -> bool:
        """Whether a second attempt may be sent beside a slow one; it is paid for if so."""
        if self._hedges < 1:
            return False
        self._hedges -= 1
        return True

    def return_hedge(self) -> None:
        """The second attempt was not sent after all."""
        self._hedges += 1


class Window:
    """How often something happened in the last ten seconds, to the second."""

    __slots__ = ("_counts", "_second", "_total")

    def __init__(self) -> None:
        self._counts = [0] * WINDOW_S
        self._second = 0
        self._total = 0

    def add(self, now: float) -> None:
        """It happened."""
        self._forget(int(now))
        self._counts[self._second % WINDOW_S] += 1
        self._total += 1

    def count(self, now: float) -> int:
        """How often."""
        self._forget(int(now))
        return self._total

    def _forget(self, second: int) -> None:
        if second <= self._second:
            return
        for passed in range(self._second + 1, min(second, self._second + WINDOW_S) + 1):
            self._total -= self._counts[passed % WINDOW_S]
            self._counts[passed % WINDOW_S] = 0
        self._second = second
