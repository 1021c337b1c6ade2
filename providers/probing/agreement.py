"""Pure. Decides whether two sets of vectors of the same texts come from one vector space, and if not, how they differ.

The thresholds were measured, per class of numerics: how far honest copies are apart, and how close wrong models come
(``docs/spaces.md`` has the figures, ``python -m bench.spaces`` measures them again).
"""

from enum import StrEnum

import msgspec
import numpy as np
import numpy.typing as npt

from providers.protocol import FloatMatrix

Doubles = npt.NDArray[np.float64]

# From so many rows on, neighbors and ranks say something.
RANKS_FROM_ROWS = 16
NEIGHBORS = 5
# Two rows of a reference that are closer than this are one text to the model: either may stand for the other.
SAME_TEXT_DISTANCE = 1e-6


class Numerics(StrEnum):
    """The classes of numbers that weights are kept in and computed with, the finest first."""

    F32 = "f32"
    F16 = "f16"
    BF16 = "bf16"
    FP8 = "fp8"
    INT8 = "int8"
    INT4 = "int4"


class Threshold(msgspec.Struct, frozen=True):
    """The largest differences that vectors of one class of numerics may have.

    ``worst`` and ``typical`` are 1 - cosine of the worst row and of the median one; ``norm`` is the relative error of
    the length, ``overlap`` and ``rank`` are the least agreement of neighbors and of the order of all similarities.
    """

    worst: float
    typical: float
    norm: float = 0.01
    overlap: float = 0.9
    rank: float = 0.99


# For a space of which no two honest copies have been compared yet; between what was measured of honest ones and of
# impostors on the models at hand.
THRESHOLDS = {
    Numerics.F32: Threshold(worst=1e-5, typical=2.4e-6, norm=1e-3, overlap=0.99, rank=0.9999),
    Numerics.F16: Threshold(worst=5e-5, typical=1e-5, norm=2e-3, overlap=0.99, rank=0.9999),
    Numerics.BF16: Threshold(worst=1.2e-3, typical=3e-4, norm=8e-3, overlap=0.95, rank=0.999),
    Numerics.FP8: Threshold(worst=5e-3, typical=1e-3),
    Numerics.INT8: Threshold(worst=5e-3, typical=1e-3),
    Numerics.INT4: Threshold(worst=5e-3, typical=1e-3),
}
# Honest copies of one space are within this many times the distance of two known ones, impostors are not.
NOISE_MARGIN = 2.0
# How far a measured distance may move a class's threshold up; beyond it, what was measured was no noise.
NOISE_MOST = 4.0


class Noise(msgspec.Struct, frozen=True):
    """How far two copies that are known to be honest are apart: 1 - cosine of the worst row and of the median one."""

    worst: float
    typical: float


_NAMES = {
    "fp32": Numerics.F32,
    "float32": Numerics.F32,
    "fp16": Numerics.F16,
    "float16": Numerics.F16,
    "bfloat16": Numerics.BF16,
    # A vendor that does not tell computes in what is usual.
    "undisclosed": Numerics.BF16,
    "fp4": Numerics.INT4,
}


class Agreement(msgspec.Struct, frozen=True):
    """The comparison of two sets of vectors. ``fault`` is empty where they agree, else one sentence with the numbers.

    Cosines are of each row with the reference's row; ``worst_row`` has the least one. ``norm_error`` is the largest
    relative error of a length. ``overlap`` and ``rank`` are None for few rows. ``mixed_up`` counts rows that are closer
    to another row of the reference than to their own.
    """

    rows: int
    cosine_min: float | None = None
    cosine_median: float | None = None
    cosine_mean: float | None = None
    worst_row: int | None = None
    norm_error: float | None = None
    overlap: float | None = None
    rank: float | None = None
    mixed_up: int = 0
    fault: str = ""

    @property
    def passed(self) -> bool:
        """Whether the candidate's vectors may be delivered as the reference's space."""
        return not self.fault


