"""How long an endpoint's calls take, per size of call: peak EWMA, usual value, 95th percentile, tokens per second.

One input and 2,048 inputs are different work, so nothing is compared across sizes. A slow answer raises the peak at
once; within seconds it decays towards what was usual of late. While no answer comes even that fades, so that an
endpoint is tried again after a bad spell, however long. An attempt that was cut short tells that it takes longer, and
the next ones get more time. Pure: the caller passes the clock.
"""

from math import exp
from typing import Final

import msgspec

DECAY_S: Final = 10.0
USUAL_S: Final = 60.0
FORGOTTEN_S: Final = 300.0
# The share of one answer in the throughput.
THROUGHPUT_SHARE: Final = 0.1
# What is not heard of for so long, and was twice as slow then as it is taken to be now, is tried by few calls at first.
STALE_S: Final = 5.0
# Answers kept for the percentile, and how many it needs to mean anything.
KEPT: Final = 64
ENOUGH: Final = 20
SIZES: Final = 16
# How often in a row the time of an attempt may be doubled, where it was cut each time.
STRETCH_MAX: Final = 3
# So much more than what was too short is more time; less is the same.
MORE: Final = 1.5


def size_of(inputs: int, tokens: int) -> int:
    """The size class of a call, 0 to 15: four steps of inputs by four of tokens."""
    by_inputs = (inputs > 1) + (inputs > 16) + (inputs > 128)
    return by_inputs + 4 * ((tokens > 512) + (tokens > 8_192) + (tokens > 65_536))


class Usual(msgspec.Struct, frozen=True):
    """What an attempt usually needs: 95 of 100 answers came within ``p95_s``, None where too few are known.

    ``stretch`` is how often in a row attempts were cut short since then, each with more time than the one before.
    """

    p95_s: float | None = None
    stretch: int = 0


NOTHING_USUAL: Final = Usual()


class Latency(msgspec.Struct):
    """Answers of one endpoint to calls of one size. Times are seconds; ``at`` is when it was last heard or cut.

    ``too_short_s`` is the longest that an attempt waited in vain since an answer came within less.
    """

    at: float
    peak_s: float
    usual_s: float
    tokens_per_s: float
    kept: list[float]
    place: int = 0
    too_short_s: float = 0.0
    stretch: int = 0

    def took(self, now: float, took_s: float, tokens: int) -> None:
        """One more answer came, after ``took_s``."""
        self._lasted(now, took_s)
        self.tokens_per_s += THROUGHPUT_SHARE * (_per_s(tokens, took_s) - self.tokens_per_s)
        if took_s < self.too_short_s:
            self.too_short_s, self.stretch = 0.0, 0
        if len(self.kept) < KEPT:
            self.kept.append(took_s)
        else:
            self.kept[self.place] = took_s
            self.place = (self.place + 1) % KEPT

    def cut(self, now: float, after_s: float) -> None:
        """No answer had come after ``after_s``, when the attempt was given up: it takes longer, who knows how long."""
        self._lasted(now, after_s)
        if after_s > MORE * self.too_short_s:
            self.stretch = min(STRETCH_MAX, self.stretch + 1)
        self.too_short_s = max(self.too_short_s, after_s)

    def _lasted(self, now: float, took_s: float) -> None:
        idle_s = now - self.at
        left = exp(-idle_s / DECAY_S)
        peak_s = self._expected_s(left)
        self.peak_s = took_s if took_s >= peak_s else took_s + (peak_s - took_s) * left
        self.usual_s = took_s + (self.usual_s - took_s) * exp(-idle_s / USUAL_S)
        self.at = now

    def expected_s(self, now: float) -> tuple[float, float] | None:
        """What the next answer may take, and the same faded by how long nothing was heard; None after minutes."""
        idle_s = now - self.at
        if idle_s > FORGOTTEN_S:
            return None
        expected_s = self._expected_s(exp(-idle_s / DECAY_S))
        return expected_s, expected_s * exp(-idle_s / USUAL_S)

    def is_doubtful(self, now: float, taken_s: float) -> bool:
        """Whether ``taken_s`` is a hope rather than a measurement."""
        return now - self.at > STALE_S and self.peak_s > 2 * taken_s

    def _expected_s(self, left: float) -> float:
        """The peak, of which what lies above the usual is ``left``."""
        return self.peak_s if self.peak_s <= self.usual_s else self.usual_s + (self.peak_s - self.usual_s) * left

    def p95_s(self, now: float) -> float | None:
        """95 of 100 answers took no longer; None until :data:`ENOUGH` were seen."""
        if len(self.kept) < ENOUGH or now - self.at > FORGOTTEN_S:
            return None
        return sorted(self.kept)[len(self.kept) * 95 // 100]

    def usual(self, now: float) -> Usual:
        """What the next attempt may need."""
        return NOTHING_USUAL if now - self.at > FORGOTTEN_S else Usual(self.p95_s(now), self.stretch)


def first(now: float, took_s: float, tokens: int) -> Latency:
    """What is known after one answer."""
    return Latency(now, took_s, took_s, _per_s(tokens, took_s), [took_s])


def first_cut(now: float, after_s: float) -> Latency:
    """What is known after one attempt that was given up."""
    latency = Latency(now, after_s, after_s, 0.0, [])
    latency.cut(now, after_s)
    return latency


def _per_s(tokens: int, took_s: float) -> float:
    return tokens / took_s if took_s > 0 else 0.0
