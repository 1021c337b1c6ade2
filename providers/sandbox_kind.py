"""Kind ``sandbox``: answers test keys with vectors that cost nothing, mean nothing and never change.

The vector of an input depends on the model's name, the prompt and the input alone. It is computed with integers up to
one division, so that it is the same in every process, in every release and on every machine.
"""

import asyncio
import hashlib
import math

import numpy as np

from providers.model_list import ListedModel
from providers.protocol import Attempt, FloatMatrix, Vectors
from providers.sandbox_options import SandboxOptions

# About what a tokenizer would say of English.
_BYTES_PER_TOKEN = 4
# A vector takes some 50 us to make; the event loop gets a turn in between.
_ROWS_PER_TURN = 64


class SandboxProvider:
    """Answers at once, with vectors made from hashes of the inputs."""

    def __init__(self, options: SandboxOptions) -> None:
        if options.dimensions < 1:
            raise ValueError("dimensions must be at least 1")
        self._dimensions = options.dimensions

    async def embed(self, attempt: Attempt, deadline_s: float) -> Vectors:
        """See :class:`providers.protocol.Provider`. Shorter vectors are the long one's beginning, normalized again."""
        width = attempt.dimensions or self._dimensions
        inputs = _inputs(attempt)
        matrix = np.empty((len(inputs), width), dtype=np.float32)
        for row, content in enumerate(inputs):
            matrix[row] = unit_vector(attempt.upstream_model, content, width)
            if row % _ROWS_PER_TURN == _ROWS_PER_TURN - 1:
                await asyncio.sleep(0)
        return Vectors(matrix=matrix, tokens=attempt.tokens_by_size(_BYTES_PER_TOKEN))

    async def count(self, attempt: Attempt, deadline_s: float) -> int | None:
        """Return None: there is no tokenizer."""
        return None

    async def list_models(self, deadline_s: float) -> tuple[ListedModel, ...] | None:
        """Return None: it answers under every name."""
        return None

    async def close(self) -> None:
        """Do nothing."""


def unit_vector(model: str, content: bytes, width: int) -> FloatMatrix:
    """[width] float32 of norm 1, seeded by SHA-256 of the model's name and the content."""
    seed = hashlib.sha256(b"%d:%b%b" % (len(model.encode()), model.encode(), content)).digest()
    # SHAKE's output of a given length begins as the shorter ones do, which makes short vectors beginnings of long ones.
    drawn = np.frombuffer(hashlib.shake_256(seed).digest(2 * width), dtype="<i2").astype(np.int64)
    # Odd, so never zero: even a vector of one dimension has a direction.
    numbers = 2 * drawn + 1
    norm = math.sqrt(int(numbers @ numbers))
    return (numbers / norm).astype(np.float32)


def _inputs(attempt: Attempt) -> list[bytes]:
    prefix = b"%d:%b" % (len(attempt.prefix.encode()), attempt.prefix.encode())
    kind = attempt.input_type or ""
    head = f"{kind}:".encode() + prefix
    if attempt.texts is not None:
        return [head + b"t" + text.encode() for text in attempt.texts]
    return [head + b"i" + b",".join(b"%d" % token for token in ids) for ids in attempt.token_ids or ()]
