"""Microseconds of each step of the line, on the real functions with a real request, one core."""

from collections.abc import Iterator


def lines() -> Iterator[str]:
    yield from ()
