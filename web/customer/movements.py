"""``/accounts/{account}/credit/movements``: every change of the balance; opening plus movements is closing."""

from datetime import datetime
from typing import ClassVar
from urllib.parse import urlencode

import msgspec

from router.api.in_process import OperationRefused
from web.answers import Page
from web.customer.money import Section, credit_path, crumbs, nano, sections
from web.forms import Form, form_of
from web.request import PageRequest

PAGE_ROWS = "50"
# What each kind of movement is called.
WORDS = {
    "usage": "calls",
    "grant": "credit",
    "expiry": "credit expired",
    "refund": "refund",
    "dispute": "payment disputed",
    "line": "lent credit",
    "debt": "debt paid",
    "minimum": "minimum of the contract",
    "correction": "correction",
}


class _Movement(msgspec.Struct, frozen=True):
    entry: str
    at: datetime
    kind: str
    reference: str
    balance_change_usd: str
    debt_change_usd: str
    balance_usd: str | None


class _Movements(msgspec.Struct, frozen=True):
    data: list[_Movement]
    since: datetime = msgspec.field(name="from")
    until: datetime = msgspec.field(name="to")
    opening_balance_usd: str
    closing_balance_usd: str
    opening_debt_usd: str
    closing_debt_usd: str
    next_cursor: str | None = None


class MovementRow(msgspec.Struct, frozen=True):
    """One change; amounts are nano-USD."""

    at: datetime
    words: str
    reference: str
    change_nano: int
    debt_change_nano: int
    balance_nano: int | None


class Sums(msgspec.Struct, frozen=True):
    """What the balance and the debt were, and are."""

    since: datetime
    until: datetime
    opening_nano: int
    closing_nano: int
    opening_debt_nano: int
    closing_debt_nano: int


class MovementsPage(Page, frozen=True, kw_only=True):
    """A span of time; ``sums`` is None where what was typed is no span."""

    template: ClassVar[str] = "customer/movements.html"

    sections: tuple[Section, ...]
    here: str
    form: Form
    sums: Sums | None
    rows: tuple[MovementRow, ...]
    has_debt: bool
    next_href: str | None = None
    first_href: str | None = None


class MovementsQuery(msgspec.Struct, frozen=True):
    """Which month, quarter or year (UTC), and which part of it."""

    period: str = ""
    cursor: str | None = None


async def show(request: PageRequest) -> MovementsPage:
    """The movements of a span, the oldest first."""
    query = request.query_as(MovementsQuery)
    period = query.period or f"{request.exchange.now:%Y-%m}"
    wanted = {"limit": PAGE_ROWS} | ({"cursor": query.cursor} if query.cursor else {"period": period})
    try:
        found = (await request.run("list_movements", _Movements, query=wanted)).value
    except OperationRefused as refused:
        if refused.status >= 500:
            raise
        form = form_of(request, refused)
        typed = Form({"period": period}, {"period": refused.error.message} | dict(form.errors))
        return _page(request, typed, None, status=refused.status)
    return _page(request, Form({"period": period}), found, is_later=query.cursor is not None)


def _page(
    request: PageRequest, form: Form, found: _Movements | None, *, is_later: bool = False, status: int = 200
) -> MovementsPage:
    here = f"{credit_path(request)}/movements"
    period = {"period": form.value("period")}
    cursor = None if found is None else found.next_cursor
    rows = () if found is None else tuple(_row(one) for one in found.data)
    sums = None if found is None else _sums(found)
    return MovementsPage(
        title="Movements",
        crumbs=crumbs(request, "Movements"),
        sections=sections(request),
        here=here,
        form=form,
        sums=sums,
        rows=rows,
        has_debt=any(row.debt_change_nano for row in rows)
        or (sums is not None and (sums.opening_debt_nano or sums.closing_debt_nano) != 0),
        next_href=None if cursor is None else f"{here}?{urlencode({**period, 'cursor': cursor})}",
        first_href=f"{here}?{urlencode(period)}" if is_later else None,
        status=status,
    )


def _sums(found: _Movements) -> Sums:
    return Sums(
        since=found.since,
        until=found.until,
        opening_nano=nano(found.opening_balance_usd),
        closing_nano=nano(found.closing_balance_usd),
        opening_debt_nano=nano(found.opening_debt_usd),
        closing_debt_nano=nano(found.closing_debt_usd),
    )


def _row(one: _Movement) -> MovementRow:
    return MovementRow(
        at=one.at,
        words=WORDS.get(one.kind, one.kind),
        reference=one.reference,
        change_nano=nano(one.balance_change_usd),
        debt_change_nano=nano(one.debt_change_usd),
        balance_nano=None if one.balance_usd is None else nano(one.balance_usd),
    )
