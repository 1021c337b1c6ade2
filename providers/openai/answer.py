"""Reads the answer of an OpenAI-compatible embeddings endpoint, strictly and without holding up the event loop."""

import asyncio
from collections.abc import Iterable
from typing import cast

import msgspec

from providers.json_vectors import Piece, Rows, extract_arrays, restore_array
from providers.outcomes import BadAnswer, Broken
from providers.protocol import Vectors
from providers.statuses import error_in_success

# Above this, arrays of numbers are cut out before the rest is parsed.
EXTRACT_ABOVE_BYTES = 1 << 20

# What one number takes in JSON at most, and what stands around the vectors.
NUMBER_BYTES = 25
SLACK_BYTES = 64 * 1024
WIDEST = 8192
MAX_ANSWER_BYTES = 48 << 20

# The largest count that a double holds exactly.
_MOST_TOKENS = 2**53

_NO_ERROR = msgspec.Raw(b"null")


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    total_tokens: int | None = None


class _Item(msgspec.Struct, kw_only=True):
    index: int | msgspec.UnsetType = msgspec.UNSET
    embedding: msgspec.Raw


class _Answer(msgspec.Struct):
    data: list[_Item] | None = None
    usage: _Usage | None = None
    error: msgspec.Raw = _NO_ERROR


_DECODER = msgspec.json.Decoder(_Answer)


def max_answer_bytes(inputs: int, dimensions: int | None) -> int:
    """The most bytes that an honest answer to so many inputs takes, whatever its encoding."""
    return min(SLACK_BYTES + inputs * ((dimensions or WIDEST) * NUMBER_BYTES + 256), MAX_ANSWER_BYTES)


async def read_answer(body: bytes | bytearray, inputs: int) -> Vectors:
    """Read the vectors, in the order of the inputs.

    Raises Broken (cannot be read), BadAnswer (read, but wrong) and, for an error inside a 200, the failure that it
    means.
    """
    try:
        pieces, indices, usage = _parse(body)
    except msgspec.ValidationError as error:
        # The text of a validation error names types and a path, never a value.
        raise BadAnswer(detail=str(error)) from error
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Broken(detail="an answer that is not JSON") from error
    if len(pieces) != inputs:
        raise BadAnswer(detail=f"{len(pieces)} vectors for {inputs} inputs")
    rows = Rows(pieces, indices)
    for _ in rows.steps():
        await asyncio.sleep(0)
    return Vectors(matrix=rows.matrix, tokens=_tokens(usage))


def _parse(body: bytes | bytearray) -> tuple[list[Piece], list[int], _Usage | None]:
    arrays: list[memoryview] = []
    skeleton = body
    if len(body) > EXTRACT_ABOVE_BYTES:
        skeleton, arrays = extract_arrays(body)
    answer = _DECODER.decode(skeleton)
    if answer.error != _NO_ERROR:
        raise error_in_success(skeleton)
    items = answer.data or []
    pieces: list[Piece] = [memoryview(item.embedding) for item in items]
    if arrays:
        pieces = [restore_array(piece, arrays) for piece in pieces]
    return pieces, rows_of(item.index for item in items), answer.usage


def rows_of(indices: Iterable[object]) -> list[int]:
    """The rows of an answer's items by their indices; ``UNSET`` stands for an index that was left out.

    Servers that write JSON by protobuf's rules, as Google's does, leave out an index of 0. That is taken for the first
    item alone: anywhere else nobody knows which input the vector is of. Raises BadAnswer.
    """
    rows = [0 if place == 0 and index is msgspec.UNSET else index for place, index in enumerate(indices)]
    if any(type(row) is not int for row in rows):
        raise BadAnswer(detail="an index that is left out or not a number")
    return cast("list[int]", rows)


def _tokens(usage: _Usage | None) -> int | None:
    if usage is None:
        return None
    tokens = usage.total_tokens if usage.prompt_tokens is None else usage.prompt_tokens
    if tokens is not None and not 0 <= tokens <= _MOST_TOKENS:
        raise BadAnswer(detail="a usage that is not a count of tokens")
    return tokens
