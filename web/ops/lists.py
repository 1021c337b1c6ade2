"""Reads lists of operations for pages: their rows, and the address of the next page."""

from typing import Generic, TypeVar

import msgspec

from web.parts.tables import address
from web.request import PageRequest

T = TypeVar("T")


class Listed(msgspec.Struct, Generic[T], frozen=True):
    """A page of a list as an operation answers it."""

    data: list[T]
    next_cursor: str | None = None


def next_page(request: PageRequest, listed: Listed[T]) -> str | None:
    """Where the list goes on; None where it ends."""
    if listed.next_cursor is None:
        return None
    others = tuple((name, value) for name, value in request.query if name not in ("cursor", "done") and value)
    return address(request.path, (*others, ("cursor", listed.next_cursor)))
