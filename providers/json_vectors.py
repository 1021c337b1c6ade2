"""Pure. Reads the vectors of a JSON answer, base64 or numbers, into one float32 matrix.

Long arrays of numbers are taken out of the JSON before a parser sees it: a parser passes over numbers at 20 ns each in
one go, or makes objects of them at five times that, while an array of numbers ends at the next closing bracket, which
is found in no time. Each array is parsed strictly afterwards, so a body that plays tricks here only fails. Decoding is
done in steps of about a megabyte: a large answer of floats takes a tenth of a second, and the caller gives the event
loop a turn between steps.
"""

import binascii
import re
from collections.abc import Iterator, Sequence

import msgspec
import numpy as np
import pybase64

from providers.outcomes import BadAnswer
from providers.protocol import FloatMatrix

# One step: 50,000 numbers of JSON text are 3 ms, the same bytes of base64 well under one.
STEP_BYTES = 1 << 20
# Shorter arrays are not worth taking out. A vector of eight numbers is longer.
SHORTEST_BYTES = 64

_FLOATS = msgspec.json.Decoder(list[float])
_TEXT = msgspec.json.Decoder(str)
_PLACEHOLDER = re.compile(rb"\[(\d{1,9})(?:\.0)?\]")
_NUMBER_STARTS = frozenset(b"-0123456789")

Piece = bytes | memoryview


def extract_arrays(body: bytes | bytearray, first: int = 0) -> tuple[bytes, list[memoryview]]:
    """Replace each long array of numbers in ``body`` by ``[first]``, ``[first+1]`` …; returns that and the arrays."""
    view = memoryview(body)
    arrays: list[memoryview] = []
    remaining: list[bytes | memoryview] = []
    start = position = 0
    while (closing := body.find(b"]", position)) >= 0:
        opening = body.rfind(b"[", position, closing)
        if opening >= 0 and closing - opening >= SHORTEST_BYTES and _begins_with_number(view, opening):
            remaining += (view[start:opening], b"[%d]" % (first + len(arrays)))
            arrays.append(view[opening : closing + 1])
            start = closing + 1
        position = closing + 1
    remaining.append(view[start:])
    return b"".join(remaining), arrays


def restore_array(piece: bytes | memoryview, arrays: list[memoryview]) -> bytes | memoryview:
    """The array that a placeholder replaced; any other piece is returned as it is."""
    placeholder = _PLACEHOLDER.fullmatch(piece) if len(piece) <= 14 else None
    if placeholder is None or int(placeholder[1]) >= len(arrays):
        return piece
    return arrays[int(placeholder[1])]


def _begins_with_number(view: memoryview, opening: int) -> bool:
    start = bytes(view[opening + 1 : opening + 33]).lstrip()[:1]
    return bool(start) and start[0] in _NUMBER_STARTS


class Rows:
    """Fills a matrix row by row, in any order; every row must come once, all of one width."""

    def __init__(self, pieces: Sequence[Piece], indices: Sequence[int]) -> None:
        """``pieces`` are JSON values, each a string or an array; ``indices`` are their rows.

        Raises BadAnswer where the indices are not each of 0 … n-1 once.
        """
        if sorted(indices) != list(range(len(pieces))):
            raise BadAnswer(detail="the indices are not each of the inputs once")
        self._pieces = pieces
        self._indices = indices
        self._matrix: FloatMatrix | None = None

    def steps(self) -> Iterator[None]:
        """Decode all pieces; yields about every :data:`STEP_BYTES`. Raises BadAnswer."""
        done_bytes = 0
        for index, piece in zip(self._indices, self._pieces, strict=True):
            view = memoryview(piece)
            row = _row(view)
            if len(self._pieces) == 1:
                # The common case needs no copy.
                self._matrix = row.reshape(1, row.size)
                return
            if self._matrix is None:
                self._matrix = np.empty((len(self._pieces), row.size), dtype=np.float32)
            if row.size != self._matrix.shape[1]:
                raise BadAnswer(detail=f"vectors of {self._matrix.shape[1]} and of {row.size} dimensions")
            self._matrix[index] = row
            done_bytes += len(view)
            if done_bytes > STEP_BYTES:
                done_bytes = 0
                yield

    @property
    def matrix(self) -> FloatMatrix:
        """The matrix, [rows, dimensions], after the last of :meth:`steps`."""
        assert self._matrix is not None
        return self._matrix


def _row(view: memoryview) -> FloatMatrix:
    row = from_base64(view) if view[0] == 0x22 else _from_numbers(view)
    if not row.size:
        raise BadAnswer(detail="an empty vector")
    return row


def from_base64(view: memoryview) -> FloatMatrix:
    """Decode one vector from a JSON string of base64, little-endian float32. Raises BadAnswer."""
    text: memoryview | str = view[1:-1]
    try:
        raw = pybase64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raw = _escaped(view)
    if len(raw) % 4:
        raise BadAnswer(detail="base64 that is not whole float32 numbers")
    return np.frombuffer(raw, dtype="<f4")


def _escaped(view: memoryview) -> bytes:
    """Decode an escaped string: some JSON writers put a backslash before a slash, which base64 has."""
    try:
        return pybase64.b64decode(_TEXT.decode(view), validate=True)
    except (binascii.Error, ValueError, msgspec.DecodeError) as error:
        raise BadAnswer(detail="an embedding that is not base64") from error


def _from_numbers(view: memoryview) -> FloatMatrix:
    try:
        numbers = _FLOATS.decode(view)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadAnswer(detail="an embedding that is not an array of numbers") from error
    with np.errstate(over="ignore"):
        # Beyond float32 becomes infinite, and the check of every answer refuses that.
        return np.array(numbers, dtype=np.float32)
