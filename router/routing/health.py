"""Health of endpoints as this process has seen them: events in, state out. Pure: knows no clock and no chance.

Each lane has its own, so that what a worker does to batch calls (it refuses and delays them first) is never held
against it by interactive ones; a quarantine, a worker's report and a change of the endpoint are news for both.

For each endpoint a breaker, pauses that the provider asked for, a cold model's warming up, latency per size of call,
success, calls in flight, and the wait that a worker reports. Pacing and warming are not ill health. What a caller must
keep: each ``starts`` has exactly one end, which is ``succeeded``, ``failed``, ``cut``, ``paused``, ``warming``,
``quarantined`` or ``given_up``, and which is given what ``starts`` gave; without that it is the end of a call that
began just now. All times are seconds on one clock that only moves forward.
"""

from collections.abc import Callable
from math import exp
from typing import Final, Literal

import msgspec

from router.routing.circuit_breaker import FAILURES_MAX, OPEN_MAX_S, OPEN_S, SLOW_START_SHARE, CircuitBreaker
from router.routing.latency import NOTHING_USUAL, Latency, Usual, first, first_cut, size_of
from router.values import Lane, QuarantineCause
from store.ids import EndpointId

__all__ = ["FAILURES_MAX", "OPEN_MAX_S", "OPEN_S", "PAUSE_MAX_S", "UNSEEN", "Health", "Picture", "Seen", "Verdict"]

PAUSE_MAX_S: Final = 60.0
PAUSE_MIN_S: Final = 0.1
# Where nobody says for how long: this; a provider that asks for patience again gets twice as much each time in a row.
PAUSE_S: Final = 1.0
# The share of one call in the success rate, and how fast failures are forgotten while no call goes there.
SUCCESS_SHARE: Final = 0.2
FORGIVEN_S: Final = 60.0

Why = Literal["quarantined", "breaker", "paced", "warming"]
Verdict = tuple[Why, str]


class Seen(msgspec.Struct, frozen=True):
    """What routing decides by. ``latency_s`` and ``tokens_per_s`` are None where calls of that size are unknown.

    ``faded_s`` is the latency, the less the longer nothing was heard. ``success`` is in 0..1; ``wait_s`` is what a
    worker says a new call would wait. ``recovered`` in 0.1..1 is the part of its calls that it may have again after
    failures; ``share`` is that, or less where it was slow at last and few calls should try it.
    """

    latency_s: float | None = None
    faded_s: float = 0.0
    in_flight: int = 0
    success: float = 1.0
    wait_s: float = 0.0
    tokens_per_s: float | None = None
    share: float = 1.0
    recovered: float = 1.0


UNSEEN: Final = Seen()


class Picture(msgspec.Struct, frozen=True):
    """One endpoint's health, for operators. ``latency_ms`` and ``p95_ms`` are by size class (``routing.latency``)."""

    left_out: str | None
    code: str | None
    retry_after_s: float
    in_flight: int
    success: float
    wait_s: float
    queue_tokens: int
    share: float
    latency_ms: dict[int, float]
    p95_ms: dict[int, float]
    tokens_per_s: dict[int, float]


class _State(msgspec.Struct):
    breaker: CircuitBreaker = msgspec.field(default_factory=CircuitBreaker)
    in_flight: int = 0
    missed: float = 0.0
    missed_at: float = 0.0
    pauses: int = 0
    paused_until: float = 0.0
    warming_until: float = 0.0
    wait_s: float = 0.0
    reported_at: float = 0.0
    queue_tokens: int = 0
    quarantined: str = ""
    latencies: dict[int, Latency] = {}

    def missed_now(self, now: float) -> float:
        """The part of calls that fail, which is forgiven with time."""
        return self.missed and self.missed * exp((self.missed_at - now) / FORGIVEN_S)

    def wait_now(self, now: float) -> float:
        """A queue drains while nobody looks."""
        return self.wait_s and max(0.0, self.wait_s - (now - self.reported_at))


class Started(msgspec.Struct, frozen=True):
    """A call under way, for its end: where it began, and in which era of the breaker there."""

    state: _State
    era: int


