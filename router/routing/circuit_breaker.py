"""The circuit breaker of one endpoint. Pure: events and the clock in, a verdict out.

Closed, it counts failures. Open, the endpoint rests: 5 s, twice as long each time, up to 5 minutes. After the rest it
is half-open: one call at a time tries it, and three good ones close it. Then its share grows from a tenth to the whole
over 30 s, and only after that a rest starts at 5 s again. Latency alone never opens it. Each opening and each closing
begins an era: a call says something only in the era that it started in, so that no straggler is taken for the trial.
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
# Where nobody else is left, a resting endpoint is tried this often.
TRIAL_EVERY_S: Final = 1.0

_SLOTS: Final = 6
_SLOT_S: Final = WINDOW_S / _SLOTS
_NEVER: Final = float("-inf")


class CircuitBreaker(msgspec.Struct):
    """``until`` is when the rest ends, ``opened`` how many rests there were in a row; it starts closed."""

    era: int = 0
    is_open: bool = False
    in_a_row: int = 0
    opened: int = 0
    until: float = 0.0
    reason: str = ""
    trying: bool = False
    tried_at: float = _NEVER
    passed: int = 0
    closed_at: float = _NEVER
    slot: int = 0
    calls: list[int] = msgspec.field(default_factory=lambda: [0] * _SLOTS)
    failures: list[int] = msgspec.field(default_factory=lambda: [0] * _SLOTS)

    def why_not(self, now: float) -> str | None:
        """Why no call should go there now; None when one may."""
        if not self.is_open:
            return None
        if now < self.until:
            return self.reason
        return "another call is trying it" if self.trying else None

    def may_be_tried(self, now: float) -> bool:
        """Whether one call may try a resting endpoint because nobody else is left."""
        return self.is_open and not self.trying and now - self.tried_at >= TRIAL_EVERY_S

    def starts(self, now: float) -> bool:
        """A call wants to go there; False when another one is trying it already."""
        if not self.is_open:
            return True
        if self.trying:
            return False
        self.trying, self.tried_at = True, now
        return True

    def ends(self, era: int) -> None:
        """A call of an era ended without a verdict on the endpoint."""
        if era == self.era:
            self.trying = False

    def succeeded(self, now: float, era: int) -> None:
        """A good answer came to a call of an era."""
        if era != self.era:
            return
        if not self.is_open:
            self.in_a_row = 0
            self._count(now, 1, 0)
            if self.opened and now - self.closed_at > SLOW_START_S:
                self.opened = 0
        elif self.trying:
            self.trying = False
            self.until = min(self.until, now)
            self.passed += 1
            if self.passed >= TRIALS:
                self.is_open, self.closed_at, self.in_a_row, self.era = False, now, 0, self.era + 1
                self.calls, self.failures = [0] * _SLOTS, [0] * _SLOTS

    def failed(self, now: float, reason: str, weight: int, jitter: float, era: int) -> None:
        """A failure of a call of an era, which counts ``weight`` times; ``jitter`` is in [0, 1).

        A trial before the rest was over says nothing new.
        """
        if era != self.era:
            return
        if self.is_open:
            was_trial, self.trying = self.trying, False
            if was_trial and now >= self.until:
                self._open(now, reason, jitter)
            return
        self.in_a_row += weight
        self._count(now, weight, weight)
        calls, failures = sum(self.calls), sum(self.failures)
        if self.in_a_row >= FAILURES_MAX or (calls >= WINDOW_CALLS and 2 * failures >= calls):
            self._open(now, reason, jitter)

    def share(self, now: float) -> float:
        """Its part of what it would get when well: less on trial and in the slow start after it, else 1."""
        if self.is_open:
            return SLOW_START_SHARE
        if not self.opened:
            return 1.0
        since = (now - self.closed_at) / SLOW_START_S
        return min(1.0, SLOW_START_SHARE + (1 - SLOW_START_SHARE) * max(0.0, since))

    def _open(self, now: float, reason: str, jitter: float) -> None:
        rest_s = min(OPEN_MAX_S, OPEN_S * 2.0 ** min(self.opened, 10) * (1 + JITTER * jitter))
        self.is_open, self.trying, self.until, self.passed = True, False, now + rest_s, 0
        self.era += 1
        self.opened += 1
        self.reason = f"its breaker is open: {reason}"

    def _count(self, now: float, calls: int, failures: int) -> None:
        slot = int(now // _SLOT_S)
        if slot > self.slot:
            for gone in range(min(_SLOTS, slot - self.slot)):
                self.calls[(slot - gone) % _SLOTS] = self.failures[(slot - gone) % _SLOTS] = 0
            self.slot = slot
        self.calls[slot % _SLOTS] += calls
        if failures:
            self.failures[slot % _SLOTS] += failures
