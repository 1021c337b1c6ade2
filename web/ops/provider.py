"""Shows a provider and how far it is added: details, credential, test, models, cost and price, space, live.

Each step is read from what there is, so adding can be left and gone on with; the first that is not done is the next.
"""

from typing import ClassVar
from urllib.parse import urlencode

import msgspec

from billing.money import to_usd
from catalog.values import Model
from router.api.in_process import OperationRefused
from store.ids import ModelId
from web.answers import Crumb, Page
from web.faults import NotFound
from web.ops.account import DoneQuery
from web.ops.lists import all_of
from web.ops.providers import HEAD, PROVIDERS, Endpoint, Figures, Provider, endpoint_id
from web.ops.write import OPERATIONS
from web.parts.tables import Column
from web.request import PageRequest

# What was tested and passed; a draft was not.
CHECKED = ("live", "draining")


class Step(msgspec.Struct, frozen=True):
    """A step of adding: what there is, and where it is done."""

    name: str
    is_done: bool
    detail: str
    href: str
    action: str


class ProviderPage(Page, frozen=True, kw_only=True):
    """A provider."""

    template: ClassVar[str] = "ops/provider.html"

    provider: Provider
    steps: tuple[Step, ...]
    endpoints: tuple[tuple[Endpoint, Figures], ...]
    head: tuple[Column, ...] = HEAD
    is_done: bool = False

    @property
    def next_step(self) -> Step | None:
        """The first that is not done; None: it serves."""
        return next((step for step in self.steps if not step.is_done), None)


async def read_provider(request: PageRequest) -> Provider:
    """The provider of the path. Raises ``NotFound``."""
    try:
        known = {"provider_id": request.values["provider"]}
        return (await request.run("retrieve_provider", Provider, path=known)).value
    except OperationRefused as refused:
        if refused.status == 404:
            raise NotFound from None
        raise


async def show(request: PageRequest) -> ProviderPage:
    """A provider with its steps and endpoints."""
    query = request.query_as(DoneQuery)
    provider = await read_provider(request)
    endpoints = await all_of(request, "list_endpoints", Endpoint, {"provider": provider.id})
    snapshot = await request.context.reads.statistics.snapshot(request.context.reads.db)
    return ProviderPage(
        title=provider.name,
        crumbs=(OPERATIONS, PROVIDERS, Crumb(provider.name)),
        provider=provider,
        steps=tuple(_steps(request, provider, endpoints)),
        endpoints=tuple((one, Figures.of(snapshot.of(endpoint_id(one)))) for one in endpoints),
        is_done=query.done,
    )


def _steps(request: PageRequest, provider: Provider, endpoints: list[Endpoint]) -> list[Step]:
    base, reads = f"/ops/providers/{provider.id}", request.context.reads
    drafts = [one for one in endpoints if one.state not in CHECKED]
    waiting = drafts[0] if drafts and len(drafts) == len(endpoints) else (endpoints[0] if endpoints else None)
    new_endpoint = f"/ops/endpoints/new?provider={provider.name}"
    model = None if waiting is None else reads.catalog.get(waiting.model)
    is_checked = any(one.state in CHECKED for one in endpoints)
    endpoint_href = new_endpoint if waiting is None else f"/ops/endpoints/{waiting.id}"
    return [
        Step("Details", True, f"{provider.kind}, {provider.base_url or 'no address'}", f"{base}/edit", "Edit"),
        Step(
            "Credential",
            provider.credential is not None or provider.kind == "worker",
            provider.credential or "none",
            f"{base}/credential",
            "Set the credential",
        ),
        Step("Test", is_checked, "One real call, each step told.", f"{base}/test", f"Test {provider.name}"),
        Step("Models", bool(endpoints), f"{len(endpoints)} registered", f"{base}/models", "Find its models"),
        _price_step(request, endpoints, waiting),
        Step(
            "Space check",
            is_checked,
            "Its vectors are compared with the reference of the model's space.",
            f"{endpoint_href}/check" if waiting is not None else new_endpoint,
            "Check",
        ),
        Step("Live", any(one.state == "live" for one in endpoints), _status(model), endpoint_href, "Go live"),
    ]


def _price_step(request: PageRequest, endpoints: list[Endpoint], waiting: Endpoint | None) -> Step:
    """The cost and the price of the first endpoint whose model has none, else of the one that is added."""
    reads, now = request.context.reads, request.exchange.now
    prices = {one.id: reads.prices.current(ModelId(one.model), now) for one in endpoints}
    unpriced = [one for one in endpoints if prices[one.id] is None]
    one = unpriced[0] if unpriced else waiting
    if one is None:
        return Step("Cost and price", False, "price not set", "/ops/prices", "Set the price")
    price = prices[one.id]
    said = f"our cost {one.cost_usd_per_mtok}, price {'not set' if price is None else to_usd(price.nano_per_mtok)}"
    if len(unpriced) > 1:
        said += f"; {len(unpriced)} models have no price"
    href = f"/ops/prices/new?{urlencode({'model': one.model})}"
    return Step("Cost and price", not unpriced, said, href, f"Set the price of {one.model}")


def _status(model: Model | None) -> str:
    return "" if model is None else f"{model.id} is {model.status.value.replace('_', ' ')}"
