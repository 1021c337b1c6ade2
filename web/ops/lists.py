"""Reads lists of operations for pages: their rows, and the address of the next page."""

from collections.abc import Mapping
from typing import Generic, TypeVar

import msgspec

from web.parts.tables import address
from web.request import PageRequest

T = TypeVar("T")
# What the operations give at once, and what a page that needs all of a list reads at most.
PAGE, ALL_MAX = 100, 2_000


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


def cursor_of(request: PageRequest, limit: int) -> dict[str, str]:
    """Which part of a list the address asks for."""
    cursor = next((value for name, value in request.query if name == "cursor"), "")
    return {"limit": str(limit)} | ({"cursor": cursor} if cursor else {})


async def all_of(request: PageRequest, operation: str, row: type[T], query: Mapping[str, str] | None = None) -> list[T]:
    """Every row of a list that is short by its nature, such as endpoints or claims: at most two thousand."""
    rows: list[T] = []
    cursor: str | None = ""
    while cursor is not None and len(rows) < ALL_MAX:
        which = {**(query or {}), "limit": str(PAGE)} | ({"cursor": cursor} if cursor else {})
        listed = (await request.run(operation, Listed[row], query=which)).value  # type: ignore[valid-type]
        rows += listed.data
        cursor = listed.next_cursor
    return rows