class Health:
    """What one process has seen of interactive calls; :meth:`of` has the other lane.

    ``jitter`` gives numbers in [0, 1) that spread rests and pauses.
    """

    def __init__(self, jitter: Callable[[], float] = lambda: 0.0, beside: "Health | None" = None) -> None:
        self._jitter = jitter
        self._states: dict[EndpointId, _State] = {}
        # The latest instant that was told; an event without a time of its own happened then.
        self._now = 0.0
        # Quarantines that the other processes and ops have not been told of yet.
        self.untold: dict[EndpointId, tuple[QuarantineCause, str]] = {} if beside is None else beside.untold
        self._lanes: dict[Lane, Health] = {Lane.INTERACTIVE: self} if beside is None else beside._lanes
        if beside is None:
            self._lanes[Lane.BATCH] = Health(jitter, self)

    def of(self, lane: Lane) -> "Health":
        """What calls of a lane have seen."""
        return self._lanes[lane]

    # What routing asks.

    def left_out(self, endpoint: EndpointId, now: float) -> str | None:
        """Why the endpoint should not get a call now; None when it may."""
        verdict = self.verdict(endpoint, now)
        return None if verdict is None else verdict[1]

    def verdict(self, endpoint: EndpointId, now: float) -> Verdict | None:
        """The same with its code."""
        state = self._states.get(endpoint)
        if state is None:
            return None
        if state.quarantined:
            return "quarantined", state.quarantined
        if state.breaker.is_open and (reason := state.breaker.why_not(now)) is not None:
            return "breaker", reason
        if now < state.paused_until:
            return "paced", "it asked for patience"
        if now < state.warming_until:
            return "warming", "its model is being loaded"
        return None

    def may_be_tried(self, endpoint: EndpointId, now: float) -> bool:
        """Whether one call may try it although its breaker is open: where nobody else is left, never in quarantine."""
        state = self._states.get(endpoint)
        return state is not None and not state.quarantined and state.breaker.may_be_tried(now)

    def tried_at(self, endpoint: EndpointId) -> float:
        """When a call last tried it while its breaker was open; before all time where none did."""
        state = self._states.get(endpoint)
        return float("-inf") if state is None else state.breaker.tried_at

    def retry_after_s(self, endpoint: EndpointId, now: float) -> float:
        """Seconds until the endpoint may be tried again."""
        state = self._states.get(endpoint)
        if state is None:
            return 0.0
        rest_until = state.breaker.until if state.breaker.is_open else 0.0
        return max(0.0, max(rest_until, state.paused_until, state.warming_until) - now)

    def seen(self, endpoint: EndpointId, size: int, now: float) -> Seen:
        """What is known of it for calls of one size class."""
        state = self._states.get(endpoint)
        if state is None:
            return UNSEEN
        share = recovered = state.breaker.share(now)
        latency = state.latencies.get(size)
        expected = None if latency is None else latency.expected_s(now)
        success, wait_s = 1.0 - state.missed_now(now), state.wait_now(now)
        if latency is None or expected is None:
            return Seen(None, 0.0, state.in_flight, success, wait_s, None, share, recovered)
        latency_s, faded_s = expected
        if latency.is_doubtful(now, faded_s):
            share = min(share, SLOW_START_SHARE)
        return Seen(latency_s, faded_s, state.in_flight, success, wait_s, latency.tokens_per_s, share, recovered)

    def usual(self, endpoint: EndpointId, inputs: int, tokens: int) -> Usual:
        """What an attempt of such a call usually needs there."""
        state = self._states.get(endpoint)
        latency = None if state is None else state.latencies.get(size_of(inputs, tokens))
        return NOTHING_USUAL if latency is None else latency.usual(self._now)

    def snapshot(self, now: float) -> dict[EndpointId, Picture]:
        """All that is known, for operators."""
        return {endpoint: self._picture(endpoint, state, now) for endpoint, state in self._states.items()}

    # What dispatch tells.

    def starts(self, endpoint: EndpointId, now: float = 0.0) -> Started | None:
        """A call goes there. None where it should not, since another one has begun to try it: then nothing started."""
        now = self._at(now)
        state = self._states.get(endpoint)
        if state is None:
            state = self._states[endpoint] = _State()
        if state.breaker.is_open and not state.breaker.starts(now):
            return None
        state.in_flight += 1
        return Started(state, state.breaker.era)

    def succeeded(
        self,
        endpoint: EndpointId,
        now: float = 0.0,
        took_s: float | None = None,
        inputs: int = 1,
        tokens: int = 0,
        started: Started | None = None,
    ) -> None:
        """A checked answer came after ``took_s``. Sizes are those of the call, as routing was given them."""
        now = self._at(now)
        state, era = self._ended(endpoint, started)
        state.pauses = 0
        state.warming_until = 0.0
        state.breaker.succeeded(now, era)
        if state.missed:
            state.missed, state.missed_at = state.missed_now(now) * (1 - SUCCESS_SHARE), now
            if state.missed < 1e-3:
                state.missed = 0.0
        if took_s is not None:
            size = size_of(inputs, tokens)
            latency = state.latencies.get(size)
            if latency is None:
                state.latencies[size] = first(now, took_s, tokens)
            else:
                latency.took(now, took_s, tokens)

    def failed(
        self, endpoint: EndpointId, now: float, reason: str, weight: int = 1, started: Started | None = None
    ) -> None:
        """One failure that counts against health; an answer that failed our checks weighs 3."""
        now = self._at(now)
        state, era = self._ended(endpoint, started)
        state.breaker.failed(now, reason, weight, self._jitter(), era)
        if state.breaker.is_open:
            # From here on the breaker judges it: after its rest it is tried with a clean record.
            state.missed = 0.0
        elif era == state.breaker.era:
            state.missed, state.missed_at = 1 - (1 - state.missed_now(now)) * (1 - SUCCESS_SHARE) ** weight, now

    def cut(
        self,
        endpoint: EndpointId,
        now: float,
        after_s: float,
        inputs: int,
        tokens: int,
        is_failure: bool,
        started: Started | None = None,
    ) -> None:
        """We gave an attempt up after ``after_s``: the next ones get more time. Merely being slow is no failure."""
        now = self._at(now)
        if is_failure:
            self.failed(endpoint, now, "no answer in time", started=started)
            state = self._state(endpoint) if started is None else started.state
        else:
            state = self._without_verdict(endpoint, started)
        size = size_of(inputs, tokens)
        latency = state.latencies.get(size)
        if latency is None:
            state.latencies[size] = first_cut(now, after_s)
        else:
            latency.cut(now, after_s)

    def paused(
        self, endpoint: EndpointId, now: float, seconds: float | None = None, started: Started | None = None
    ) -> None:
        """The provider asked for patience; without a number it gets 1 s, then twice as much each time."""
        now = self._at(now)
        state = self._without_verdict(endpoint, started)
        is_new = now >= state.paused_until
        if seconds is None and not is_new:
            return  # Calls that were under way together are told the same, once.
        if seconds is None:
            seconds = PAUSE_S * 2.0 ** min(state.pauses, 10) * (1 - 0.5 * self._jitter())
        state.pauses += is_new
        state.paused_until = max(state.paused_until, now + min(PAUSE_MAX_S, max(PAUSE_MIN_S, seconds)))

    def warming(self, endpoint: EndpointId, now: float, retry_after_s: float, started: Started | None = None) -> None:
        """The model is being loaded there: no failure, and nothing to send before it is done."""
        now = self._at(now)
        state = self._without_verdict(endpoint, started)
        state.warming_until = now + min(PAUSE_MAX_S, max(PAUSE_MIN_S, retry_after_s))

    def given_up(self, endpoint: EndpointId, started: Started | None = None) -> None:
        """The call ended without a verdict on the endpoint."""
        self._without_verdict(endpoint, started)

    def quarantined(
        self,
        endpoint: EndpointId,
        cause: QuarantineCause,
        reason: str,
        started: Started | None = None,
        for_ops: str = "",
    ) -> bool:
        """No traffic until ops have looked: its state in the database decides when it comes back.

        Callers are told the ``reason``; ``for_ops`` is written down with the ``cause`` instead, where that says more.
        False, and nothing of it, where the endpoint or its provider was changed since the call started.
        """
        if self._without_verdict(endpoint, started) is not self._states.get(endpoint):
            return False
        for lane in self._lanes.values():
            lane._state(endpoint).quarantined = f"it is quarantined: {reason}"
        self.untold[endpoint] = (cause, for_ops or reason)
        return True

    def reports(self, endpoint: EndpointId, wait_s: float, queue_tokens: int = 0, now: float = 0.0) -> None:
        """A worker says how long a new call would wait, and how many tokens wait before it."""
        for lane in self._lanes.values():
            state = lane._state(endpoint)
            state.wait_s, state.queue_tokens, state.reported_at = max(0.0, wait_s), queue_tokens, lane._at(now)

    def forget(self, endpoint: EndpointId) -> None:
        """The endpoint or its provider was changed: start afresh, whatever calls that are under way will bring."""
        self.untold.pop(endpoint, None)
        for lane in self._lanes.values():
            lane._states.pop(endpoint, None)

    def _at(self, now: float) -> float:
        self._now = max(self._now, now)
        return self._now

    def _state(self, endpoint: EndpointId) -> _State:
        state = self._states.get(endpoint)
        if state is None:
            state = self._states[endpoint] = _State()
        return state

    def _ended(self, endpoint: EndpointId, started: Started | None) -> tuple[_State, int]:
        """Where the call had begun, which is nobody's state any more if the endpoint was changed; and its era."""
        if started is None:
            state = self._state(endpoint)
            era = state.breaker.era
        else:
            state, era = started.state, started.era
        if state.in_flight:
            state.in_flight -= 1
        return state, era

    def _without_verdict(self, endpoint: EndpointId, started: Started | None) -> _State:
        state, era = self._ended(endpoint, started)
        state.breaker.ends(era)
        return state

    def _picture(self, endpoint: EndpointId, state: _State, now: float) -> Picture:
        verdict = self.verdict(endpoint, now)
        expected = {size: latency.expected_s(now) for size, latency in state.latencies.items()}
        p95 = {size: latency.p95_s(now) for size, latency in state.latencies.items()}
        return Picture(
            left_out=None if verdict is None else verdict[1],
            code=None if verdict is None else verdict[0],
            retry_after_s=self.retry_after_s(endpoint, now),
            in_flight=state.in_flight,
            success=1.0 - state.missed_now(now),
            wait_s=state.wait_now(now),
            queue_tokens=state.queue_tokens,
            share=state.breaker.share(now),
            latency_ms={size: 1000 * seconds[0] for size, seconds in expected.items() if seconds is not None},
            p95_ms={size: 1000 * seconds for size, seconds in p95.items() if seconds is not None},
            tokens_per_s={size: latency.tokens_per_s for size, latency in state.latencies.items()},
        )