def numerics_of(name: str) -> Numerics:
    """The class that a model or an endpoint names. An unknown name counts as bfloat16: strict, not lenient."""
    try:
        return _NAMES.get(name) or Numerics(name)
    except ValueError:
        return Numerics.BF16


def admits(space: Numerics, endpoint: Numerics) -> bool:
    """Whether an endpoint with such numerics may serve a space of such numerics: with the same class, or a finer."""
    order = list(Numerics)
    return order.index(endpoint) <= order.index(space)


def threshold_of(numerics: Numerics, noise: Noise | None, sides: int = 1) -> Threshold:
    """A class's threshold; where the space's noise was measured, the noise decides, down to the finest class's."""
    threshold, least = THRESHOLDS[numerics], THRESHOLDS[Numerics.F32]
    worst, typical = threshold.worst, threshold.typical
    if noise is not None:
        worst = min(max(NOISE_MARGIN * noise.worst, least.worst), NOISE_MOST * threshold.worst)
        typical = min(max(NOISE_MARGIN * noise.typical, least.typical), NOISE_MOST * threshold.typical)
    return msgspec.structs.replace(threshold, worst=sides * worst, typical=sides * typical)


def noise_of(agreement: Agreement) -> Noise | None:
    """The noise between two honest copies; None where they are identical, as two runs in one process are."""
    if agreement.cosine_min is None or agreement.cosine_median is None:
        return None
    noise = Noise(1 - agreement.cosine_min, 1 - agreement.cosine_median)
    return noise if noise.typical > SAME_TEXT_DISTANCE else None


def compare(
    reference: FloatMatrix,
    candidate: FloatMatrix,
    numerics: Numerics,
    noise: Noise | None = None,
    *,
    sides: int = 1,
) -> Agreement:
    """Compare row by row and neighbor by neighbor. Both are [texts, dimensions] float32, rows in the same order.

    ``sides``: of how many sides the noise is in the comparison; 2 where the reference is another honest copy's answer.
    """
    rows = len(reference)
    if candidate.shape != reference.shape:
        return Agreement(rows, fault=f"it answers {_shape(candidate)} where the reference is {_shape(reference)}")
    expected, actual = reference.astype(np.float64), candidate.astype(np.float64)
    if not np.isfinite(actual).all():
        return Agreement(rows, fault="its vectors have NaN or infinity")
    norms, lengths = np.linalg.norm(expected, axis=1), np.linalg.norm(actual, axis=1)
    if not lengths.all():
        return Agreement(rows, fault="it answers a vector of zeros")
    units, answers = expected / norms[:, None], actual / lengths[:, None]
    cosines = np.einsum("ij,ij->i", units, answers)
    ranked = rows >= RANKS_FROM_ROWS
    inner, outer = units @ units.T, answers @ answers.T
    measured = Agreement(
        rows=rows,
        cosine_min=float(cosines.min()),
        cosine_median=float(np.median(cosines)),
        cosine_mean=float(cosines.mean()),
        worst_row=int(cosines.argmin()),
        norm_error=float(np.abs(lengths / norms - 1).max()),
        overlap=_overlap(inner, outer) if ranked else None,
        rank=_spearman(inner, outer) if ranked else None,
        mixed_up=_mixed_up(units, answers, cosines),
    )
    fault = _fault(measured, expected, actual, inner, outer, threshold_of(numerics, noise, sides))
    return msgspec.structs.replace(measured, fault=fault)


