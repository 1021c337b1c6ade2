"""Shows an endpoint: state with its reason, how it served by span, cost, price and margin, and what may be done."""

from typing import ClassVar

import msgspec

from billing.money import NanoUSD, from_usd, to_usd
from router.api.in_process import OperationRefused
from router.statistics.read import Span
from web.answers import Crumb, Page
from web.faults import NotFound
from web.ops.account import DoneQuery
from web.ops.audit import ChangeRow, read_changes
from web.ops.providers import PROVIDERS, Endpoint, endpoint_id
from web.ops.write import OPERATIONS
from web.parts.tables import Column
from web.parts.times import moment
from web.request import PageRequest

SPANS: tuple[Span, ...] = ("24h", "7d", "30d")
HEAD = (
    Column("Span"),
    Column("Answered", "of attempts", is_number=True),
    Column("p50", "ms", is_number=True),
    Column("p95", "ms", is_number=True),
    Column("The provider's faults", is_number=True),
    Column("Customers' faults", is_number=True),
    Column("Ours", is_number=True),
)
# What may be done in which state, by the table of moves; the operation refuses the rest.
MOVES: dict[str, tuple[tuple[str, str], ...]] = {
    "draft": (("check", "Test it"), ("off", "Turn off")),
    "probing": (("check", "Test it"), ("off", "Turn off")),
    "live": (("check", "Test it"), ("drain", "Drain"), ("quarantine", "Quarantine")),
    "draining": (("resume", "Resume"), ("off", "Turn off")),
    "quarantined": (("check", "Test it"), ("probe", "Probe"), ("off", "Turn off")),
    "off": (("probe", "Probe"),),
}


class SpanRow(msgspec.Struct, frozen=True):
    """How it served in one span."""

    span: str
    answered: float | None
    p50_ms: float | None
    p95_ms: float | None
    providers: int
    customers: int
    ours: int


class EndpointPage(Page, frozen=True, kw_only=True):
    """An endpoint. ``margin_usd``: price less cost; None where no price is set."""

    template: ClassVar[str] = "ops/endpoint.html"

    endpoint: Endpoint
    spans: tuple[SpanRow, ...]
    head: tuple[Column, ...] = HEAD
    price_usd: str | None
    margin_usd: str | None
    verdict: str
    moves: tuple[tuple[str, str], ...]
    changes: tuple[ChangeRow, ...]
    is_done: bool = False


async def read_endpoint(request: PageRequest) -> Endpoint:
    """The endpoint of the path. Raises ``NotFound``."""
    try:
        known = {"endpoint_id": request.values["endpoint"]}
        return (await request.run("retrieve_endpoint", Endpoint, path=known)).value
    except OperationRefused as refused:
        if refused.status in (400, 404):
            raise NotFound from None
        raise


async def show(request: PageRequest) -> EndpointPage:
    """An endpoint with its figures."""
    query, reads = request.query_as(DoneQuery), request.context.reads
    endpoint = await read_endpoint(request)
    snapshot = await reads.statistics.snapshot(reads.db)
    known = endpoint_id(endpoint)
    statistics, check = snapshot.of(known), snapshot.checks.get(known)
    model = reads.catalog.get(endpoint.model)
    price = None if model is None else reads.prices.current(model.id, request.exchange.now)
    cost = from_usd(endpoint.cost_usd_per_mtok)
    changes, _ = await read_changes(request, {"subject": endpoint.id}, 10)
    rows = []
    for span in SPANS:
        total, latency = statistics.total(span), statistics.latency_ms
        shares = (statistics.availability(span), latency(span, 0.5), latency(span, 0.95))
        rows.append(SpanRow(span, *shares, total.providers, total.customers, total.ours))
    return EndpointPage(
        title=f"{endpoint.model} at {endpoint.provider_name}",
        crumbs=(
            OPERATIONS,
            PROVIDERS,
            Crumb(endpoint.provider_name, f"/ops/providers/{endpoint.provider}"),
            Crumb(endpoint.model),
        ),
        endpoint=endpoint,
        spans=tuple(rows),
        price_usd=None if price is None else to_usd(price.nano_per_mtok),
        margin_usd=None if price is None else to_usd(NanoUSD(price.nano_per_mtok - cost)),
        verdict="" if check is None else f"{check.verdict.replace('_', ' ')}, {moment(check.at, request.viewer.zone)}",
        moves=MOVES.get(endpoint.state, ()),
        changes=changes,
        is_done=query.done,
    )
