"""The catalogue: every model in one table that is filtered, sorted, and kept as an address.

The rows are this process's memory, at most a second old (:mod:`router.catalogue.memory`); the page says as of when the
figures are.
"""

import asyncio
from collections.abc import Iterable
from datetime import datetime
from typing import ClassVar, Literal, TypeAlias
from urllib.parse import urlencode

import msgspec

from catalog.verdict import Chip
from router.catalogue.filters import STANDINGS, CatalogueFilter, in_order, matching
from router.catalogue.memory import Listing
from router.catalogue.readers import read_unlike_keys
from router.catalogue.values import CatalogueRow
from router.usable_models import is_usable
from store.ids import ModelId
from web.answers import Crumb, Page
from web.parts.tables import Column, Sorting, sorting
from web.request import PageRequest
from web.route import BUILDERS

HEAD = (
    Column("Model", key="model"),
    Column("Status", key="status"),
    Column("License", key="license"),
    Column("List price", "$ per 1M tokens", is_number=True, key="price"),
    Column("Batch", "$ per 1M tokens", is_number=True, key="batch"),
    Column("Dimensions", "↓ shortens", is_number=True, key="dims"),
    Column("Input", "tokens", is_number=True, key="input"),
    Column("Languages", key="languages"),
    Column("Parameters", is_number=True, key="size"),
    Column("Benchmark", "score", is_number=True, key="score"),
    Column("p50", "ms, 24 h", is_number=True, key="p50"),
    Column("Available", "7 days", is_number=True, key="availability"),
    Column("Providers", is_number=True, key="providers"),
    Column("Votes", is_number=True, key="votes"),
)
# fmt: off
Sort: TypeAlias = Literal[
    "model", "-model", "status", "-status", "price", "-price", "batch", "-batch", "dims", "-dims", "input",
    "-input", "languages", "-languages", "size", "-size", "score", "-score", "p50", "-p50", "availability",
    "-availability", "providers", "-providers", "license", "-license", "votes", "-votes",
]
# fmt: on


class ModelsQuery(CatalogueFilter, frozen=True, kw_only=True):
    """What the address says: filters, order, and ``m``: models that are ticked to compare.

    ``mine``: what a key of the reader may call now; of who is no member of an account, nothing.
    """

    sort: Sort = "model"
    mine: bool = False
    m: tuple[str, ...] = ()


class Choice(msgspec.Struct, frozen=True):
    """A value of a filter, in words."""

    value: str
    words: str
    is_chosen: bool


class ModelsPage(Page, frozen=True, kw_only=True):
    """The table with its filters. ``is_filtered``: the address asks for less than all."""

    template: ClassVar[str] = "public/models.html"

    query: ModelsQuery
    head: tuple[Column, ...]
    sort: Sorting
    rows: tuple[CatalogueRow, ...]
    total: int
    statuses: tuple[Choice, ...]
    licenses: tuple[Choice, ...]
    owners: tuple[str, ...]
    providers: tuple[str, ...]
    regions: tuple[str, ...]
    is_filtered: bool
    has_accounts: bool
    twins: tuple[tuple[str, str], ...]
    made_at: datetime
    figures_as_of: datetime | None
    are_figures_late: bool
    benchmarks: tuple[str, ...]


async def show(request: PageRequest) -> ModelsPage:
    """List the models that the address asks for."""
    query = request.query_as(ModelsQuery)
    listing = await listing_of(request)
    order = sorting(request.path, request.query, query.sort)
    rows = await rows_for(request, query, listing)
    return ModelsPage(
        title="Models",
        description="Text embedding models with prices, dimensions, languages, figures and what their licenses permit.",
        canonical="/models",
        crumbs=(Crumb("Models"),),
        query=query,
        head=HEAD,
        sort=order,
        rows=rows,
        total=len(listing.rows),
        statuses=tuple(Choice(one, STANDINGS[one].value, one in query.status) for one in STANDINGS),
        licenses=tuple(Choice(chip.kind, chip.value, chip.kind in query.license) for chip in Chip),
        owners=_present(row.owner for row in listing.rows),
        providers=_present(name for row in listing.rows for name in row.providers),
        regions=_present(name for row in listing.rows for name in row.regions),
        is_filtered=bool(order.query),
        has_accounts=any(one.role in BUILDERS for one in request.viewer.memberships),
        twins=tuple((name, f"/models.{name}{search_of(request)}") for name in ("json", "csv", "atom")),
        made_at=listing.made_at,
        figures_as_of=listing.figures_as_of,
        are_figures_late=listing.are_figures_late,
        benchmarks=_present(
            f"{row.benchmark.name} ({row.benchmark.source}, {row.benchmark.stated_on.isoformat()})"
            for row in rows
            if row.benchmark is not None
        ),
    )


async def listing_of(request: PageRequest) -> Listing:
    """All rows, at most a second old."""
    context = request.context.reads
    statistics = await context.statistics.known(context.db)
    return context.catalogue_rows.listing(
        context.catalog, context.prices, context.endpoints, statistics, request.exchange.now
    )


async def rows_for(request: PageRequest, query: ModelsQuery, listing: Listing) -> tuple[CatalogueRow, ...]:
    """The rows that the address asks for, in its order."""
    rows = matching(listing.rows, query)
    if query.mine:
        usable = await _callable(request)
        rows = [row for row in rows if row.id in usable]
    return in_order(rows, query.sort.removeprefix("-"), is_down=query.sort.startswith("-"))


async def _callable(request: PageRequest) -> frozenset[ModelId]:
    """The models that a call by a key of the reader would be served with, as ``/v1/models`` says it of each key."""
    context, now = request.context.reads, request.exchange.now
    accounts = [one.account_id for one in request.viewer.memberships if one.role in BUILDERS]
    async with context.db.transaction() as connection:
        ids = await read_unlike_keys(connection, accounts, now)
    keys = [key for key in map(context.keys.get, ids) if key is not None and not key.paused]
    now_s = asyncio.get_running_loop().time()
    return frozenset(
        model.id for model in context.catalog.all() if any(is_usable(model, key, context, now, now_s) for key in keys)
    )


def _present(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(values)))


def search_of(request: PageRequest) -> str:
    """What the address asks for, as it stands in another one."""
    return f"?{urlencode(request.query)}" if request.query else ""
