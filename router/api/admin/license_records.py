"""What claims, resolutions and waivers have in common at the admin API: entries of a record, a page of them or one."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar
from uuid import UUID

from fastapi import Request, Response
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog import models
from catalog.record import RecordStatus
from router.api.admin.parsing import id_of, query_of, read
from router.api.admin.responses import Resource, listed, one, page, slice_of
from router.errors import InvalidRequest, NotFound
from store.ids import PREFIXES

TAG = "Licenses"


class Identified(Protocol):
    """Whatever the record has under an id."""

    @property
    def id(self) -> UUID:
        """Sorts by the time at which it was recorded."""
        ...


Row = TypeVar("Row", bound=Identified)
# The record's entries: all, or those of a model.
Source = Callable[[AsyncConnection, str | None], Awaitable[Sequence[Row]]]
Show = Callable[[Row], Resource]


async def entries(
    request: Request, source: Source[Row], show: Show[Row], statuses: tuple[RecordStatus, ...] = ()
) -> Response:
    """A page, the oldest first; of a ``model``, of a ``status`` where there are any. Raises ``InvalidRequest``."""
    query = query_of(request, "limit", "cursor", "model", *(("status",) if statuses else ()))
    part, status = slice_of(query), query.get("status")
    if status is not None and status not in statuses:
        raise InvalidRequest(f"'status' is one of {', '.join(statuses)}.", param="status")

    async def ask(connection: AsyncConnection) -> Sequence[Row]:
        model = query.get("model")
        return await source(connection, None if model is None else (await models.get(connection, model)).id)

    found = [row for row in await read(request, ask) if status in (None, getattr(show(row), "status", None))]
    return page(request, listed(found, part, _key), part, _key, show)


async def entry(request: Request, kind: object, text: str, source: Source[Row], show: Show[Row]) -> Response:
    """The one of an id. Raises ``NotFound``."""
    query_of(request)
    param = PREFIXES[kind]
    known = id_of(kind, text, param)
    for row in await read(request, lambda connection: source(connection, None)):
        if row.id == known:
            return one(show(row))
    raise NotFound(f"There is no {param} {param}_{known.hex}.", param=param)


def words(text: str, param: str, most: int = 1000) -> str:
    """Text that says something. Raises ``InvalidRequest``."""
    if not text.strip() or len(text) > most:
        raise InvalidRequest(f"'{param}' has 1 to {most} characters.", param=param)
    return text


def _key(row: Identified) -> str:
    return row.id.hex
