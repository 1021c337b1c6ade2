"""Shows every error of the API, from the one table of errors: code, status, what it says, whether to try again."""

from collections.abc import Iterator
from typing import ClassVar

import msgspec

from router import errors
from router.api.error_envelope import ROWS, Retry, row
from web.answers import Crumb, Page
from web.parts.tables import Column
from web.public.documentation.index import DOCS
from web.request import PageRequest

HEAD = (Column("Code"), Column("Status", is_number=True), Column("Means"), Column("The same call again"))
RETRIES = {
    Retry.NEVER: "meets the same answer; change something first",
    Retry.WAIT: "passes after the time in Retry-After",
    Retry.AGAIN: "may pass at once",
    Retry.UNSAFE: "may pass; without the same Idempotency-Key it could be charged twice",
}
# For the log alone.
HIDDEN = (errors.ClientGone,)


class ErrorRow(msgspec.Struct, frozen=True):
    """One error."""

    code: str
    status: int
    means: str
    retry: str


class ErrorsPage(Page, frozen=True, kw_only=True):
    """All errors."""

    template: ClassVar[str] = "public/documentation/errors.html"

    head: tuple[Column, ...]
    rows: tuple[ErrorRow, ...]


async def show(request: PageRequest) -> ErrorsPage:
    """The table of errors."""
    del request
    return ErrorsPage(
        title="Errors",
        description="Every code that the API answers, what it means, and whether the same call can pass again.",
        canonical="/docs/errors",
        crumbs=(DOCS, Crumb("Errors")),
        head=HEAD,
        rows=tuple(sorted(_rows(), key=lambda one: (one.status, one.code))),
    )


def _rows() -> Iterator[ErrorRow]:
    for kind in ROWS:
        if kind in HIDDEN or any(
            kind is not other and issubclass(other, kind) and other.code == kind.code for other in ROWS
        ):
            continue
        answered = row(kind(""))
        means = " ".join((kind.__doc__ or "").split())
        yield ErrorRow(kind.code, answered.status, means, RETRIES[answered.retry])
