"""Finds what makes a body unreadable that the decoder has refused: which fault of a text, and where it begins. Pure.

A person who sends 2,048 texts has to find the one: "not JSON" does not help. The decoder names the byte of most faults,
and Python's the first byte that is not UTF-8. Nothing here runs for a body that can be read.
"""

import re
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

# How a body starts that is in UTF-16 or UTF-32, as Windows' shells write it, with and without a byte-order mark.
_WIDE: Final = re.compile(rb"\xff\xfe|\xfe\xff|\x00|[^\x00]\x00")
WIDE_BODY: Final = "The body of your request is not in UTF-8 but in UTF-16 or UTF-32. JSON is sent in UTF-8."

_AT_BYTE: Final = re.compile(r"(.*) \(byte (\d+)\)")
# Without so many bytes behind it, the decoder says of half a pair only that the body is cut off.
_PADDING: Final = b" " * 16
_HIGH_HALF: Final = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}")
_ESCAPE_BYTES: Final = 6

_HALF_PAIR: Final = (
    "half of a surrogate pair (an escape such as \\ud83d without its other half), which is no character: was a text "
    "cut within an emoji?"
)
_NOT_UTF8: Final = "bytes that are not UTF-8: in which encoding was the text read?"
_CONTROL: Final = "a control character as it is, such as a line break: in JSON it is an escape, such as \\n."
_ESCAPE: Final = "a backslash that begins no escape of JSON: a backslash itself is written as \\\\."


class TextFault(NamedTuple):
    """The first fault of a text: ``what`` completes "it has …"; ``start`` is its first byte in the body."""

    start: int
    what: str


def place_of_fault(body: bytes, decode: Callable[[bytes], object]) -> str:
    """Where a body that ``decode`` refuses is no JSON, as a sentence with a space in front; empty where nobody knows.

    A body of 2 MB is not searched by eye for its trailing comma, and one that never came is easily missed.
    """
    if not body.strip():
        return " It is empty."
    try:
        decode(body)
    except UnicodeDecodeError:
        return ""
    except msgspec.DecodeError as problem:
        found = _AT_BYTE.fullmatch(str(problem))
        if found is None:
            return " It ends too early." if "truncated" in str(problem) else ""
        # Of what stands behind the end the decoder names the second byte.
        at = int(found[2]) - ("trailing characters" in found[1])
        line, column = body.count(b"\n", 0, at) + 1, at - body.rfind(b"\n", 0, at)
        return f" It is no JSON from byte {at} on (line {line}, column {column})."
    except RecursionError:
        return " It is nested too deeply."
    return ""


def is_wide(body: bytes) -> bool:
    """Whether a body is in UTF-16 or UTF-32."""
    return _WIDE.match(body) is not None


def first_text_fault(body: bytes, decode: Callable[[bytes], object]) -> TextFault | None:
    """The first fault of a text in a body that ``decode`` refuses; None where it is none of a text."""
    found = [fault for fault in (_decoders_fault(body, decode), _encodings_fault(body)) if fault is not None]
    return min(found, default=None)


def _encodings_fault(body: bytes) -> TextFault | None:
    try:
        body.decode()
    except UnicodeDecodeError as fault:
        return TextFault(fault.start, _NOT_UTF8)
    return None


def _decoders_fault(body: bytes, decode: Callable[[bytes], object]) -> TextFault | None:
    try:
        decode(body + _PADDING)
    except UnicodeDecodeError:
        return None
    except (msgspec.DecodeError, RecursionError) as problem:
        found = _AT_BYTE.fullmatch(str(problem))
    else:
        return None
    if found is None:
        return None
    said, at = found[1], int(found[2])
    if "utf-16" in said or "hex escape" in said:
        start = body.rfind(b"\\", 0, at)
        # Where the other half is no half, the decoder stands behind it.
        before = start - _ESCAPE_BYTES
        return TextFault(before if before >= 0 and _HIGH_HALF.match(body, before) else start, _HALF_PAIR)
    if "escape" in said:
        return TextFault(body.rfind(b"\\", 0, at), _ESCAPE)
    return TextFault(at, _CONTROL) if at < len(body) and body[at] < ord(" ") else None
