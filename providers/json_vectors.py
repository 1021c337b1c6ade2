"""Takes long arrays of numbers out of JSON before a parser sees it, and puts them back afterwards. No I/O.

A parser passes over numbers at 20 ns each in one go, or takes them for objects at five times that; an array of numbers
ends at the next closing bracket, which is found in no time. Each array is parsed strictly later, a step at a time, so a
body that plays tricks here only fails.
"""

import re

# Shorter ones are not worth it. A vector of eight numbers is longer.
SHORTEST_BYTES = 64

_PLACE = re.compile(rb"\[(\d{1,9})(?:\.0)?\]")
_NUMBER_STARTS = frozenset(b"-0123456789")


def cut(body: bytes | bytearray, first: int = 0) -> tuple[bytes, list[memoryview]]:
    """The body with each long array of numbers replaced by ``[first]``, ``[first+1]`` …, and the arrays."""
    view = memoryview(body)
    arrays: list[memoryview] = []
    kept: list[bytes | memoryview] = []
    start = position = 0
    while (closing := body.find(b"]", position)) >= 0:
        opening = body.rfind(b"[", position, closing)
        if opening >= 0 and closing - opening >= SHORTEST_BYTES and _begins_with_number(view, opening):
            kept += (view[start:opening], b"[%d]" % (first + len(arrays)))
            arrays.append(view[opening : closing + 1])
            start = closing + 1
        position = closing + 1
    kept.append(view[start:])
    return b"".join(kept), arrays


def restored(piece: bytes | memoryview, arrays: list[memoryview]) -> bytes | memoryview:
    """The array that a placeholder stands for; anything else comes back as it is."""
    place = _PLACE.fullmatch(piece) if len(piece) <= 14 else None
    if place is None or int(place[1]) >= len(arrays):
        return piece
    return arrays[int(place[1])]


def _begins_with_number(view: memoryview, opening: int) -> bool:
    start = bytes(view[opening + 1 : opening + 33]).lstrip()[:1]
    return bool(start) and start[0] in _NUMBER_STARTS
