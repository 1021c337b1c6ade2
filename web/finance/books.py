"""Shows the checks of the books: whether each is right, how old its result is, and what to do where it is not."""

from datetime import datetime, timedelta
from typing import ClassVar

import msgspec

from web.answers import Crumb, Page
from web.finance.listing import FINANCE
from web.finance.manual import BOOKS, guide_href
from web.parts.tables import Column
from web.request import PageRequest


class _Check(msgspec.Struct, frozen=True):
    check: str
    ok: bool
    wrong: int | None
    message: str
    checked_at: datetime | None


class _Head(msgspec.Struct, frozen=True):
    batch: int
    digest: str
    sealed_at: datetime


class _Books(msgspec.Struct, frozen=True):
    data: list[_Check]
    ok: bool
    head: _Head | None


class CheckRow(msgspec.Struct, frozen=True):
    """A check. ``state``: ok, failed, or unknown where it never ran or not lately.

    ``age`` is that of its result, empty where there is none.
    """

    check: str
    state: str
    wrong: int | None
    message: str
    checked_at: datetime | None
    age: str


class BooksPage(Page, frozen=True, kw_only=True):
    """All checks, those that are wrong first, and the head of the ledger's chain."""

    template: ClassVar[str] = "finance/books.html"

    is_right: bool
    rows: tuple[CheckRow, ...]
    manual: str
    batch: int | None = None
    digest: str = ""
    sealed_at: datetime | None = None
    head: tuple[Column, ...] = (
        Column("Check"),
        Column("State"),
        Column("Wrong", is_number=True),
        Column("Checked"),
        Column("What was found"),
        Column("What to do"),
    )


async def show(request: PageRequest) -> BooksPage:
    """What the checks found the last time."""
    books, now = (await request.run("books", _Books)).value, request.exchange.now
    rows = [
        CheckRow(one.check, _state(one), one.wrong, one.message, one.checked_at, _age(one.checked_at, now))
        for one in sorted(books.data, key=lambda check: (check.ok, check.wrong is None))
    ]
    return BooksPage(
        title="Checks of the books",
        crumbs=(FINANCE, Crumb("Checks of the books")),
        is_right=books.ok,
        rows=tuple(rows),
        manual=guide_href(BOOKS) or "",
        batch=books.head.batch if books.head else None,
        digest=books.head.digest if books.head else "",
        sealed_at=books.head.sealed_at if books.head else None,
    )


def _state(check: _Check) -> str:
    """Unknown is never green: what was found right long ago says nothing of today."""
    if check.ok:
        return "ok"
    return "failed" if check.wrong else "unknown"


def _age(at: datetime | None, now: datetime) -> str:
    if at is None:
        return ""
    since = max(now - at, timedelta())
    if since < timedelta(minutes=1):
        return "less than a minute ago"
    minutes = int(since.total_seconds() // 60)
    return f"{minutes} min ago" if minutes < 120 else f"{minutes // 60} h ago"
