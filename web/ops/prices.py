"""Lists prices past, present and to come, and sets one from an instant on."""

from datetime import datetime
from typing import ClassVar

import msgspec

from router.api.in_process import OperationRefused
from web.answers import Crumb, Page
from web.forms import Form, form_of
from web.ops.lists import Listed, cursor_of, next_page
from web.ops.write import OPERATIONS, Field, Write
from web.parts.tables import Column
from web.request import PageRequest

PRICES = Crumb("Prices", "/ops/prices")
HEAD = (
    Column("Model"),
    Column("Price", "USD per 1M tokens", is_number=True),
    Column("Batch", "USD per 1M tokens", is_number=True),
    Column("From"),
    Column("Now"),
)


class PricesQuery(msgspec.Struct, frozen=True):
    """``done``: one was set a moment ago."""

    model: str = ""
    cursor: str = ""
    done: bool = False


class PriceRow(msgspec.Struct, frozen=True):
    """A price."""

    id: str
    model: str
    usd_per_mtok: str
    batch_usd_per_mtok: str | None
    effective_at: datetime
    in_force: bool


class PricesPage(Page, frozen=True, kw_only=True):
    """The list. ``unpriced``: models that are live or near, and have no price."""

    template: ClassVar[str] = "ops/prices.html"

    rows: list[PriceRow]
    head: tuple[Column, ...] = HEAD
    next_href: str | None
    form: Form
    unpriced: tuple[str, ...]
    now: datetime
    is_done: bool = False


async def show(request: PageRequest) -> PricesPage:
    """A page of prices, of a model or of all."""
    query, reads, now = request.query_as(PricesQuery), request.context.reads, request.exchange.now
    typed = {"model": query.model} if query.model else {}
    form, rows, next_href, status = Form(typed), list[PriceRow](), None, 200
    try:
        which = {**typed, **cursor_of(request, limit=50)}
        listed = (await request.run("list_prices", Listed[PriceRow], query=which)).value
        rows, next_href = listed.data, next_page(request, listed)
    except OperationRefused as refused:
        form, status = form_of(request, refused, typed=typed), refused.status
    return PricesPage(
        title="Prices",
        crumbs=(OPERATIONS, Crumb("Prices")),
        rows=rows,
        next_href=next_href,
        form=form,
        unpriced=tuple(
            model.id
            for model in reads.catalog.all()
            if reads.endpoints.of_model(model) and reads.prices.current(model.id, now) is None
        ),
        now=now,
        is_done=query.done,
        status=status,
    )


SET = Write(
    operation="create_price",
    verb="Set the price of",
    noun="a model",
    name="model",
    explanation="From an instant on; calls that were made keep theirs, and those in flight theirs.",
    fields=(
        Field(name="model", label="Model", hint="By id or alias.", is_required=True),
        Field(name="usd_per_mtok", label="Price, USD per 1M tokens", hint="Such as 0.008.", is_required=True),
        Field(name="batch_usd_per_mtok", label="Batch price, USD per 1M tokens", hint="Empty: no discount there."),
        Field(name="effective_at", label="From", hint="Such as 2027-01-31T00:00:00Z; empty: from now."),
        Field(name="note", label="Reason", kind="area", hint="For whoever reads the audit."),
    ),
    names={
        "model": "Model",
        "usd_per_mtok": "Price, USD per 1M tokens",
        "batch_usd_per_mtok": "Batch price",
        "effective_at": "From",
    },
    back="/ops/prices",
    crumbs=(OPERATIONS, PRICES),
    touches="/ops/prices/impact",
    touches_by=("model", "usd_per_mtok", "batch_usd_per_mtok", "effective_at"),
)
