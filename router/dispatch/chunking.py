"""Splits a large input into chunks that an endpoint takes, and joins their vectors in order. Pure.

Tokens are bounded as the quote bounds them, so that a chunk is never too large; a single input that is too large is
sent in a chunk of its own, and the provider decides.
"""

from collections.abc import Iterator

import msgspec
import numpy as np

from providers.outcomes import BadAnswer, SpaceMismatch
from providers.protocol import Attempt, FloatMatrix, Vectors
from router.request.estimate import token_bound, token_guess
from router.values import EmbedRequest, Endpoint


class Chunk(msgspec.Struct, frozen=True):
    """Consecutive inputs of an attempt, the first of which has the index ``first`` there."""

    first: int
    attempt: Attempt


def is_too_large(endpoint: Endpoint, inputs: int, tokens_max: int) -> bool:
    """Whether so many inputs or tokens may be more than one request to the endpoint takes."""
    if endpoint.max_batch is not None and inputs > endpoint.max_batch:
        return True
    tokens_limit = _request_tokens_max(endpoint)
    return inputs > 1 and tokens_limit is not None and tokens_max > tokens_limit


def _request_tokens_max(endpoint: Endpoint) -> int | None:
    """The tokens that one request may have: what the endpoint takes at once, and a minute's quota at most."""
    batch, minute = endpoint.max_batch_tokens, endpoint.tokens_per_minute
    return batch if minute is None or (batch is not None and batch < minute) else minute


def split_attempt(attempt: Attempt, endpoint: Endpoint, special_tokens: int) -> list[Chunk]:
    """The attempt in as few consecutive chunks as its order allows; one chunk where all fits."""
    inputs = attempt.inputs
    inputs_max, tokens_max = endpoint.max_batch or inputs, _request_tokens_max(endpoint)
    starts, tokens = [0], 0
    for index, size in enumerate(_token_bounds(attempt, special_tokens) if tokens_max else [0] * inputs):
        if index > starts[-1] and (index - starts[-1] == inputs_max or (tokens_max and tokens + size > tokens_max)):
            starts.append(index)
            tokens = 0
        tokens += size
    return [_chunk(attempt, first, last) for first, last in zip(starts, [*starts[1:], inputs], strict=True)]


def chunk_token_bound(chunk: Chunk, special_tokens: int) -> int:
    """The bound of a chunk's tokens."""
    return sum(_token_bounds(chunk.attempt, special_tokens))


def _token_bounds(attempt: Attempt, special_tokens: int) -> Iterator[int]:
    each = special_tokens + (token_bound(attempt.prefix) if attempt.prefix else 0)
    if attempt.texts is not None:
        return (token_bound(text) + each for text in attempt.texts)
    return (len(ids) + each for ids in attempt.token_ids or ())


def _chunk(attempt: Attempt, first: int, last: int) -> Chunk:
    texts = attempt.texts[first:last] if attempt.texts is not None else None
    ids = attempt.token_ids[first:last] if attempt.token_ids is not None else None
    return Chunk(first, msgspec.structs.replace(attempt, texts=texts, token_ids=ids))


class VectorJoiner:
    """Joins the vectors of chunks, put in in any order: one allocation, and a chunk's memory is free once it is in."""

    def __init__(self, request: EmbedRequest) -> None:
        self._request = request
        self._matrix: FloatMatrix | None = None
        self._tokens = 0
        self._exact = True
        self._guessed = False
        self._by_size = False
        self._space: str | None = None

    def put(self, first: int, vectors: Vectors) -> None:
        """Put in the vectors of a chunk. Raises BadAnswer, SpaceMismatch for vectors that do not fit the others."""
        rows, width = vectors.matrix.shape
        if self._matrix is None:
            self._matrix = np.empty((self._request.inputs, width), dtype=np.float32)
            self._space = vectors.space
        if width != self._matrix.shape[1]:
            what = "the provider's answer failed the check of its dimensions"
            raise BadAnswer(what, check="dimensions", detail="parts of two widths")
        if vectors.space != self._space:
            raise SpaceMismatch("its answers come from two spaces", detail="nothing of them was delivered")
        self._matrix[first : first + rows] = vectors.matrix
        if vectors.tokens is None:
            inputs = self._request.texts if self._request.texts is not None else self._request.token_ids or []
            self._tokens += max(1, token_guess(inputs[first : first + rows]))
            self._guessed = True
        else:
            self._tokens += vectors.tokens
        self._exact = self._exact and vectors.exact
        self._by_size = self._by_size or vectors.by_size

    def vectors(self) -> Vectors:
        """All vectors, once every chunk was put in: usage is summed, with a guess for each chunk that reported none."""
        assert self._matrix is not None, "nothing was put in; this is a bug"
        exact = self._exact and not self._guessed
        return Vectors(
            self._matrix,
            self._tokens,
            exact=exact,
            space=self._space,
            guessed=self._guessed,
            by_size=self._by_size,
        )
