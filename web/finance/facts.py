"""Reads one thing by its operation, and holds its fields as a page shows them."""

from typing import TypeVar

import msgspec

from router.api.in_process import OperationRefused
from web.faults import NotFound
from web.finance.listing import Cell
from web.request import PageRequest

T = TypeVar("T")


class Fact(msgspec.Struct, frozen=True):
    """A field with its name in a person's words."""

    name: str
    cell: Cell


class DoneQuery(msgspec.Struct, frozen=True):
    """``done``: a write was carried out a moment ago."""

    done: bool = False


async def read_one(request: PageRequest, operation: str, answer: type[T], **path: str) -> T:
    """What an operation answers of one thing. Raises ``NotFound`` where it is not there, or its id can be none."""
    try:
        return (await request.run(operation, answer, path=path)).value
    except OperationRefused as refused:
        if refused.status in (400, 404, 422):
            raise NotFound from None
        raise
