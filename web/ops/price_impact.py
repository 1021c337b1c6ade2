"""Lists all accounts that a list price would touch, by their last 30 days. Nothing is written."""

from collections.abc import Mapping
from typing import ClassVar

import msgspec

from router.api.in_process import OperationRefused
from web.answers import Crumb, Page
from web.forms import Form, form_of
from web.ops.impact import IMPACT_HEAD, ImpactRow
from web.ops.lists import Listed, cursor_of, next_page
from web.ops.prices import PRICES
from web.ops.write import OPERATIONS
from web.parts.tables import Column
from web.request import PageRequest

FIELDS = ("model", "usd_per_mtok", "batch_usd_per_mtok", "effective_at")


class ImpactQuery(msgspec.Struct, frozen=True):
    """Which price is imagined."""

    model: str = ""
    usd_per_mtok: str = ""
    batch_usd_per_mtok: str = ""
    effective_at: str = ""
    cursor: str = ""


class PriceImpactPage(Page, frozen=True, kw_only=True):
    """The form, and the accounts where a price was named. ``set_href``: where it can be set."""

    template: ClassVar[str] = "ops/price_impact.html"

    form: Form
    rows: list[ImpactRow] | None = None
    head: tuple[Column, ...] = IMPACT_HEAD
    next_href: str | None = None
    typed: Mapping[str, str] = {}


async def show(request: PageRequest) -> PriceImpactPage:
    """A page of accounts, the largest difference first."""
    query = request.query_as(ImpactQuery)
    typed = {name: getattr(query, name) for name in FIELDS if getattr(query, name)}
    form, rows, next_href, status = Form(typed), None, None, 200
    if typed:
        try:
            which = {**typed, **cursor_of(request, limit=50)}
            listed = (await request.run("list_price_impacts", Listed[ImpactRow], query=which)).value
            rows, next_href = listed.data, next_page(request, listed)
        except OperationRefused as refused:
            form, status = form_of(request, refused, typed=typed), refused.status
    return PriceImpactPage(
        title="Whom a price touches",
        crumbs=(OPERATIONS, PRICES, Crumb("Whom a price touches")),
        form=form,
        rows=rows,
        next_href=next_href,
        typed=typed,
        status=status,
    )
