"""Health of endpoints as this process has seen them: a simple breaker. Events in, state out; knows no clock.

Five failures in a row open it for a while that doubles up to five minutes; then one call may try. A provider that asks
for patience is left alone for as long as it asks. Routing by more than this has a design of its own.
"""

from collections import deque

import msgspec

from store.ids import EndpointId

FAILURES_MAX = 5
OPEN_S = 5.0
OPEN_MAX_S = 300.0
PAUSE_MAX_S = 60.0
SAMPLES = 64
SAMPLES_MIN = 8


class State(msgspec.Struct):
    """What is remembered of one endpoint; ``until`` is on the clock that the caller passes."""

    failures: int = 0
    opened: int = 0
    until: float = 0.0
    reason: str = ""
    trying: bool = False
    quarantined: str = ""
    warming: bool = False


class Health:
    """The breakers of one process."""

    def __init__(self) -> None:
        self._states: dict[EndpointId, State] = {}
        # Quarantines that the other processes and ops have not been told of yet.
        self.untold: dict[EndpointId, str] = {}
        self._took: dict[EndpointId, deque[float]] = {}

    def left_out(self, endpoint: EndpointId, now: float) -> str | None:
        """Why the endpoint should not get a call now; None when it may."""
        state = self._states.get(endpoint)
        if state is None:
            return None
        if state.quarantined:
            return state.quarantined
        if now < state.until:
            return state.reason
        return "another call is trying it" if state.trying else None

    def retry_after_s(self, endpoint: EndpointId, now: float) -> float:
        """Seconds until the endpoint may be tried again."""
        state = self._states.get(endpoint)
        return 0.0 if state is None else max(0.0, state.until - now)

    def is_warming(self, endpoint: EndpointId, now: float) -> bool:
        """Whether all that keeps the endpoint from a call is that its model is being loaded."""
        state = self._states.get(endpoint)
        return state is not None and state.warming and now < state.until and not state.quarantined

    def p95_s(self, endpoint: EndpointId, inputs: int, tokens: int) -> float | None:
        """The time that 95 of 100 calls of this size take; None before there were enough."""
        took = self._took.get(endpoint)
        return sorted(took)[int(len(took) * 0.95)] if took is not None and len(took) >= SAMPLES_MIN else None

    def reports(self, endpoint: EndpointId, wait_s: float, queue_tokens: int = 0, now: float = 0.0) -> None:
        """What an in-house worker says of its queue."""

    def warming(self, endpoint: EndpointId, now: float, retry_after_s: float) -> None:
        """The model is being loaded there."""
        self.paused(endpoint, now, retry_after_s)
        state = self._states[endpoint]
        state.warming, state.reason = True, "its model is being loaded"

    def starts(self, endpoint: EndpointId, now: float = 0.0) -> bool:
        """A call goes there; after an open breaker it is the only one that may."""
        state = self._states.get(endpoint)
        if state is not None and state.opened and not state.quarantined:
            state.trying = True
        return True

    def succeeded(
        self, endpoint: EndpointId, now: float = 0.0, took_s: float = 0.0, inputs: int = 1, tokens: int = 1
    ) -> None:
        """A checked answer came back: all is forgotten."""
        self._took.setdefault(endpoint, deque(maxlen=SAMPLES)).append(took_s)
        self._states.pop(endpoint, None)

    def failed(self, endpoint: EndpointId, now: float, reason: str, weight: int = 1) -> None:
        """One failure that counts against health."""
        state = self._states.setdefault(endpoint, State())
        state.trying = False
        state.failures += weight
        if state.failures >= FAILURES_MAX or state.opened:
            state.until = now + min(OPEN_MAX_S, OPEN_S * 2**state.opened)
            state.opened += 1
            state.failures = 0
            state.reason = f"its breaker is open: {reason}"

    def paused(self, endpoint: EndpointId, now: float, seconds: float | None = None) -> None:
        """The provider asked for patience."""
        state = self._states.setdefault(endpoint, State())
        state.trying = False
        state.until = max(state.until, now + min(PAUSE_MAX_S, max(0.1, 1.0 if seconds is None else seconds)))
        state.reason = "it asked for patience"
        state.warming = False

    def given_up(self, endpoint: EndpointId) -> None:
        """The call ended without a verdict on the endpoint."""
        state = self._states.get(endpoint)
        if state is not None:
            state.trying = False

    def quarantined(self, endpoint: EndpointId, reason: str) -> None:
        """No traffic until ops have looked: its state in the database decides when it comes back."""
        self._states.setdefault(endpoint, State()).quarantined = f"it is quarantined: {reason}"
        self.untold[endpoint] = reason

    def forget(self, endpoint: EndpointId) -> None:
        """The endpoint was changed: start afresh."""
        self._took.pop(endpoint, None)
        self._states.pop(endpoint, None)
