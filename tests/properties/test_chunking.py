"""A large input in parts: whatever the bounds and the order of completion, the same vectors in the same order."""

import itertools
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.outcomes import BadAnswer, SpaceMismatch
from providers.protocol import Attempt, Vectors
from router.dispatch.chunking import VectorJoiner, is_too_large, split_attempt
from router.request.estimate import token_bound
from tests.builders.values import a_request, an_answer_of, an_endpoint, unit_rows

TEXTS = st.lists(st.text(min_size=1, max_size=40), min_size=1, max_size=60)
IDS = st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=20), min_size=1, max_size=60)
BOUND = st.one_of(st.none(), st.integers(1, 200))


def size(attempt: Attempt, special: int) -> int:
    each = special + (token_bound(attempt.prefix) if attempt.prefix else 0)
    inputs = attempt.texts if attempt.texts is not None else attempt.token_ids or []
    return sum((token_bound(input_) if isinstance(input_, str) else len(input_)) + each for input_ in inputs)


@given(
    texts=TEXTS,
    ids=IDS,
    by_ids=st.booleans(),
    prefix=st.text(max_size=5),
    most=BOUND,
    tokens=BOUND,
    special=st.integers(0, 3),
)
def test_every_input_is_in_one_part_in_order_and_no_part_is_too_large(
    texts: list[str],
    ids: list[list[int]],
    by_ids: bool,
    prefix: str,
    most: int | None,
    tokens: int | None,
    special: int,
) -> None:
    endpoint = an_endpoint(max_batch=most, max_batch_tokens=tokens)
    whole = Attempt("r", "m", texts=None if by_ids else texts, token_ids=ids if by_ids else None, prefix=prefix)
    chunks = split_attempt(whole, endpoint, special)
    joined = [input_ for chunk in chunks for input_ in (chunk.attempt.texts or chunk.attempt.token_ids or [])]
    assert joined == (ids if by_ids else texts)
    assert [chunk.first for chunk in chunks] == [sum(p.attempt.inputs for p in chunks[:n]) for n in range(len(chunks))]
    for chunk in chunks:
        assert (chunk.attempt.upstream_model, chunk.attempt.prefix) == ("m", prefix)
        assert chunk.attempt.inputs <= (most or 10**9)
        assert chunk.attempt.inputs == 1 or size(chunk.attempt, special) <= (tokens or 10**9)
    # As few as the order allows: no part could have had the first input of the next one too.
    for chunk, after in itertools.pairwise(chunks):
        more = (
            size(chunk.attempt, special)
            + size(after.attempt, special)
            - size(
                msgspec.structs.replace(
                    after.attempt,
                    texts=(after.attempt.texts or [])[1:] if not by_ids else None,
                    token_ids=(after.attempt.token_ids or [])[1:] if by_ids else None,
                ),
                special,
            )
        )
        assert chunk.attempt.inputs == most or (tokens is not None and more > tokens)
    if not is_too_large(endpoint, whole.inputs, size(whole, special)):
        assert len(chunks) == 1


@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=12), order=st.randoms(use_true_random=False))
def test_parts_that_come_in_any_order_are_joined_in_theirs(sizes: list[int], order: Any) -> None:
    matrix = unit_rows(sum(sizes), 4)
    joined, starts = VectorJoiner(a_request(*["x"] * len(matrix))), [sum(sizes[:n]) for n in range(len(sizes))]
    pieces = list(zip(starts, sizes, strict=True))
    order.shuffle(pieces)
    for first, rows in pieces:
        joined.put(first, Vectors(matrix[first : first + rows], tokens=rows, exact=True, space="s"))
    vectors = joined.vectors()
    assert np.array_equal(vectors.matrix, matrix)
    assert (vectors.tokens, vectors.exact, vectors.space) == (len(matrix), True, "s")


@pytest.mark.parametrize(
    ("second", "tokens", "exact", "guessed"),
    [((7, True), 12, True, False), ((7, False), 12, False, False), ((None, False), 5 + 3, False, True)],
)
def test_usage_is_summed_and_as_sure_as_its_least_sure_part(
    second: tuple[int | None, bool], tokens: int, exact: bool, guessed: bool
) -> None:
    joined = VectorJoiner(a_request("a text of the first part", "twelve bytes"))
    joined.put(0, an_answer_of(unit_rows(1, 4), 5, exact=True))
    joined.put(1, an_answer_of(unit_rows(1, 4), second[0], exact=second[1]))
    vectors = joined.vectors()
    assert (vectors.tokens, vectors.exact, vectors.guessed) == (tokens, exact, guessed)


def test_parts_that_do_not_fit_together_are_a_bad_answer() -> None:
    joined = VectorJoiner(a_request("x", "y"))
    joined.put(0, Vectors(unit_rows(1, 4), tokens=1, space="one"))
    with pytest.raises(BadAnswer):
        joined.put(1, Vectors(unit_rows(1, 8), tokens=1, space="one"))
    with pytest.raises(SpaceMismatch):
        joined.put(1, Vectors(unit_rows(1, 4), tokens=1, space="another"))
