"""Compares two texts line by line, for pages that show what a change of a text would be. Pure."""

from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import Final, Literal

import msgspec

# So many lines that stay are shown around those that differ.
CONTEXT: Final = 2
# What is larger is not compared: to find the best difference takes as long as the product of the lines.
COMPARED_MAX: Final = 250_000


class Line(msgspec.Struct, frozen=True):
    """A line with its number before and after; ``gap``: so many lines that stay are left out."""

    kind: Literal["stays", "goes", "comes", "gap"]
    text: str
    before: int | None = None
    after: int | None = None


class Difference(msgspec.Struct, frozen=True):
    """The lines of a text that go and come, with some that stay; none where both texts are the same."""

    name: str
    lines: tuple[Line, ...]


def compare(name: str, before: str, after: str) -> Difference:
    """What differs between two texts."""
    if before == after:
        return Difference(name, ())
    return Difference(name, tuple(_lines(before.splitlines(), after.splitlines())))


def _lines(before: list[str], after: list[str]) -> Iterator[Line]:
    steps = _steps(before, after)
    for number, (kind, i, j, k, m) in enumerate(steps):
        if kind == "equal":
            yield from _kept(before, i, j, k - i, is_first=number == 0, is_last=number == len(steps) - 1)
            continue
        yield from (Line("goes", before[at], before=at + 1) for at in range(i, j))
        yield from (Line("comes", after[at], after=at + 1) for at in range(k, m))


def _steps(before: list[str], after: list[str]) -> list[tuple[str, int, int, int, int]]:
    if len(before) * len(after) > COMPARED_MAX:
        return [("replace", 0, len(before), 0, len(after))]
    return list(SequenceMatcher(None, before, after).get_opcodes())


def _kept(before: list[str], start: int, end: int, shift: int, *, is_first: bool, is_last: bool) -> Iterator[Line]:
    """Lines that stay: those next to what differs, and how many more there are."""
    head = start if is_first else min(end, start + CONTEXT)
    tail = end if is_last else max(head, end - CONTEXT)
    yield from (_stays(before, at, shift) for at in range(start, head))
    if tail > head:
        yield Line("gap", str(tail - head))
    yield from (_stays(before, at, shift) for at in range(tail, end))


def _stays(before: list[str], at: int, shift: int) -> Line:
    return Line("stays", before[at], at + 1, at + 1 + shift)
