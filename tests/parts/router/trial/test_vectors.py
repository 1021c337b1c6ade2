"""Cosines and maps of a few vectors: those of the API's own shortening, whatever the vectors are."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from router.dispatch.validate import shorten
from router.trial.vectors import Vectors, view_of
from web.customer.trial_result import result_of
from web.parts.plane import SIZE, plane

WIDTH = 8
MATRICES = st.integers(1, 5).flatmap(
    lambda rows: arrays(np.float32, (rows, WIDTH), elements=st.floats(-1, 1, width=32))
)


@given(MATRICES, st.integers(1, WIDTH))
@settings(max_examples=60, deadline=None)
def test_any_vectors_have_cosines_and_places_within_bounds(matrix: np.ndarray, width: int) -> None:
    view = view_of(matrix, width)
    count = len(matrix)
    pairs = [(at, other) for at in range(count) for other in range(at)]
    assert all(-1 <= cosine <= 1 for row in view.cosines for cosine in row)
    assert all(view.cosines[at][other] == pytest.approx(view.cosines[other][at]) for at, other in pairs)
    assert all(abs(x) <= 1 and abs(y) <= 1 for x, y in view.points)
    assert 0 <= view.share <= 1 + 1e-9
    drawn = plane(view.points)
    assert all(0 < dot.x < SIZE and 0 < dot.y < SIZE for dot in drawn.dots)
    numbers = [number for dot in drawn.dots for number in dot.label.split(", ")]
    assert sorted(numbers) == [str(number) for number in range(1, count + 1)]


def test_a_narrower_width_is_what_a_call_with_dimensions_answers() -> None:
    matrix = np.random.default_rng(7).normal(size=(3, WIDTH)).astype(np.float32)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    cut = shorten(matrix, 3)
    view = view_of(matrix, 3)
    assert view.cosines[0][1] == pytest.approx(float(cut[0] @ cut[1]), abs=1e-6)
    assert view.beginnings[0] == tuple(map(float, cut[0]))
    assert view_of(matrix, WIDTH).cosines[0][1] == pytest.approx(float(matrix[0] @ matrix[1]), abs=1e-6)


def test_two_texts_alike_are_one_dot_with_both_numbers_and_three_in_a_plane_lose_nothing() -> None:
    first, second = [1.0, 0, 0, 0], [0, 1.0, 0, 0]
    view = view_of(np.array([first, first, second], dtype=np.float32), 4)
    assert view.share == pytest.approx(1)
    assert [dot.label for dot in plane(view.points).dots] == ["1, 2", "3"]
    # The third has two that are as near.
    assert [view.nearest(at) for at in range(3)] == [1, 0, None]


def test_what_the_narrower_width_changes_is_said() -> None:
    # At full width the third is nearer to the first, at two numbers to the second.
    matrix = np.array([[1, 0, 1, 1], [0, 1, 0, 0], [0, 1, 2, 2]], dtype=np.float32)
    vectors = Vectors(
        matrix=matrix,
        request_id="req",
        cost_usd="0.00000001",
        tokens=3,
        provider="upstream",
        space="tests",
        attribution="",
        is_replay=False,
    )
    shown = result_of(vectors, ("one", "two", "three\nlines"), 2, "/calls/req")
    assert shown.cost_nano == 10
    assert shown.changes == (
        "At 2 numbers the cosine of texts 1 and 3 changes most: from 0.770 to 0.000.",
        "Another text is nearest to text 3.",
    )
    assert [view.width for view in shown.widths] == [4, 2]
    assert shown.texts[2].excerpt == "three lines"
