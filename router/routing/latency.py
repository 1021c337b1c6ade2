"""Measures how long an endpoint's calls take, per size of call: peak EWMA, baseline, 95th percentile, tokens/s. Pure.

One input and 2,048 inputs are different work, so nothing is compared across sizes. A slow answer raises the peak at
once; within seconds it decays towards the baseline, the average of the last minute. While no answer comes even that
decays, so that an endpoint is tried again after a bad spell, however long. An attempt that timed out shows that answers
take longer, and the next attempts get more time. The caller passes the clock.
"""

from math import exp
from typing import Final

import msgspec

DECAY_S: Final = 10.0
BASELINE_S: Final = 60.0
EXPIRY_S: Final = 300.0
# The share of one answer in the throughput.
THROUGHPUT_SHARE: Final = 0.1
# An endpoint without an answer for so long, which was twice as slow then as its decayed latency is now, gets few calls
# at first.
STALE_S: Final = 5.0
# The last answers, of which the percentile is taken, and how many it needs to mean anything.
SAMPLES_MAX: Final = 64
SAMPLES_MIN: Final = 20
SIZES: Final = 16
# How often in a row the time of an attempt may be doubled, where it timed out each time.
STRETCH_MAX: Final = 3
# A timeout counts as longer than the longest before it only if it is this many times as long.
STRETCH_MIN: Final = 1.5


def size_of(inputs: int, tokens: int) -> int:
    """The size class of a call, 0 to 15: four steps of inputs by four of tokens."""
    by_inputs = (inputs > 1) + (inputs > 16) + (inputs > 128)
    return by_inputs + 4 * ((tokens > 512) + (tokens > 8_192) + (tokens > 65_536))


class UsualLatency(msgspec.Struct, frozen=True):
    """How long attempts usually take: 95 of 100 answers came within ``p95_s``, None where too few are known.

    ``stretch`` is how often in a row attempts timed out since then, each with more time than the one before.
    """

    p95_s: float | None = None
    stretch: int = 0


UNKNOWN_LATENCY: Final = UsualLatency()


class Latency(msgspec.Struct):
    """The latency of one endpoint for calls of one size. ``at`` is when the last answer or timeout was.

    ``longest_timeout_s`` is the longest timeout since an answer came within less.
    """

    at: float
    peak_s: float
    baseline_s: float
    tokens_per_s: float
    samples: list[float]
    next_sample: int = 0
    longest_timeout_s: float = 0.0
    stretch: int = 0

    def record_answer(self, now: float, took_s: float, tokens: int) -> None:
        """Count an answer that took ``took_s``."""
        self._update(now, took_s)
        self.tokens_per_s += THROUGHPUT_SHARE * (_per_s(tokens, took_s) - self.tokens_per_s)
        if took_s < self.longest_timeout_s:
            self.longest_timeout_s, self.stretch = 0.0, 0
        if len(self.samples) < SAMPLES_MAX:
            self.samples.append(took_s)
        else:
            self.samples[self.next_sample] = took_s
            self.next_sample = (self.next_sample + 1) % SAMPLES_MAX

    def record_timeout(self, now: float, after_s: float) -> None:
        """Count an attempt that was given up after ``after_s``: its answer would have taken longer."""
        self._update(now, after_s)
        if after_s > STRETCH_MIN * self.longest_timeout_s:
            self.stretch = min(STRETCH_MAX, self.stretch + 1)
        self.longest_timeout_s = max(self.longest_timeout_s, after_s)

    def _update(self, now: float, took_s: float) -> None:
        idle_s = now - self.at
        left = exp(-idle_s / DECAY_S)
        peak_s = self._decayed_s(left)
        self.peak_s = took_s if took_s >= peak_s else took_s + (peak_s - took_s) * left
        self.baseline_s = took_s + (self.baseline_s - took_s) * exp(-idle_s / BASELINE_S)
        self.at = now

    def expected_s(self, now: float) -> tuple[float, float] | None:
        """The expected latency now, and the same decayed by the time without an answer; None after five minutes."""
        idle_s = now - self.at
        if idle_s > EXPIRY_S:
            return None
        expected_s = self._decayed_s(exp(-idle_s / DECAY_S))
        return expected_s, expected_s * exp(-idle_s / BASELINE_S)

    def is_doubtful(self, now: float, decayed_latency_s: float) -> bool:
        """Whether the decayed latency is a hope rather than a measurement."""
        return now - self.at > STALE_S and self.peak_s > 2 * decayed_latency_s

    def _decayed_s(self, left: float) -> float:
        """The peak, of whose distance above the baseline the part ``left`` remains."""
        return (
            self.peak_s if self.peak_s <= self.baseline_s else self.baseline_s + (self.peak_s - self.baseline_s) * left
        )

    def p95_s(self, now: float) -> float | None:
        """95 of 100 answers took no longer; None until :data:`SAMPLES_MIN` were seen."""
        if len(self.samples) < SAMPLES_MIN or now - self.at > EXPIRY_S:
            return None
        return sorted(self.samples)[len(self.samples) * 95 // 100]

    def usual_latency(self, now: float) -> UsualLatency:
        """How long the next attempt will usually take."""
        return UNKNOWN_LATENCY if now - self.at > EXPIRY_S else UsualLatency(self.p95_s(now), self.stretch)


def latency_from_answer(now: float, took_s: float, tokens: int) -> Latency:
    """The latency after one answer."""
    return Latency(now, took_s, took_s, _per_s(tokens, took_s), [took_s])


def latency_from_timeout(now: float, after_s: float) -> Latency:
    """The latency after one attempt that was given up."""
    latency = Latency(now, after_s, after_s, 0.0, [])
    latency.record_timeout(now, after_s)
    return latency


def _per_s(tokens: int, took_s: float) -> float:
    return tokens / took_s if took_s > 0 else 0.0