def _fault(
    measured: Agreement, expected: Doubles, actual: Doubles, inner: Doubles, outer: Doubles, threshold: Threshold
) -> str:
    """The first fault, the most telling one first; empty where there is none."""
    worst, typical = 1 - (measured.cosine_min or 0.0), 1 - (measured.cosine_median or 0.0)
    if worst > threshold.worst or typical > threshold.typical:
        numbers = f"cosine {measured.cosine_min:.6f} at worst, {measured.cosine_median:.6f} in the middle"
        alike_within = bool(np.abs(inner - outer).max() < 0.1 * (2 * worst) ** 0.5)
        difference = _kind_of_difference(measured, expected, actual, alike_within)
        if difference:
            return f"{difference} ({numbers})"
        needed = f"{1 - threshold.worst:.6f} and {1 - threshold.typical:.6f} are needed"
        return f"its vectors are another space's: {numbers}, where {needed}"
    if (measured.norm_error or 0.0) > threshold.norm:
        return f"lengths are off by {measured.norm_error:.4f}, where {threshold.norm:.4f} is allowed"
    if measured.overlap is not None and measured.overlap < threshold.overlap:
        return f"{measured.overlap:.3f} of the nearest texts are the same, where {threshold.overlap:.3f} is needed"
    if measured.rank is not None and measured.rank < threshold.rank:
        return f"similarities rank with {measured.rank:.5f} agreement, where {threshold.rank:.5f} is needed"
    return ""


def _kind_of_difference(measured: Agreement, expected: Doubles, actual: Doubles, alike_within: bool) -> str:
    """The kind of difference, where it is one that has a name."""
    if measured.mixed_up:
        return f"{measured.mixed_up} of {measured.rows} vectors belong to another text of the same batch"
    if _is_permuted(expected, actual):
        return "the numbers are right but stand in other dimensions"
    if alike_within and measured.rows > 2:
        return "texts are as similar as they should be, but the whole space is turned"
    if zeros := _zero_columns(expected, actual):
        return f"{zeros} dimensions are zero in every vector, as if filled up"
    return ""


def _mixed_up(units: Doubles, answers: Doubles, own: Doubles) -> int:
    """How many rows fit another text's reference better; of two texts that are the same to the model, either fits."""
    cross = answers @ units.T
    alike = units @ units.T > 1 - SAME_TEXT_DISTANCE
    cross[alike] = -np.inf
    # By a margin: noise does not make a text another one, and neither does a space in which all texts are alike.
    nearer = (cross > own[:, None] + 0.05) & (cross > 0.9)
    return int(nearer.any(axis=1).sum())


def _is_permuted(expected: Doubles, actual: Doubles) -> bool:
    """Whether each row has the reference's numbers in another order: sorted, they agree much better."""
    off = np.abs(np.sort(expected, axis=1) - np.sort(actual, axis=1)).mean()
    return bool(off < 0.1 * np.abs(expected - actual).mean())


def _zero_columns(expected: Doubles, actual: Doubles) -> int:
    return int(((actual == 0).all(axis=0) & ~(expected == 0).all(axis=0)).sum())


def _overlap(inner: Doubles, outer: Doubles) -> float:
    """The share of each text's nearest texts that are nearest in the reference too, where ties and near-ties count."""
    shared = 0
    for row in range(len(inner)):
        expected, actual = np.delete(inner[row], row), np.delete(outer[row], row)
        least = np.sort(expected)[-NEIGHBORS] - 1e-2
        shared += int((expected[np.argsort(-actual)[:NEIGHBORS]] >= least).sum())
    return shared / (NEIGHBORS * len(inner))


def _spearman(inner: Doubles, outer: Doubles) -> float:
    """The rank correlation of all pairs' similarities."""
    above = np.triu_indices(len(inner), 1)
    first, second = _ranks(inner[above]), _ranks(outer[above])
    spread = float(first.std() * second.std())
    return float(((first - first.mean()) * (second - second.mean())).mean() / spread) if spread else 0.0


def _ranks(values: Doubles) -> Doubles:
    ranks = np.empty(len(values))
    ranks[np.argsort(values, kind="stable")] = np.arange(len(values))
    return ranks


def _shape(matrix: FloatMatrix) -> str:
    return f"{len(matrix)} vectors of {matrix.shape[1]} dimensions" if matrix.ndim == 2 else "no matrix"
