"""Places models on a plot of price against score, as SVG coordinates. Pure."""

from collections.abc import Sequence
from typing import Final

import msgspec

WIDTH: Final = 640
HEIGHT: Final = 280
LEFT: Final = 64
BOTTOM: Final = 36
MARGIN: Final = 28


class Dot(msgspec.Struct, frozen=True):
    """A model: its price in nano-USD per million tokens, and its score."""

    name: str
    nano: int
    score: float
    is_estimate: bool


class Placed(msgspec.Struct, frozen=True):
    """A dot where it stands; ``is_left``: its name stands to the left of it."""

    name: str
    x: float
    y: float
    is_left: bool


class Scatter(msgspec.Struct, frozen=True):
    """The plot: dots, and the least and greatest of each axis."""

    width: int
    height: int
    left: int
    baseline: int
    dots: tuple[Placed, ...]
    nano: tuple[int, int]
    score: tuple[float, float]


def scatter(dots: Sequence[Dot]) -> Scatter:
    """Where the dots stand, the whole plot between the least and the greatest values."""
    prices, scores = [dot.nano for dot in dots], [dot.score for dot in dots]
    placed = []
    for dot in dots:
        x = LEFT + MARGIN + _share(dot.nano, prices) * (WIDTH - LEFT - 2 * MARGIN)
        y = HEIGHT - BOTTOM - MARGIN - _share(dot.score, scores) * (HEIGHT - BOTTOM - 2 * MARGIN)
        placed.append(Placed(dot.name, round(x, 1), round(y, 1), x > WIDTH / 2))
    baseline = HEIGHT - BOTTOM
    ranges = (min(prices), max(prices)), (min(scores), max(scores))
    return Scatter(WIDTH, HEIGHT, LEFT, baseline, tuple(placed), *ranges)


def _share(value: float, values: Sequence[float]) -> float:
    least, most = min(values), max(values)
    return 0.5 if most == least else (value - least) / (most - least)
