"""Lists providers with their endpoints: state, errors, p95, cost. What breakers are open, only serve processes know."""

from datetime import datetime
from typing import ClassVar

import msgspec

from router.statistics.counts import Counts
from router.statistics.read import EndpointStatistics, Span
from store.ids import EndpointId, parse, wire
from web.answers import Crumb, Page
from web.ops.lists import Listed, all_of, cursor_of, next_page
from web.ops.write import OPERATIONS
from web.parts.tables import Column
from web.request import PageRequest

PROVIDERS = Crumb("Providers", "/ops/providers")
SPAN: Span = "24h"
HEAD = (
    Column("Model"),
    Column("State"),
    Column("Answered", "of attempts, 24 hours", is_number=True),
    Column("p95", "ms, 24 hours", is_number=True),
    Column("Attempts", "24 hours", is_number=True),
    Column("Our cost", "USD per 1M tokens", is_number=True),
)


class Provider(msgspec.Struct, frozen=True):
    """A provider. ``credential``: the last four characters of ours."""

    id: str
    name: str
    kind: str
    base_url: str | None
    enabled: bool
    credential: str | None
    regions: list[str]
    collects_data: bool
    retention_days: int | None


class Endpoint(msgspec.Struct, frozen=True):
    """An endpoint as the operation answers it."""

    id: str
    model: str
    provider: str
    provider_name: str
    upstream_model: str
    state: str
    reason: str
    quarantine_cause: str | None
    cost_usd_per_mtok: str
    cost_source: str | None
    priority: int
    weight: int
    space: str


class Figures(msgspec.Struct, frozen=True):
    """How an endpoint served in the last day; None: too few calls to say."""

    answered: float | None
    p95_ms: float | None
    attempts: int

    @classmethod
    def of(cls, statistics: EndpointStatistics) -> "Figures":
        """The figures of all sizes of calls."""
        total: Counts = statistics.total(SPAN)
        attempts = total.answered + total.ours + total.providers + total.customers
        return cls(statistics.availability(SPAN), statistics.latency_ms(SPAN, 0.95), attempts)


class ProviderRow(msgspec.Struct, frozen=True):
    """A provider with its endpoints and their figures."""

    provider: Provider
    endpoints: tuple[tuple[Endpoint, Figures], ...]


class ProvidersPage(Page, frozen=True, kw_only=True):
    """The list. ``as_of``: until when the figures are known; ``is_late``: they say nothing of now."""

    template: ClassVar[str] = "ops/providers.html"

    rows: tuple[ProviderRow, ...]
    head: tuple[Column, ...] = HEAD
    as_of: datetime | None
    is_late: bool
    next_href: str | None


async def show(request: PageRequest) -> ProvidersPage:
    """All providers by name."""
    listed = (await request.run("list_providers", Listed[Provider], query=cursor_of(request, limit=100))).value
    endpoints = await all_of(request, "list_endpoints", Endpoint)
    snapshot = await request.context.reads.statistics.snapshot(request.context.reads.db)
    rows = [
        ProviderRow(
            provider,
            tuple((one, Figures.of(snapshot.of(endpoint_id(one)))) for one in endpoints if one.provider == provider.id),
        )
        for provider in listed.data
    ]
    return ProvidersPage(
        title="Providers",
        crumbs=(OPERATIONS, Crumb("Providers")),
        rows=tuple(rows),
        next_href=next_page(request, listed),
        as_of=snapshot.state.as_of,
        is_late=snapshot.state.is_late(request.exchange.now),
    )


def endpoint_id(endpoint: Endpoint) -> EndpointId:
    """The id of an endpoint as an operation answered it."""
    known = EndpointId(parse(EndpointId, endpoint.id))
    assert wire(EndpointId, known) == endpoint.id, "operations answer ids as they are; this is a bug"
    return known
