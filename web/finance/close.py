"""Shows a month's close: its checklist, late calls and closing papers; lets finance sign off and close."""

import re
from collections.abc import Collection
from datetime import date, datetime, timedelta
from typing import ClassVar

import msgspec

from billing.close.checklist import CHECKLIST
from billing.close.pack import NAMES, Papers, Table, read_papers
from router.api.in_process import OperationCall
from router.api.periods import first_day_of
from web.answers import Crumb, File, Page
from web.faults import InvalidInput, NotFound
from web.finance.facts import DoneQuery, read_one
from web.finance.listing import FINANCE, Cell, Listing, Way, account, instant, link, number, state, words
from web.finance.manual import guide_href
from web.finance.write import FinanceWrite
from web.ops.write import Field, Json, Write
from web.parts.tables import Column
from web.request import PageRequest
from web.shell import NavItem

CLOSES = Crumb("Month close", "/finance/close")
PAPER_ROWS_SHOWN = 50
ONE = "/finance/close/{month}"
_AMOUNT = re.compile(r"-?[0-9]+(\.[0-9]+)?")
NO_SIGN_OFF = frozenset(item.name for item in CHECKLIST if not item.can_be_signed_off)


class _Item(msgspec.Struct, frozen=True):
    item: str
    sentence: str
    state: str
    message: str
    link: str
    reason: str | None
    signed_by: str | None
    checked_at: datetime | None


class _Month(msgspec.Struct, frozen=True):
    month: str
    state: str
    started_at: datetime | None
    finish_requested_at: datetime | None
    closed_at: datetime | None


class _Period(_Month, frozen=True):
    checklist: list[_Item]


class _Months(msgspec.Struct, frozen=True):
    data: list[_Month]


class ItemRow(msgspec.Struct, frozen=True):
    """An item of the checklist. ``state``: ok, failed, done where it was signed off, or unknown."""

    sentence: str
    state: str
    message: str
    checked_at: datetime | None
    manual: str | None
    signed: str
    sign_off: str | None


class MonthsPage(Page, frozen=True, kw_only=True):
    """The months that are closing or closed, and the one that can be closed next."""

    template: ClassVar[str] = "finance/months.html"

    rows: tuple[tuple[Cell, ...], ...]
    next_month: str
    head: tuple[Column, ...] = (Column("Month"), Column("State"), Column("Started"), Column("Closed"))


class ClosePage(Page, frozen=True, kw_only=True):
    """One month."""

    template: ClassVar[str] = "finance/close.html"

    month: str
    state: str
    started_at: datetime | None
    finish_requested_at: datetime | None
    closed_at: datetime | None
    rows: tuple[ItemRow, ...]
    ways: tuple[Way, ...]
    is_done: bool = False
    head: tuple[Column, ...] = (
        Column("Item"),
        Column("State"),
        Column("What is wrong"),
        Column("Checked"),
        Column("What to do"),
    )


class Paper(msgspec.Struct, frozen=True):
    """One of the closing papers: its first rows, and how many there are."""

    name: str
    href: str
    head: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    total: int


class PaperQuery(msgspec.Struct, frozen=True):
    """``paper``: the name of the one that is shown."""

    paper: str = NAMES[0]


class PapersPage(Page, frozen=True, kw_only=True):
    """One of the closing papers, and the ways to the others."""

    template: ClassVar[str] = "finance/papers.html"

    month: str
    is_final: bool
    others: tuple[NavItem, ...]
    faults: tuple[str, ...]
    papers: tuple[Paper, ...]


async def show_months(request: PageRequest) -> MonthsPage:
    """The months."""
    found = (await request.run("list_closes", _Months)).value.data
    last = _before(request.exchange.now.date().replace(day=1))
    return MonthsPage(
        title="Month close",
        crumbs=(FINANCE, Crumb("Month close")),
        rows=tuple(
            (
                link(one.month, f"/finance/close/{one.month}"),
                state(one.state),
                Cell("", kind="time", at=one.started_at),
                Cell("", kind="time", at=one.closed_at),
            )
            for one in reversed(found)
        ),
        next_month=f"{last:%Y-%m}",
    )


async def show(request: PageRequest) -> ClosePage:
    """A month and its checklist."""
    is_done = request.query_as(DoneQuery).done
    one = await read_one(request, "status_close", _Period, month=request.values["month"])
    base = f"/finance/close/{one.month}"
    return ClosePage(
        title=f"Close of {one.month}",
        crumbs=(FINANCE, CLOSES, Crumb(one.month)),
        month=one.month,
        state=one.state,
        started_at=one.started_at,
        finish_requested_at=one.finish_requested_at,
        closed_at=one.closed_at,
        rows=tuple(_row(item, base, is_closing=one.state == "closing") for item in one.checklist),
        ways=_ways(one, base),
        is_done=is_done,
    )


async def show_papers(request: PageRequest) -> PapersPage:
    """One paper, so that only its statements are read: before the close a preview of now."""
    month, name = request.values["month"], request.query_as(PaperQuery).paper
    found = await read_month(request, month, (name,))
    if not found.tables:
        raise InvalidInput(f"The papers are {', '.join(found.names)}.", "paper")
    base = f"/finance/close/{month}"
    return PapersPage(
        title=f"Papers of {month}",
        crumbs=(FINANCE, CLOSES, Crumb(month, base), Crumb("Papers")),
        month=month,
        is_final=found.is_final,
        others=tuple(NavItem(_title(one), f"{base}/papers?paper={one}", is_here=one == name) for one in found.names),
        faults=tuple(found.faults),
        papers=tuple(paper_of(table, base) for table in found.tables),
    )


