"""Breaks the circuit to an endpoint that fails: events and the clock go in, whether it may be called comes out. Pure.

Closed, it counts failures. Open, the endpoint rests: 5 s, twice as long each time, up to 5 minutes. After the rest it
is half-open: one call at a time tries it, and three good ones close it. Then its share grows from a tenth to the whole
over 30 s, and only after that a rest starts at 5 s again. Latency alone never opens it. Each opening and each closing
begins an era: a call counts only in the era that it started in, so that no straggler is taken for the trial.
"""

from typing import Final

import msgspec

FAILURES_MAX: Final = 5
WINDOW_S: Final = 30.0
WINDOW_CALLS: Final = 20
OPEN_S: Final = 5.0
OPEN_MAX_S: Final = 300.0
# Processes that saw the same outage should not come back in step.
JITTER: Final = 0.25
TRIALS: Final = 3
SLOW_START_S: Final = 30.0
SLOW_START_SHARE: Final = 0.1
# Where no other endpoint is left, a resting one is tried this often.
TRIAL_EVERY_S: Final = 1.0

_SLOTS: Final = 6
_SLOT_S: Final = WINDOW_S / _SLOTS
_NEVER: Final = float("-inf")


class CircuitBreaker(msgspec.Struct):
    """The breaker of one endpoint, closed at first. ``open_until`` is when the current rest ends."""

    era: int = 0
    is_open: bool = False
    consecutive_failures: int = 0
    consecutive_openings: int = 0
    open_until: float = 0.0
    reason: str = ""
    trial_running: bool = False
    last_trial_at: float = _NEVER
    trial_successes: int = 0
    closed_at: float = _NEVER
    slot: int = 0
    calls: list[int] = msgspec.field(default_factory=lambda: [0] * _SLOTS)
    failures: list[int] = msgspec.field(default_factory=lambda: [0] * _SLOTS)

    def rejection_reason(self, now: float) -> str | None:
        """Why the endpoint may not be called now; None when it may."""
        if not self.is_open:
            return None
        if now < self.open_until:
            return self.reason
        return "another call is trying it" if self.trial_running else None

    def may_be_tried(self, now: float) -> bool:
        """Whether one call may try a resting endpoint because no other one is left."""
        return self.is_open and not self.trial_running and now - self.last_trial_at >= TRIAL_EVERY_S

    def start(self, now: float) -> bool:
        """Let a call start; False where another one is the trial already."""
        if not self.is_open:
            return True
        if self.trial_running:
            return False
        self.trial_running, self.last_trial_at = True, now
        return True

    def release(self, era: int) -> None:
        """End a call of an era that tells nothing about the endpoint."""
        if era == self.era:
            self.trial_running = False

    def record_success(self, now: float, era: int) -> None:
        """Count a good answer to a call of an era."""
        if era != self.era:
            return
        if not self.is_open:
            self.consecutive_failures = 0
            self._count(now, 1, 0)
            if self.consecutive_openings and now - self.closed_at > SLOW_START_S:
                self.consecutive_openings = 0
        elif self.trial_running:
            self.trial_running = False
            self.open_until = min(self.open_until, now)
            self.trial_successes += 1
            if self.trial_successes >= TRIALS:
                self.is_open, self.closed_at, self.consecutive_failures, self.era = False, now, 0, self.era + 1
                self.calls, self.failures = [0] * _SLOTS, [0] * _SLOTS

    def record_failure(self, now: float, reason: str, weight: int, jitter: float, era: int) -> None:
        """Count a failure of a call of an era ``weight`` times; ``jitter`` is in [0, 1).

        A trial that failed before the rest was over does not lengthen it.
        """
        if era != self.era:
            return
        if self.is_open:
            was_trial, self.trial_running = self.trial_running, False
            if was_trial and now >= self.open_until:
                self._open(now, reason, jitter)
            return
        self.consecutive_failures += weight
        self._count(now, weight, weight)
        calls, failures = sum(self.calls), sum(self.failures)
        if self.consecutive_failures >= FAILURES_MAX or (calls >= WINDOW_CALLS and 2 * failures >= calls):
            self._open(now, reason, jitter)

    def share(self, now: float) -> float:
        """The part of its usual traffic that it may have: a tenth on trial, more and more in the slow start, else 1."""
        if self.is_open:
            return SLOW_START_SHARE
        if not self.consecutive_openings:
            return 1.0
        since = (now - self.closed_at) / SLOW_START_S
        return min(1.0, SLOW_START_SHARE + (1 - SLOW_START_SHARE) * max(0.0, since))

    def _open(self, now: float, reason: str, jitter: float) -> None:
        rest_s = min(OPEN_MAX_S, OPEN_S * 2.0 ** min(self.consecutive_openings, 10) * (1 + JITTER * jitter))
        self.is_open, self.trial_running, self.open_until, self.trial_successes = True, False, now + rest_s, 0
        self.era += 1
        self.consecutive_openings += 1
        self.reason = f"its breaker is open: {reason}"

    def _count(self, now: float, calls: int, failures: int) -> None:
        slot = int(now // _SLOT_S)
        if slot > self.slot:
            for past in range(min(_SLOTS, slot - self.slot)):
                self.calls[(slot - past) % _SLOTS] = self.failures[(slot - past) % _SLOTS] = 0
            self.slot = slot
        self.calls[slot % _SLOTS] += calls
        if failures:
            self.failures[slot % _SLOTS] += failures
