"""Tracks the health of endpoints as this process sees it: events in, state out, without a clock or chance. Pure.

Each lane has its own health, so that a worker's refusals and delays of batch calls, which it refuses first, are never
held against it by interactive calls; a quarantine, a worker's report and a change of the endpoint count for both lanes.
Each endpoint has a circuit breaker, pauses that its provider asked for, a cold model's warming up, latency per size of
call, a success rate, calls in flight, and the wait that a worker reports. Pauses and warming up are not ill health.
Callers owe each ``start`` exactly one end: a ``record_…``, ``quarantine`` or ``release``, which takes the value that
``start`` returned; without one it ends a call that began just now. All times are seconds on one rising clock.
"""

from collections.abc import Callable
from math import exp
from typing import Final, Literal

import msgspec

from router.routing.circuit_breaker import SLOW_START_SHARE, CircuitBreaker
from router.routing.latency import (
    UNKNOWN_LATENCY,
    Latency,
    UsualLatency,
    latency_from_answer,
    latency_from_timeout,
    size_of,
)
from router.routing.stats import NO_STATS, EndpointStats, HealthSnapshot
from router.values import Lane, QuarantineCause
from store.ids import EndpointId

PAUSE_MAX_S: Final = 60.0
PAUSE_MIN_S: Final = 0.1
# The pause of a provider that asks for patience without a number; it doubles each time in a row.
PAUSE_S: Final = 1.0
# The share of one call in the success rate, and how fast failures are forgiven while no call goes there.
SUCCESS_SHARE: Final = 0.2
FORGIVEN_S: Final = 60.0

ExclusionCode = Literal["quarantined", "breaker", "paced", "warming"]
Exclusion = tuple[ExclusionCode, str]


class _State(msgspec.Struct):
    breaker: CircuitBreaker = msgspec.field(default_factory=CircuitBreaker)
    in_flight: int = 0
    failure_rate: float = 0.0
    failure_rate_at: float = 0.0
    consecutive_pauses: int = 0
    paused_until: float = 0.0
    warming_until: float = 0.0
    wait_s: float = 0.0
    reported_at: float = 0.0
    queue_tokens: int = 0
    quarantine_reason: str = ""
    latencies: dict[int, Latency] = {}

    def failure_rate_now(self, now: float) -> float:
        """The part of calls that fail, decayed by the time since the last call."""
        return self.failure_rate and self.failure_rate * exp((self.failure_rate_at - now) / FORGIVEN_S)

    def remaining_wait_s(self, now: float) -> float:
        """The reported wait less the time since: a queue drains meanwhile."""
        return self.wait_s and max(0.0, self.wait_s - (now - self.reported_at))


class CallStart(msgspec.Struct, frozen=True):
    """The start of a call under way, for its end: the endpoint's state then, and the era of its breaker."""

    state: _State
    era: int


