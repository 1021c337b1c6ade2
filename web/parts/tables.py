"""Holds the head of a table: its columns, and by which one its rows are sorted. Pure."""

from urllib.parse import urlencode

import msgspec


class Column(msgspec.Struct, frozen=True):
    """A column: its name, the unit of its numbers, and the ``sort`` value by which its rows can be sorted."""

    name: str
    unit: str = ""
    is_number: bool = False
    key: str = ""


class Sorting(msgspec.Struct, frozen=True):
    """How a list is sorted, and the addresses that sort it otherwise: the address is the state.

    ``query`` are the other fields of the address; a cursor is not among them, since it belongs to one order.
    """

    path: str
    query: tuple[tuple[str, str], ...]
    by: str
    is_down: bool

    def href(self, key: str) -> str:
        """The same list sorted by ``key``; the other way round where it is sorted by it."""
        order = f"-{key}" if key == self.by and not self.is_down else key
        return address(self.path, (*self.query, ("sort", order)))


def sorting(path: str, query: tuple[tuple[str, str], ...], by: str) -> Sorting:
    """The order that ``by`` names, as ``price`` or ``-price``, of the list at this address."""
    others = tuple((name, value) for name, value in query if name not in ("sort", "cursor") and value)
    return Sorting(path, others, by.removeprefix("-"), by.startswith("-"))


def address(path: str, query: tuple[tuple[str, str], ...]) -> str:
    """A path with a query."""
    return f"{path}?{urlencode(query)}" if query else path
