"""Says how high a number stands in a chart, as a share of its height, and which ticks its axis has. Pure.

On a logarithmic axis each tick is ten times the one below it, and the lowest is 0: what is 0, or too small to be told
from it, stands there and not in an infinite depth.
"""

from collections.abc import Iterable
from math import ceil, floor, log10
from typing import Protocol

import msgspec

TICKS, TICKS_MAX = 4, 8
# What is below this is 0 but for the rounding of its sums.
SMALLEST = 1e-9
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


class Axis(Protocol):
    """An axis from 0 upwards."""

    def share(self, value: float) -> float:
        """How high a number stands, from 0 to 1."""

    def ticks(self) -> list[tuple[float, str]]:
        """Ticks: how high each stands, and its label."""


class Linear(msgspec.Struct, frozen=True):
    """From 0 to ``top`` in equal steps."""

    top: float

    def share(self, value: float) -> float:
        """How high a number stands, from 0 to 1."""
        return value / self.top

    def ticks(self) -> list[tuple[float, str]]:
        """Ticks: how high each stands, and its label."""
        return [(part / TICKS, f"{self.top * part / TICKS:g}") for part in range(TICKS + 1)]


class Logarithmic(msgspec.Struct, frozen=True):
    """From 0, one step below ten to the power of ``low``, to ten to the power of ``high``."""

    low: int
    high: int

    def share(self, value: float) -> float:
        """How high a number stands, from 0 to 1."""
        if value < SMALLEST:
            return 0.0
        return min(1.0, max(0.0, (log10(value) - self.low + 1) / (self.high - self.low + 1)))

    def ticks(self) -> list[tuple[float, str]]:
        """Ticks: how high each stands, and its label; every second, where they are many."""
        every = ceil((self.high - self.low + 1) / TICKS_MAX)
        powers = range(self.low, self.high + 1, every)
        return [(0.0, "0"), *((self.share(10.0**power), _label(power)) for power in powers)]


def axis_of(values: Iterable[float]) -> Logarithmic:
    """The logarithmic axis that has room for these numbers: from the power of ten below them to the one above."""
    powers = [log10(value) for value in values if value >= SMALLEST]
    low, high = floor(min(powers, default=-1.0)), ceil(max(powers, default=0.0))
    return Logarithmic(low, max(high, low + 1))


def _label(power: int) -> str:
    return f"{10.0**power:g}" if -3 <= power <= 3 else f"10{str(power).translate(SUPERSCRIPTS)}"
