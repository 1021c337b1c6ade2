"""Vectors of one space agree whatever made them; those of another do not, and the sentence says in what way."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.probing.agreement import (
    THRESHOLDS,
    Noise,
    Numerics,
    admits,
    compare,
    noise_of,
    numerics_of,
    threshold_of,
)
from providers.probing.probe_texts import probe_set
from providers.protocol import FloatMatrix


def some_units(rows: int = 40, dimensions: int = 64, seed: int = 1) -> FloatMatrix:
    """Vectors that share a direction, as those of real models do."""
    random = np.random.default_rng(seed)
    matrix = random.normal(size=(rows, dimensions)) + 0.5
    units: FloatMatrix = (matrix / np.linalg.norm(matrix, axis=1, keepdims=True)).astype(np.float32)
    return units


def with_noise(matrix: FloatMatrix, one_minus_cosine: float, seed: int = 2) -> FloatMatrix:
    """Each row turned by just that much."""
    noise = np.random.default_rng(seed).normal(size=matrix.shape)
    noise -= np.einsum("ij,ij->i", noise, matrix)[:, None] * matrix
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    cosine = 1 - one_minus_cosine
    turned: FloatMatrix = (cosine * matrix + np.sqrt(1 - cosine**2) * noise).astype(np.float32)
    return turned


@pytest.mark.parametrize("numerics", Numerics)
def test_noise_below_the_threshold_passes_and_above_it_does_not(numerics: Numerics) -> None:
    reference = some_units()
    typical = THRESHOLDS[numerics].typical
    near = compare(reference, with_noise(reference, typical * 0.9), numerics)
    assert near.passed, near.fault
    far = compare(reference, with_noise(reference, typical * 1.2), numerics)
    assert "another space's" in far.fault


def test_where_honest_copies_were_compared_their_distance_decides() -> None:
    reference = some_units()
    int8 = with_noise(reference, 1.3e-4)
    assert compare(reference, int8, Numerics.BF16).passed
    noise = noise_of(compare(reference, with_noise(reference, 4e-5), Numerics.BF16))
    assert noise is not None
    assert not compare(reference, int8, Numerics.BF16, noise).passed
    assert compare(reference, with_noise(reference, 7e-5, seed=3), Numerics.BF16, noise).passed
    assert noise_of(compare(reference, reference, Numerics.BF16)) is None, "the same numbers tell nothing of noise"


def test_no_measured_noise_opens_a_space_to_anything() -> None:
    wide = threshold_of(Numerics.BF16, Noise(worst=1.0, typical=1.0))
    assert wide.worst == 4 * THRESHOLDS[Numerics.BF16].worst
    assert threshold_of(Numerics.BF16, Noise(1e-12, 1e-12)).worst == THRESHOLDS[Numerics.F32].worst


def test_one_wrong_row_among_many_is_enough() -> None:
    reference = some_units()
    candidate = reference.copy()
    candidate[7] = some_units(seed=9)[7]
    got = compare(reference, candidate, Numerics.BF16)
    assert not got.passed
    assert got.worst_row == 7


def test_the_sentence_names_what_is_wrong() -> None:
    reference = some_units()
    swapped = reference[[1, 0, *range(2, 40)]]
    turned = (reference @ np.linalg.qr(np.random.default_rng(4).normal(size=(64, 64)))[0]).astype(np.float32)
    half = reference.copy()
    half[:, 32:] = 0
    for candidate, says in [
        (swapped, "2 of 40 vectors belong to another text"),
        (reference[:, ::-1], "stand in other dimensions"),
        (turned, "the whole space is turned"),
        (half, "32 dimensions are zero"),
        (reference * np.float32(1.05), "lengths are off by 0.0500"),
        (reference[:, :32], "40 vectors of 32 dimensions where the reference is 40 vectors of 64"),
        (reference[1:], "39 vectors"),
        (np.full_like(reference, np.nan), "NaN"),
        (np.zeros_like(reference), "zeros"),
    ]:
        assert says in compare(reference, candidate, Numerics.BF16).fault


def test_texts_that_are_the_same_to_the_model_may_be_swapped() -> None:
    reference = some_units()
    reference[3] = reference[4]
    assert compare(reference, reference[[0, 1, 2, 4, 3, *range(5, 40)]], Numerics.F32).passed


@given(st.permutations(range(12)), st.integers(0, 2**16))
def test_rows_in_another_order_are_never_taken_for_right(order: list[int], seed: int) -> None:
    reference = some_units(12, 32, seed)
    passed = compare(reference, reference[order], Numerics.INT8).passed
    assert passed == (order == list(range(12)))


def test_a_space_admits_its_own_numbers_and_finer_ones() -> None:
    assert admits(Numerics.BF16, numerics_of("float32"))
    assert admits(Numerics.BF16, numerics_of("bf16"))
    assert not admits(Numerics.BF16, numerics_of("fp8"))
    assert not admits(Numerics.F32, numerics_of("bfloat16"))
    assert numerics_of("undisclosed") is numerics_of("never-heard-of") is Numerics.BF16


def test_the_probe_set_is_the_one_that_references_were_recorded_for() -> None:
    """If this fails on purpose, every space needs one that vouches for it anew: say so in the changelog."""
    assert probe_set(512).name == "probes-3490925b1eb99cec"


@pytest.mark.parametrize("limit", [96, 256, 512, 8192, 40_960])
def test_the_probes_fit_the_model_and_try_what_goes_wrong(limit: int) -> None:
    probes = probe_set(limit)
    texts = [probe.text for probe in probes.probes if probe.group != "pair"]
    assert 60 <= len(probes.probes) <= 80
    assert len(texts) - len(set(texts)) == 1, "one text is there twice"
    long = [probe.text for probe in probes.probes if probe.group == "long"]
    assert all(len(text) <= max(64, limit * 2) and text.isascii() for text in long)
    assert len({len(text.split()) for text in (probes.probes[row].text for row in probes.group("equal_length"))}) == 1
    assert len(probes.of("query")) == len(probes.of("document")) == 6


@given(st.integers(0, 10**7))
def test_canaries_are_few_and_change(turn: int) -> None:
    probes = probe_set(512)
    rows = probes.canaries(turn)
    assert 3 <= len(rows) <= 5
    assert sum(probes.probes[row].input_type == "query" for row in rows) == 1
    assert rows != probes.canaries(turn + 1)
