"""Shows what everything costs: list prices as they are in force now, and the rules by which tokens become money."""

from typing import ClassVar
from urllib.parse import quote

import msgspec

from catalog.values import Status
from web.answers import Crumb, Page
from web.parts.tables import Column
from web.request import PageRequest

HEAD = (
    Column("Model"),
    Column("List price", "USD per 1M tokens", is_number=True),
    Column("Batch price", "USD per 1M tokens", is_number=True),
)


class PriceRow(msgspec.Struct, frozen=True):
    """A model that is sold. ``batch_nano``: None where batch calls pay the list price."""

    id: str
    href: str
    nano: int
    batch_nano: int | None = None


class PricingPage(Page, frozen=True, kw_only=True):
    """All list prices."""

    template: ClassVar[str] = "public/pricing.html"

    head: tuple[Column, ...]
    rows: tuple[PriceRow, ...]
    announced: int


async def show(request: PageRequest) -> PricingPage:
    """The prices of models that are sold, the cheapest first."""
    context, now = request.context.reads, request.exchange.now
    models = context.catalog.all()
    sold = [model for model in models if model.status in (Status.LIVE, Status.DEPRECATED)]
    priced = [(model, price) for model in sold if (price := context.prices.current(model.id, now)) is not None]
    rows = [
        PriceRow(model.id, f"/models/{quote(model.id)}", price.nano_per_mtok, price.batch_nano_per_mtok)
        for model, price in priced
    ]
    return PricingPage(
        title="Pricing",
        description="What each model costs per million tokens, and how tokens are counted.",
        canonical="/pricing",
        crumbs=(Crumb("Pricing"),),
        head=HEAD,
        rows=tuple(sorted(rows, key=lambda row: (row.nano, row.id))),
        announced=sum(model.status is Status.COMING_SOON for model in models),
    )
