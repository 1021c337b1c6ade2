"""The list of models that anyone may read, from this process's memory of the catalogue, as ``/v1/models`` has it."""

from datetime import datetime
from typing import ClassVar, Literal

import msgspec

from catalog.values import Model
from router.context import RouterContext
from web.answers import Crumb, Page
from web.parts.tables import Column, Sorting, sorting
from web.request import PageRequest

HEAD = (
    Column("Model", key="id"),
    Column("Status", key="status"),
    Column("List price", "USD per 1M tokens", is_number=True, key="price"),
    Column("Dimensions", is_number=True, key="dimensions"),
    Column("Input", "tokens", is_number=True, key="input"),
)


class ModelsQuery(msgspec.Struct, frozen=True):
    """What the address says."""

    q: str = ""
    sort: Literal[
        "id", "-id", "status", "-status", "price", "-price", "dimensions", "-dimensions", "input", "-input"
    ] = "id"


class ModelRow(msgspec.Struct, frozen=True):
    """A model in the list. ``price_nano``: None where it is not set."""

    id: str
    owner: str
    status: str
    price_nano: int | None
    is_estimate: bool
    dimensions: int
    max_input_tokens: int


class ModelsPage(Page, frozen=True, kw_only=True):
    """The list."""

    template: ClassVar[str] = "public/models.html"

    q: str
    head: tuple[Column, ...]
    sort: Sorting
    rows: tuple[ModelRow, ...]
    total: int


async def show(request: PageRequest) -> ModelsPage:
    """List the models that the address asks for."""
    query, context = request.query_as(ModelsQuery), request.context.reads
    models = context.catalog.all()
    wanted = query.q.casefold()
    rows = [_row(model, context, request.exchange.now) for model in models if wanted in model.id.casefold()]
    order = sorting(request.path, request.query, query.sort)
    return ModelsPage(
        title="Models",
        description="Text embedding models with prices, dimensions and licenses.",
        canonical="/models",
        crumbs=(Crumb("Models"),),
        q=query.q,
        head=HEAD,
        sort=order,
        rows=_sorted(rows, order),
        total=len(models),
    )


def _row(model: Model, context: RouterContext, now: datetime) -> ModelRow:
    price = context.prices.current(model.id, now)
    return ModelRow(
        id=model.id,
        owner=model.owned_by,
        status=model.status.value.replace("_", " "),
        price_nano=price.nano_per_mtok if price is not None else model.estimated_nano_per_mtok,
        is_estimate=price is None,
        dimensions=model.dimensions,
        max_input_tokens=model.max_input_tokens,
    )


def _sorted(rows: list[ModelRow], order: Sorting) -> tuple[ModelRow, ...]:
    """The rows in order; what is not known comes last in both directions."""
    field = {"price": "price_nano", "input": "max_input_tokens"}.get(order.by, order.by)
    known = [row for row in rows if getattr(row, field) is not None]
    unknown = [row for row in rows if getattr(row, field) is None]
    return (*sorted(known, key=lambda row: (getattr(row, field), row.id), reverse=order.is_down), *unknown)
