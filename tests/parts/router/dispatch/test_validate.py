"""A wrong answer of a provider is caught whatever is wrong with it; a right one passes."""

import numpy as np
import pytest

from providers.outcomes import BadAnswer
from router.dispatch.validate import validate_vectors
from tests.builders.values import a_model, an_answer_of, an_attempt, unit_rows

MODEL = a_model()


def test_a_right_answer_passes() -> None:
    validate_vectors(an_answer_of(unit_rows(2, 8)), an_attempt("one", "two"), MODEL)
    validate_vectors(an_answer_of(unit_rows(1, 8), tokens=None), an_attempt("one"), MODEL)
    validate_vectors(an_answer_of(unit_rows(1, 8) * np.float32(1.004)), an_attempt("half precision"), MODEL)


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_another_count_is_refused(rows: int) -> None:
    with pytest.raises(BadAnswer):
        validate_vectors(an_answer_of(unit_rows(rows, 8)), an_attempt("one", "two"), MODEL)


@pytest.mark.parametrize("width", [4, 7, 9])
def test_another_width_than_the_models_own_is_refused(width: int) -> None:
    """A shorter one too, even of a call that wants no more: whether it was normalized again nobody can tell."""
    with pytest.raises(BadAnswer):
        validate_vectors(an_answer_of(unit_rows(1, width)), an_attempt("one"), a_model(trained_dimensions=(4,)))


@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_one_bad_number_anywhere_is_refused(rows: int, value: float) -> None:
    for row in range(rows):
        for column in (0, 3, 7):
            matrix = unit_rows(rows, 8)
            matrix[row, column] = value
            with pytest.raises(BadAnswer):
                validate_vectors(an_answer_of(matrix), an_attempt(*["x"] * rows), a_model(normalized=False))


@pytest.mark.parametrize("normalized", [True, False])
def test_a_vector_of_zeros_is_refused(normalized: bool) -> None:
    matrix = unit_rows(3, 8)
    matrix[1] = 0
    with pytest.raises(BadAnswer):
        validate_vectors(an_answer_of(matrix), an_attempt("a", "b", "c"), a_model(normalized=normalized))


def test_length_is_checked_where_the_space_is_normalized() -> None:
    matrix = unit_rows(2, 8)
    matrix[1] *= np.float32(1.05)
    with pytest.raises(BadAnswer):
        validate_vectors(an_answer_of(matrix), an_attempt("a", "b"), MODEL)
    validate_vectors(an_answer_of(matrix), an_attempt("a", "b"), a_model(normalized=False))


@pytest.mark.parametrize("tokens", [-1, 0, 10_000])
def test_usage_that_cannot_be_is_refused(tokens: int) -> None:
    with pytest.raises(BadAnswer):
        validate_vectors(an_answer_of(unit_rows(1, 8), tokens), an_attempt("a short text"), MODEL)


def test_blank_text_may_have_no_tokens() -> None:
    """Else a customer could put an endpoint out of service with a space."""
    validate_vectors(an_answer_of(unit_rows(1, 8), 0), an_attempt("  \n"), MODEL)


def test_token_ids_bound_the_usage_too() -> None:
    validate_vectors(an_answer_of(unit_rows(1, 8), 3), an_attempt(token_ids=[[1, 2, 3]]), MODEL)
    with pytest.raises(BadAnswer):
        validate_vectors(an_answer_of(unit_rows(1, 8), 3000), an_attempt(token_ids=[[1, 2, 3]]), MODEL)
