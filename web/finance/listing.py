"""A list of the finance console as a page: filters, rows, the next page by cursor, and what to do where it is empty.

An operation that lists something is declared here once as a :class:`Listing`; its page asks it for one page of rows and
writes each as cells. A filter that the operation refuses comes back with the sentence beside it.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, ClassVar, Literal

import msgspec

from router.api.in_process import OperationRefused
from web.answers import Crumb, Page
from web.forms import Form, form_of
from web.ops.lists import Listed, cursor_of, next_page
from web.ops.write import Field
from web.parts.tables import Column
from web.request import PageRequest

Json = dict[str, Any]
FINANCE = Crumb("Finance", "/finance")
ROWS = 50


class Cell(msgspec.Struct, frozen=True):
    """A cell: text, an instant, or a state; ``href``: where its text leads."""

    text: str
    href: str | None = None
    kind: Literal["text", "number", "status", "time"] = "text"
    at: datetime | None = None


class Way(msgspec.Struct, frozen=True):
    """A way to another page, or to a write."""

    href: str
    name: str


class ListingPage(Page, frozen=True, kw_only=True):
    """The list. The first cell of a row names it."""

    template: ClassVar[str] = "finance/listing.html"

    path: str
    explanation: str
    caption: str
    head: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    fields: tuple[Field, ...]
    form: Form
    ways: tuple[Way, ...]
    empty: str
    empty_way: Way | None = None
    next_href: str | None = None
    first_href: str | None = None
    is_done: bool = False


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """One operation that lists something.

    ``cells`` writes a row of its answer; ``values`` maps the operation's names of its path's values to those of the
    page's path. ``empty`` is the sentence where there is nothing, and ``empty_way`` what to do next.
    """

    operation: str
    title: str
    explanation: str
    caption: str
    head: tuple[Column, ...]
    cells: Callable[[Json], tuple[Cell, ...]]
    fields: tuple[Field, ...] = ()
    values: Mapping[str, str] = {}
    ways: tuple[Way, ...] = ()
    empty: str
    empty_way: Way | None = None
    crumbs: tuple[Crumb, ...] = ()
    is_paged: bool = True

    async def show(self, request: PageRequest) -> ListingPage:
        """A page of the list, as the address asks for it."""
        known = {field.name for field in self.fields}
        typed = {name: value for name, value in request.query if name in known and value}
        form, status, found = Form(typed), 200, Listed[Json]([])
        try:
            found = await self._read(request, typed)
        except OperationRefused as refused:
            if refused.error.param not in known:
                raise
            form, status = form_of(request, refused, typed=typed), refused.status
        title = self.title.format_map(request.values)
        return ListingPage(
            title=title,
            crumbs=(FINANCE, *self.crumbs, Crumb(title)),
            path=request.path,
            explanation=self.explanation,
            caption=self.caption,
            head=self.head,
            rows=tuple(self.cells(row) for row in found.data),
            fields=self.fields,
            form=form,
            ways=self.ways,
            empty="No row fits what was searched for." if typed else self.empty,
            empty_way=Way(request.path, "Show all") if typed else self.empty_way,
            next_href=next_page(request, found),
            first_href=request.path if any(name == "cursor" for name, _ in request.query) else None,
            is_done=("done", "1") in request.query,
            status=status,
        )

    async def _read(self, request: PageRequest, typed: Mapping[str, str]) -> Listed[Json]:
        query = dict(typed) | (cursor_of(request, ROWS) if self.is_paged else {})
        path = {theirs: request.values[ours] for theirs, ours in self.values.items()}
        return (await request.run(self.operation, Listed[Json], path=path, query=query)).value


def words(value: object, unknown: str = "") -> Cell:
    """A value as text; an underscore of a name is a space for people."""
    return Cell(unknown if value is None else str(value))


def number(value: object) -> Cell:
    """An amount or a count, as the operation writes it."""
    return Cell("" if value is None else str(value), kind="number")


def state(value: object) -> Cell:
    """A state, with its sign."""
    return Cell(str(value).replace("_", " "), kind="status")


def instant(value: str | None) -> Cell:
    """An instant of an answer."""
    return Cell("", kind="time", at=None if value is None else datetime.fromisoformat(value))


def link(value: object, href: str) -> Cell:
    """A text that leads to what it names."""
    return Cell(str(value), href)


def account(value: str | None) -> Cell:
    """An account, with the way to its page."""
    return Cell("none") if value is None else Cell(value, f"/ops/accounts/{value}")