async def download_paper(request: PageRequest) -> File:
    """One of the papers as CSV, all of its rows."""
    month, paper = request.values["month"], request.values["paper"]
    call = OperationCall(path={"month": month}, query=(("table", paper), ("format", "csv")), accept="text/csv")
    _, _, body = await request.operations.fetch("papers_close", request.identify, call)
    return File(body=body, media="text/csv; charset=utf-8", name=f"{paper}-{month}.csv")


def _before(month: date) -> date:
    return (month - timedelta(days=1)).replace(day=1)


def _row(item: _Item, base: str, *, is_closing: bool) -> ItemRow:
    can_sign = is_closing and item.state == "red" and item.item not in NO_SIGN_OFF
    signs = {"green": "ok", "red": "failed", "signed_off": "done", "not_checked": "unknown"}
    return ItemRow(
        sentence=item.sentence,
        state=signs[item.state],
        message=item.message,
        checked_at=item.checked_at,
        manual=guide_href(item.link),
        signed=f"signed off by {item.signed_by}: {item.reason}" if item.signed_by else "",
        sign_off=f"{base}/sign-off?item={item.item}" if can_sign else None,
    )


def _ways(one: _Period, base: str) -> tuple[Way, ...]:
    act = {"open": [Way(f"{base}/start", f"Start to close {one.month}")], "closed": []}
    closing = [Way(f"{base}/finish", f"Close {one.month}"), Way(f"{base}/sign-off", "Sign an item off")]
    return (*act.get(one.state, closing), Way(f"{base}/papers", "Papers"), Way(f"{base}/late", "Late calls"))


async def read_month(request: PageRequest, month: str, wanted: Collection[str]) -> Papers:
    """The wanted papers of a month. Raises ``NotFound`` where it is no month."""
    try:
        period = first_day_of(month)
    except ValueError:
        raise NotFound from None
    async with request.context.reads.db.transaction() as connection:
        return await read_papers(connection, period, wanted)


def paper_of(table: Table, base: str) -> Paper:
    """A paper as its page shows it."""
    columns = range(len(table.columns))
    # The first column names the row, also where it is a code or a number.
    amounts = {one for one in columns[1:] if all(_AMOUNT.fullmatch(str(row[one])) for row in table.rows)}
    return Paper(
        name=_title(table.name),
        href=f"{base}/papers/{table.name}",
        head=tuple(Column(name.replace("_", " "), is_number=one in amounts) for one, name in enumerate(table.columns)),
        rows=tuple(
            tuple(number(row[one]) if one in amounts else words(row[one]) for one in columns)
            for row in table.rows[:PAPER_ROWS_SHOWN]
        ),
        total=len(table.rows),
    )


def _title(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _view(month: Json) -> Json:
    """A month with each item's state as a field of its own, so that the confirmation says which one changes."""
    return month | {item["item"]: item["state"].replace("_", " ") for item in month["checklist"]}


LATE = Listing(
    operation="late_close",
    title="Late calls of {month}",
    explanation="Calls of the month that are booked in a later one, and calls booked in it that are of an earlier one.",
    caption="Late calls",
    head=(
        Column("Call"),
        Column("Occurred"),
        Column("Account"),
        Column("Model"),
        Column("Cost", "USD", is_number=True),
        Column("Booked in"),
    ),
    cells=lambda row: (
        link(row["request"], f"/ops/route?call={row['request']}"),
        instant(row["occurred_at"]),
        account(row["account"]),
        words(row["model"]),
        number(row["cost_usd"]),
        words(row["booked_in"]),
    ),
    values={"month": "month"},
    crumbs=(CLOSES,),
    empty="No call of it came late.",
)
_STATE = {"state": "State", "finish_requested_at": "To be closed since"}
START = Write(
    operation="start_close",
    verb="Start to close",
    name="month",
    explanation="Jobs check the checklist every 15 seconds. Calls are charged, and entries booked, as before.",
    values={"month": "month"},
    reads="status_close",
    names=_STATE,
    back=ONE,
    crumbs=(FINANCE, CLOSES),
    has_body=False,
)
FINISH = Write(
    operation="finish_close",
    verb="Close",
    name="month",
    explanation="Jobs close the month within seconds, for good. Refused where something is red and not signed off.",
    values={"month": "month"},
    reads="status_close",
    names=_STATE,
    back=ONE,
    crumbs=(FINANCE, CLOSES),
    has_body=False,
    is_dangerous=True,
    notes=("A closed month is never opened again. What comes late is booked in the next one.",),
)
SIGN_OFF = FinanceWrite(
    operation="sign_off_close",
    verb="Sign an item off in",
    name="month",
    explanation="The month may be closed although the item is red. The reason stays for good, with your name.",
    values={"month": "month"},
    reads="status_close",
    view=_view,
    view_after=_view,
    fields=(
        Field(
            name="item",
            label="Item",
            kind="choice",
            options=tuple((item.name, item.sentence) for item in CHECKLIST if item.can_be_signed_off),
        ),
        Field(name="reason", label="Reason", kind="area", is_required=True, hint="Why it may be closed all the same."),
    ),
    names={item.name: item.sentence for item in CHECKLIST},
    back=ONE,
    crumbs=(FINANCE, CLOSES),
    is_dangerous=True,
)
