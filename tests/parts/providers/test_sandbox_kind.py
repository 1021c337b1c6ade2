"""Kind ``sandbox``: what a test key gets is the same today, tomorrow and on every machine."""

import asyncio
from typing import Unpack

import numpy as np
import pytest

from providers.protocol import Attempt, Vectors
from providers.sandbox_kind import SandboxProvider
from providers.sandbox_options import SandboxOptions
from tests.builders.values import AttemptFields, an_attempt

# The bits of four float32 numbers: changing them breaks whoever recorded a test key's vectors.
FOREVER = [[3202967801, 3206777159, 1043341224, 3206048915]]
TEN = SandboxProvider(SandboxOptions(dimensions=10))


def embed(attempt: Attempt) -> Vectors:
    return asyncio.run(TEN.embed(attempt, 1.0))


def texts(*given: str, **fields: Unpack[AttemptFields]) -> Attempt:
    fields.setdefault("upstream_model", "m")
    return an_attempt(*given, **fields)


def test_the_vectors_of_this_release_are_those_of_every_release() -> None:
    matrix = embed(texts("hello", dimensions=4)).matrix
    assert matrix.view("<u4").tolist() == FOREVER


def test_every_vector_has_norm_one_and_the_width_that_was_asked_for() -> None:
    for width in (1, 2, 10, 1024, 8192):
        matrix = embed(texts("a", "b", "", dimensions=width)).matrix
        assert matrix.shape == (3, width)
        assert matrix.dtype == np.float32
        assert np.allclose(np.linalg.norm(matrix, axis=1), 1, atol=1e-6)
    assert embed(texts("a")).matrix.shape == (1, 10)


def test_a_vector_depends_on_model_prompt_input_type_and_input_and_on_nothing_else() -> None:
    hello = embed(texts("hello")).matrix[0]
    assert np.array_equal(embed(texts("other", "hello", request_id="x")).matrix[1], hello)
    others = [
        texts("hello", upstream_model="n"),
        texts("hello", prefix="q: "),
        texts("q: hello"),
        texts("hello", input_type="query"),
        texts("Hello"),
        Attempt("r", "m", token_ids=[[104, 101]]),
        Attempt("r", "m", token_ids=[[104101]]),
    ]
    vectors = [hello, *(embed(other).matrix[0] for other in others)]
    assert len({vector.tobytes() for vector in vectors}) == len(vectors)


def test_a_short_vector_is_the_beginning_of_the_long_one_normalized_again() -> None:
    short = embed(texts("hello", dimensions=5)).matrix[0].astype(np.float64)
    long = embed(texts("hello")).matrix[0][:5].astype(np.float64)
    assert np.allclose(short, long / np.linalg.norm(long), atol=1e-6)


def test_tokens_are_plausible_and_never_claimed_to_be_exact() -> None:
    vectors = embed(texts("12345", "1"))
    assert (vectors.tokens, vectors.exact) == (3, False)
    assert embed(Attempt("r", "m", token_ids=[[1, 2], [3]])).tokens == 3


def test_a_width_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        SandboxProvider(SandboxOptions(dimensions=0))
