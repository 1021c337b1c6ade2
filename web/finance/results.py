"""Shows a month's margin by model and provider, and its deferred revenue: the closing papers on what is earned.

They are the papers' own tables, before the close as of now, so that both pages show the same figures.
"""

import re
from datetime import UTC, datetime
from typing import ClassVar

import msgspec

from web.answers import Crumb, Page
from web.faults import InvalidInput
from web.finance.close import Paper, paper_of, read_month
from web.finance.listing import FINANCE
from web.forms import Form
from web.request import PageRequest

MONTHS = 24
SHOWN = ("margin_by_model_and_provider", "deferred_revenue", "deferred_revenue_by_age")


class MonthQuery(msgspec.Struct, frozen=True):
    """``month``: such as 2026-11; by default the one that runs."""

    month: str = ""


class ResultsPage(Page, frozen=True, kw_only=True):
    """What a month earned."""

    template: ClassVar[str] = "finance/results.html"

    month: str
    is_final: bool
    months: tuple[tuple[str, str], ...]
    form: Form
    faults: tuple[str, ...]
    papers: tuple[Paper, ...]


async def show(request: PageRequest) -> ResultsPage:
    """The month of the address, or this one."""
    months = _months(request.exchange.now)
    month = request.query_as(MonthQuery).month or months[0]
    if re.fullmatch(r"[0-9]{4}-(0[1-9]|1[0-2])", month) is None or month > months[0]:
        raise InvalidInput("The month is one such as 2026-11, and has begun.", "month")
    found = await read_month(request, month, SHOWN)
    base = f"/finance/close/{month}"
    return ResultsPage(
        title=f"Margin and deferred revenue of {month}",
        crumbs=(FINANCE, Crumb("Margin and deferred revenue")),
        month=month,
        is_final=found.is_final,
        months=tuple((one, one) for one in months),
        form=Form({"month": month}),
        faults=tuple(found.faults),
        papers=tuple(paper_of(table, base) for table in found.tables),
    )


def _months(now: datetime) -> list[str]:
    day = now.astimezone(UTC)
    last = day.year * 12 + day.month - 1
    return [f"{month // 12:04d}-{month % 12 + 1:02d}" for month in range(last, last - MONTHS, -1)]
