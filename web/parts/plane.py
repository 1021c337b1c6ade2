"""Places a few points on a square plane, as SVG coordinates, with their numbers beside them. Pure."""

from collections.abc import Sequence
from typing import Final

import msgspec

SIZE: Final = 320
MARGIN: Final = 36
# Points that are nearer than this are one dot with all their numbers: labels that cover each other cannot be read.
TOGETHER: Final = 14


class Dot(msgspec.Struct, frozen=True):
    """One or several points at one place. ``is_left``: the label stands to the left of the dot."""

    label: str
    x: float
    y: float
    is_left: bool


class Plane(msgspec.Struct, frozen=True):
    """The dots, and the middle of the square."""

    size: int
    middle: int
    dots: tuple[Dot, ...]


def plane(points: Sequence[tuple[float, float]]) -> Plane:
    """The points, each within [-1, 1], numbered from one; up is positive."""
    half = SIZE / 2 - MARGIN
    placed: list[tuple[float, float, list[int]]] = []
    for number, (x, y) in enumerate(points, 1):
        at = SIZE / 2 + x * half, SIZE / 2 - y * half
        near = next((one for one in placed if max(abs(one[0] - at[0]), abs(one[1] - at[1])) < TOGETHER), None)
        if near is None:
            placed.append((*at, [number]))
        else:
            near[2].append(number)
    dots = tuple(Dot(", ".join(map(str, numbers)), round(x, 1), round(y, 1), x > SIZE / 2) for x, y, numbers in placed)
    return Plane(SIZE, SIZE // 2, dots)