class Health:
    """The health that interactive calls of one process see; :meth:`of` has the other lane's.

    ``jitter`` returns numbers in [0, 1) that spread rests and pauses.
    """

    def __init__(self, jitter: Callable[[], float] = lambda: 0.0, interactive: "Health | None" = None) -> None:
        self._jitter = jitter
        self._states: dict[EndpointId, _State] = {}
        # The latest instant of any event; an event without a time of its own happened then.
        self._now = 0.0
        # Quarantines that are not written to the database yet, where the other processes and ops see them.
        self.pending_quarantines: dict[EndpointId, tuple[QuarantineCause, str]] = (
            {} if interactive is None else interactive.pending_quarantines
        )
        self._lanes: dict[Lane, Health] = {Lane.INTERACTIVE: self} if interactive is None else interactive._lanes
        if interactive is None:
            self._lanes[Lane.BATCH] = Health(jitter, self)

    def of(self, lane: Lane) -> "Health":
        """The health that calls of a lane see."""
        return self._lanes[lane]

    # Queries of routing.

    def exclusion_reason(self, endpoint: EndpointId, now: float) -> str | None:
        """Why the endpoint should not get a call now; None when it may."""
        exclusion = self.exclusion(endpoint, now)
        return None if exclusion is None else exclusion[1]

    def exclusion(self, endpoint: EndpointId, now: float) -> Exclusion | None:
        """The same as code and sentence."""
        state = self._states.get(endpoint)
        if state is None:
            return None
        if state.quarantine_reason:
            return "quarantined", state.quarantine_reason
        if state.breaker.is_open and (reason := state.breaker.rejection_reason(now)) is not None:
            return "breaker", reason
        if now < state.paused_until:
            return "paced", "it asked for patience"
        if now < state.warming_until:
            return "warming", "its model is being loaded"
        return None

    def may_be_tried(self, endpoint: EndpointId, now: float) -> bool:
        """Whether one call may try it though its breaker is open, since no other is left; never in quarantine."""
        state = self._states.get(endpoint)
        return state is not None and not state.quarantine_reason and state.breaker.may_be_tried(now)

    def last_trial_at(self, endpoint: EndpointId) -> float:
        """When a call last tried it while its breaker was open; minus infinity where none did."""
        state = self._states.get(endpoint)
        return float("-inf") if state is None else state.breaker.last_trial_at

    def retry_after_s(self, endpoint: EndpointId, now: float) -> float:
        """Seconds until the endpoint may be tried again."""
        state = self._states.get(endpoint)
        if state is None:
            return 0.0
        rest_until = state.breaker.open_until if state.breaker.is_open else 0.0
        return max(0.0, max(rest_until, state.paused_until, state.warming_until) - now)

    def stats(self, endpoint: EndpointId, size: int, now: float) -> EndpointStats:
        """The endpoint's figures for calls of one size class."""
        state = self._states.get(endpoint)
        if state is None:
            return NO_STATS
        share = recovered_share = state.breaker.share(now)
        latency = state.latencies.get(size)
        expected = None if latency is None else latency.expected_s(now)
        success_rate, wait_s = 1.0 - state.failure_rate_now(now), state.remaining_wait_s(now)
        if latency is None or expected is None:
            return EndpointStats(None, 0.0, state.in_flight, success_rate, wait_s, None, share, recovered_share)
        latency_s, decayed_latency_s = expected
        if latency.is_doubtful(now, decayed_latency_s):
            share = min(share, SLOW_START_SHARE)
        return EndpointStats(
            latency_s,
            decayed_latency_s,
            state.in_flight,
            success_rate,
            wait_s,
            latency.tokens_per_s,
            share,
            recovered_share,
        )

    def usual_latency(self, endpoint: EndpointId, inputs: int, tokens: int) -> UsualLatency:
        """How long attempts of such a call usually take there."""
        state = self._states.get(endpoint)
        latency = None if state is None else state.latencies.get(size_of(inputs, tokens))
        return UNKNOWN_LATENCY if latency is None else latency.usual_latency(self._now)

    def snapshot(self, now: float) -> dict[EndpointId, HealthSnapshot]:
        """The health of all endpoints, for operators."""
        return {endpoint: self._snapshot_of(endpoint, state, now) for endpoint, state in self._states.items()}

    # Events of dispatch.

    def start(self, endpoint: EndpointId, now: float = 0.0) -> CallStart | None:
        """Start a call there. None where another call is the breaker's trial already: then nothing has started."""
        now = self._at(now)
        state = self._states.get(endpoint)
        if state is None:
            state = self._states[endpoint] = _State()
        if state.breaker.is_open and not state.breaker.start(now):
            return None
        state.in_flight += 1
        return CallStart(state, state.breaker.era)

    def record_success(
        self,
        endpoint: EndpointId,
        now: float = 0.0,
        took_s: float | None = None,
        inputs: int = 1,
        tokens: int = 0,
        start: CallStart | None = None,
    ) -> None:
        """Record a checked answer after ``took_s``. The sizes are the call's, as routing takes them."""
        now = self._at(now)
        state, era = self._end(endpoint, start)
        state.consecutive_pauses = 0
        state.warming_until = 0.0
        state.breaker.record_success(now, era)
        if state.failure_rate:
            state.failure_rate, state.failure_rate_at = state.failure_rate_now(now) * (1 - SUCCESS_SHARE), now
            if state.failure_rate < 1e-3:
                state.failure_rate = 0.0
        if took_s is not None:
            size = size_of(inputs, tokens)
            latency = state.latencies.get(size)
            if latency is None:
                state.latencies[size] = latency_from_answer(now, took_s, tokens)
            else:
                latency.record_answer(now, took_s, tokens)

    def record_failure(
        self, endpoint: EndpointId, now: float, reason: str, weight: int = 1, start: CallStart | None = None
    ) -> None:
        """Record a failure that counts against health; an answer that failed our checks has weight 3."""
        now = self._at(now)
        state, era = self._end(endpoint, start)
        state.breaker.record_failure(now, reason, weight, self._jitter(), era)
        if state.breaker.is_open:
            # From here on the breaker decides: after its rest the endpoint is tried with a clean record.
            state.failure_rate = 0.0
        elif era == state.breaker.era:
            state.failure_rate, state.failure_rate_at = (
                1 - (1 - state.failure_rate_now(now)) * (1 - SUCCESS_SHARE) ** weight,
                now,
            )

    def record_timeout(
        self,
        endpoint: EndpointId,
        now: float,
        after_s: float,
        inputs: int,
        tokens: int,
        is_failure: bool,
        start: CallStart | None = None,
    ) -> None:
        """Record that an attempt was given up after ``after_s``: the next ones get more time. It may be no failure."""
        now = self._at(now)
        if is_failure:
            self.record_failure(endpoint, now, "no answer in time", start=start)
            state = self._state(endpoint) if start is None else start.state
        else:
            state = self._release(endpoint, start)
        size = size_of(inputs, tokens)
        latency = state.latencies.get(size)
        if latency is None:
            state.latencies[size] = latency_from_timeout(now, after_s)
        else:
            latency.record_timeout(now, after_s)

    def record_pause(
        self, endpoint: EndpointId, now: float, seconds: float | None = None, start: CallStart | None = None
    ) -> None:
        """Record that the provider asked for patience; without a number it gets 1 s, then twice as much each time."""
        now = self._at(now)
        state = self._release(endpoint, start)
        is_first = now >= state.paused_until
        if seconds is None and not is_first:
            return  # Calls that were under way together count once.
        if seconds is None:
            seconds = PAUSE_S * 2.0 ** min(state.consecutive_pauses, 10) * (1 - 0.5 * self._jitter())
        state.consecutive_pauses += is_first
        state.paused_until = max(state.paused_until, now + min(PAUSE_MAX_S, max(PAUSE_MIN_S, seconds)))

    def record_warming(
        self, endpoint: EndpointId, now: float, retry_after_s: float, start: CallStart | None = None
    ) -> None:
        """Record that the model is being loaded there: no failure, and nothing is sent before it is done."""
        now = self._at(now)
        state = self._release(endpoint, start)
        state.warming_until = now + min(PAUSE_MAX_S, max(PAUSE_MIN_S, retry_after_s))

    def release(self, endpoint: EndpointId, start: CallStart | None = None) -> None:
        """End a call that tells nothing about the endpoint."""
        self._release(endpoint, start)

    def quarantine(
        self,
        endpoint: EndpointId,
        cause: QuarantineCause,
        reason: str,
        start: CallStart | None = None,
        for_ops: str = "",
    ) -> bool:
        """Stop all traffic until its state in the database lets it come back.

        Callers see the ``reason``; ``for_ops`` is written to the database with the ``cause`` instead, where that says
        more. Returns False, and does nothing, where the endpoint or its provider was changed since the call started.
        """
        if self._release(endpoint, start) is not self._states.get(endpoint):
            return False
        for lane in self._lanes.values():
            lane._state(endpoint).quarantine_reason = f"it is quarantined: {reason}"
        self.pending_quarantines[endpoint] = (cause, for_ops or reason)
        return True

    def record_load(self, endpoint: EndpointId, wait_s: float, queue_tokens: int = 0, now: float = 0.0) -> None:
        """Record a worker's report: how long a new call would wait, and how many tokens are queued before it."""
        for lane in self._lanes.values():
            state = lane._state(endpoint)
            state.wait_s, state.queue_tokens, state.reported_at = max(0.0, wait_s), queue_tokens, lane._at(now)

    def forget(self, endpoint: EndpointId) -> None:
        """Start afresh, since the endpoint or its provider was changed; calls that are under way no longer count."""
        self.pending_quarantines.pop(endpoint, None)
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

    def _end(self, endpoint: EndpointId, start: CallStart | None) -> tuple[_State, int]:
        """The state that the call started in, orphaned if the endpoint was changed since, and its era."""
        if start is None:
            state = self._state(endpoint)
            era = state.breaker.era
        else:
            state, era = start.state, start.era
        if state.in_flight:
            state.in_flight -= 1
        return state, era

    def _release(self, endpoint: EndpointId, start: CallStart | None) -> _State:
        state, era = self._end(endpoint, start)
        state.breaker.release(era)
        return state

    def _snapshot_of(self, endpoint: EndpointId, state: _State, now: float) -> HealthSnapshot:
        exclusion = self.exclusion(endpoint, now)
        expected = {size: latency.expected_s(now) for size, latency in state.latencies.items()}
        p95 = {size: latency.p95_s(now) for size, latency in state.latencies.items()}
        return HealthSnapshot(
            left_out=None if exclusion is None else exclusion[1],
            code=None if exclusion is None else exclusion[0],
            retry_after_s=self.retry_after_s(endpoint, now),
            in_flight=state.in_flight,
            success_rate=1.0 - state.failure_rate_now(now),
            wait_s=state.remaining_wait_s(now),
            queue_tokens=state.queue_tokens,
            share=state.breaker.share(now),
            latency_ms={size: 1000 * seconds[0] for size, seconds in expected.items() if seconds is not None},
            p95_ms={size: 1000 * seconds for size, seconds in p95.items() if seconds is not None},
            tokens_per_s={size: latency.tokens_per_s for size, latency in state.latencies.items()},
        )
