"""A large input cut into parts that an endpoint takes, and their vectors joined in order. Pure.

Tokens are bounded as the quote bounds them, so that a part is never too large; an input that is too large alone is sent
alone, and the provider decides.
"""

from collections.abc import Iterator

import msgspec
import numpy as np

from providers.outcomes import BadAnswer, SpaceMismatch
from providers.protocol import Attempt, FloatMatrix, Vectors
from router.request.estimate import tokens_fair, tokens_most
from router.values import EmbedRequest, Endpoint


class Chunk(msgspec.Struct, frozen=True):
    """Consecutive inputs of an attempt, the first of which has the index ``first`` there."""

    first: int
    attempt: Attempt


def is_too_large(endpoint: Endpoint, inputs: int, tokens_max: int) -> bool:
    """Whether the endpoint may not take so much at once."""
    if endpoint.max_batch is not None and inputs > endpoint.max_batch:
        return True
    most_tokens = _most_tokens(endpoint)
    return inputs > 1 and most_tokens is not None and tokens_max > most_tokens


def _most_tokens(endpoint: Endpoint) -> int | None:
    """What one request may have: as much as the endpoint takes at once, and as it grants us in a minute."""
    batch, minute = endpoint.max_batch_tokens, endpoint.tokens_per_minute
    return batch if minute is None or (batch is not None and batch < minute) else minute


def chunks_of(attempt: Attempt, endpoint: Endpoint, special_tokens: int) -> list[Chunk]:
    """The attempt in as few consecutive parts as its order allows; one part where all fits."""
    inputs = attempt.inputs
    most, most_tokens = endpoint.max_batch or inputs, _most_tokens(endpoint)
    starts, tokens = [0], 0
    for index, size in enumerate(_sizes(attempt, special_tokens) if most_tokens else [0] * inputs):
        if index > starts[-1] and (index - starts[-1] == most or (most_tokens and tokens + size > most_tokens)):
            starts.append(index)
            tokens = 0
        tokens += size
    return [_part(attempt, first, last) for first, last in zip(starts, [*starts[1:], inputs], strict=True)]


def tokens_in(part: Chunk, special_tokens: int) -> int:
    """The bound of a part's tokens."""
    return sum(_sizes(part.attempt, special_tokens))


def _sizes(attempt: Attempt, special_tokens: int) -> Iterator[int]:
    each = special_tokens + (tokens_most(attempt.prefix) if attempt.prefix else 0)
    if attempt.texts is not None:
        return (tokens_most(text) + each for text in attempt.texts)
    return (len(ids) + each for ids in attempt.token_ids or ())


def _part(attempt: Attempt, first: int, last: int) -> Chunk:
    texts = attempt.texts[first:last] if attempt.texts is not None else None
    ids = attempt.token_ids[first:last] if attempt.token_ids is not None else None
    return Chunk(first, msgspec.structs.replace(attempt, texts=texts, token_ids=ids))


class Joined:
    """The answer of the whole, filled part by part in any order: one allocation, and a part is free once it is in."""

    def __init__(self, request: EmbedRequest) -> None:
        self._request = request
        self._matrix: FloatMatrix | None = None
        self._tokens = 0
        self._exact = True
        self._guessed = False
        self._space: str | None = None

    def put(self, first: int, vectors: Vectors) -> None:
        """The vectors of a part. Raises BadAnswer, SpaceMismatch for one that does not fit the others."""
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
            self._tokens += max(1, tokens_fair(inputs[first : first + rows]))
            self._guessed = True
        else:
            self._tokens += vectors.tokens
        self._exact = self._exact and vectors.exact

    def vectors(self) -> Vectors:
        """All of them, once every part was put in: usage summed, with a fair guess for each part that gave none."""
        assert self._matrix is not None, "nothing was put in; this is a bug"
        exact = self._exact and not self._guessed
        return Vectors(self._matrix, self._tokens, exact=exact, space=self._space, guessed=self._guessed)
