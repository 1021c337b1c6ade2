"""Compares a few vectors: cosines, who is nearest, and a map in two dimensions. Pure.

A narrower width is cut from the full one by the function that cuts a call's answer (:func:`shorten`), so that the
numbers are those of a call with ``dimensions``.
"""

import msgspec
import numpy as np
from numpy.typing import NDArray

from providers.protocol import FloatMatrix
from router.dispatch.validate import shorten


class Vectors(msgspec.Struct, frozen=True, kw_only=True):
    """The answer. ``matrix`` is [texts, the model's width] float32; ``cost_usd`` is what this answer was charged.

    ``is_replay``: the same call was answered and charged before, and this is its stored answer.
    """

    matrix: FloatMatrix
    request_id: str
    cost_usd: str
    tokens: int
    provider: str
    space: str
    attribution: str
    is_replay: bool


class View(msgspec.Struct, frozen=True):
    """A few vectors at one width, compared.

    ``cosines`` has a row per text; ``points`` are the texts on a plane, within [-1, 1]; ``share`` is how much of the
    spread of the vectors the plane has, from 0 to 1. ``beginnings`` are each vector's first numbers.
    """

    width: int
    cosines: tuple[tuple[float, ...], ...]
    points: tuple[tuple[float, float], ...]
    share: float
    beginnings: tuple[tuple[float, ...], ...]

    def nearest(self, text: int) -> int | None:
        """The text whose vector is nearest to that of ``text``; None where there is no other, or two are as near."""
        others = sorted(((value, at) for at, value in enumerate(self.cosines[text]) if at != text), reverse=True)
        if not others or (len(others) > 1 and others[0][0] == others[1][0]):
            return None
        return others[0][1]


def view_of(matrix: FloatMatrix, width: int, shown: int = 4) -> View:
    """The vectors of ``matrix``, [texts, the model's width], at ``width``."""
    cut = shorten(matrix, width) if width < matrix.shape[1] else matrix
    rows = cut.astype(np.float64)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    rows = rows / np.where(norms == 0, 1, norms)
    cosines = np.clip(rows @ rows.T, -1, 1)
    points, share = _plane(rows)
    return View(
        width,
        tuple(tuple(map(float, row)) for row in cosines),
        points,
        share,
        tuple(tuple(map(float, row[:shown])) for row in cut),
    )


def _plane(rows: NDArray[np.float64]) -> tuple[tuple[tuple[float, float], ...], float]:
    """The two directions in which the rows differ most (principal components), scaled alike, and their share."""
    centered = rows - rows.mean(axis=0)
    left, spread, _ = np.linalg.svd(centered, full_matrices=False)
    placed = np.zeros((len(rows), 2))
    count = min(2, len(spread))
    placed[:, :count] = left[:, :count] * spread[:count]
    # A component's sign means nothing: the text that is farthest out stands to the right, and above.
    for axis in range(2):
        farthest = int(np.argmax(np.abs(placed[:, axis])))
        if placed[farthest, axis] < 0:
            placed[:, axis] *= -1
    total = float(np.square(spread).sum())
    # Vectors that differ by rounding alone stand at one point.
    if total < 1e-12:
        return tuple((0.0, 0.0) for _ in rows), 1.0
    placed /= np.abs(placed).max()
    return tuple((float(x), float(y)) for x, y in placed), float(np.square(spread[:count]).sum()) / total
