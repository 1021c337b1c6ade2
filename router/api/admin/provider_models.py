"""``/admin/v1/providers/{id}/discover`` and ``/models``: which models a provider has, and drafts of those chosen."""

import asyncio
from typing import ClassVar, Literal

import msgspec
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.money import NanoUSD
from catalog import models as catalog_models
from catalog import values
from catalog.errors import ModelUnknown
from catalog.models import Catalog
from catalog.values import Model
from providers.litellm import price_map
from providers.litellm.price_map import PriceMap
from providers.model_list import ListedModel
from providers.protocol import ProviderKind
from router.api.admin.check_reports import StepOut, UpstreamOut
from router.api.admin.references import model_of, provider_of
from router.api.admin.request import Read, Write, refusal_of
from router.api.fields import EndpointIdText, ModelRef, ProviderIdText, ProviderRef, Usd, UsdNotNegative
from router.api.forms import Answer, Body, Form, answer_of
from router.api.operation import OPS, V1, Operations
from router.changes.transaction import UnitOfWork
from router.errors import InvalidRequest, NotFound, Refusal
from router.manifest.found_models import FoundModel, list_of_vendor, propose
from router.manifest.litellm_import import known_facts
from router.registry.endpoints import check_upstream_model, list_endpoints, register_endpoint
from router.registry.indexes import ProviderRecord
from router.registry.models import add_model
from router.registry.providers import ProviderView, load_provider_record
from router.registry.specs import EndpointSpec
from router.values import Endpoint, EndpointState
from router.verification.check_report import CheckReport
from router.verification.model_list import list_provider_models
from store.ids import ModelId

operations = Operations("providers", f"{V1}/providers")
ONE = "/{provider_id}"
# So many models are answered; whoever has more sells chat models and does not say so.
FOUND_MAX = 1_000
ADDED_MAX = 100


class FoundModelOut(Answer):
    """A model at the provider, and what is proposed for it; each fact with its source or ``unknown``."""

    columns: ClassVar[tuple[str, ...]] = (
        *("upstream_model", "model", "new_model", "state", "cost_usd_per_mtok", "dimensions", "max_input_tokens"),
        "notes",
    )

    upstream_model: str = Field(description="The provider's name of it.")
    model: str | None = Field(
        description="The catalogue's id of it; null: the catalogue has none that is known to be it."
    )
    matched_by: str = Field(description="How that is known.")
    new_model: str | None = Field(description="The id under which it could be added to the catalogue.")
    endpoint: EndpointIdText | None = Field(description="The endpoint that it has here already.")
    state: EndpointState | None = Field(description="Where that endpoint stands.")
    is_embedding: bool | None = Field(description="Whether it makes vectors; null: nobody says so.")
    cost_usd_per_mtok: Usd | None = Field(description="What the provider would charge us, in USD per million tokens.")
    cost_source: str
    dimensions: int | None
    dimensions_source: str
    max_input_tokens: int | None
    max_input_tokens_source: str
    notes: tuple[str, ...] = Field(description="Where sources differ, and what else to know.")


class DiscoveryOut(Answer):
    """What the provider has. Nothing was written."""

    columns: ClassVar[tuple[str, ...]] = ("provider", "passed", "reason", "advice", "models")

    provider: ProviderIdText
    provider_name: str
    passed: bool = Field(description="Whether the list came.")
    reason: str = Field(description="Why not.")
    advice: str = Field(description="The setting that would help; empty where none is known.")
    steps: tuple[StepOut, ...]
    upstream: UpstreamOut | None = Field(description="The call that decided; null where nothing was sent.")
    source: str = Field(description="Whose list it is.")
    models: tuple[FoundModelOut, ...]
    others: int = Field(description="How many more it has that make no vectors, which are left out.")
    more: int = Field(description="How many more it has than are in this answer.")
    object: Literal["provider_models"] = "provider_models"


class ChosenModel(Form):
    """A model to serve from this provider. With ``dimensions`` and ``max_input_tokens`` the catalogue gets it, too."""

    upstream_model: str = Field(description="The provider's name of it.")
    model: ModelRef = Field(description="The catalogue's id of it or an alias, or the id to add it under.")
    cost_usd_per_mtok: UsdNotNegative = Field(
        NanoUSD(0), description="What the provider charges us, in USD per million tokens. 0: not known yet."
    )
    dimensions: int | None = Field(None, description="Of a model that the catalogue lacks: the width of its vectors.")
    max_input_tokens: int | None = Field(
        None, description="Of a model that the catalogue lacks: the most tokens of one input."
    )


class ModelsChosen(Body):
    """The models to serve, all or none of which get an endpoint."""

    models: tuple[ChosenModel, ...] = Field(description="One or more.", min_length=1, max_length=ADDED_MAX)


class AddedEndpoint(Answer):
    """A draft that was registered."""

    id: EndpointIdText
    model: str
    upstream_model: str
    cost_usd_per_mtok: Usd
    is_new_model: bool = Field(description="Whether the catalogue got the model by this.")


class AddedOut(Answer):
    """What was registered; nothing of it gets traffic before it is tested."""

    provider: ProviderIdText
    provider_name: str
    endpoints: tuple[AddedEndpoint, ...]
    object: Literal["provider_endpoints"] = "provider_endpoints"


class _Known(msgspec.Struct, frozen=True):
    view: ProviderView
    record: ProviderRecord
    catalog: Catalog
    endpoints: list[Endpoint]


@operations.post(
    f"{ONE}/discover", verb="discover", name="discover_provider_models", summary="Ask which models it has", roles=OPS
)
async def discover(admin: Read, provider_id: ProviderRef) -> DiscoveryOut:
    """Ask a provider for its list of models, and propose an endpoint for each; nothing is written.

    A vendor that litellm calls is looked up in litellm's price map. A model is the catalogue's by its id or alias, by
    the name that another provider has for it, or where litellm's names are known to be one model.
    """

    async def find(connection: AsyncConnection) -> _Known:
        view = await provider_of(connection, provider_id)
        endpoints = [one.endpoint for one in await list_endpoints(connection)]
        record = await load_provider_record(connection, view.id)
        return _Known(view, record, await catalog_models.load(connection), endpoints)

    known = await admin.read(find)
    prices = await asyncio.to_thread(_price_map)
    if known.record.kind == ProviderKind.LITELLM:
        if prices is None:
            raise InvalidRequest("litellm is not installed here, so its price map cannot be read.", param="provider_id")
        listed = list_of_vendor(known.record, prices, admin.exchange.now.date())
        return _out(known, CheckReport(True, "", ()), listed, prices, f"LiteLLM {prices.release}'s price map")
    async with admin.context.speaking_to(known.record) as provider:
        report, answered = await list_provider_models(known.record, provider)
    if report.passed and answered is None:
        raise InvalidRequest(f"A provider of kind {known.record.kind} has no list of models.", param="provider_id")
    return _out(known, report, answered or (), prices, "the provider's list")


@operations.post(
    f"{ONE}/models",
    verb="add-models",
    name="add_provider_models",
    summary="Register chosen models",
    roles=OPS,
)
async def add(admin: Write, provider_id: ProviderRef, body: ModelsChosen) -> AddedOut:
    """Register an endpoint for each model, as a draft; all or none. A model that the catalogue lacks is added, too."""

    async def command(work: UnitOfWork) -> AddedOut:
        view = await provider_of(work.connection, provider_id)
        added = [await _add(work, view, place, chosen) for place, chosen in enumerate(body.models)]
        return AddedOut(provider=view.id, provider_name=view.name, endpoints=tuple(added))

    return await admin.change(command)


async def _add(work: UnitOfWork, view: ProviderView, place: int, chosen: ChosenModel) -> AddedEndpoint:
    """Register one of the chosen; a refusal names it."""
    try:
        check_upstream_model(chosen.upstream_model)
        is_new = chosen.dimensions is not None and chosen.max_input_tokens is not None
        model = await _new_model(work, view, chosen) if is_new else await model_of(work.connection, chosen.model)
        spec = EndpointSpec(chosen.upstream_model, cost_nano_per_mtok=chosen.cost_usd_per_mtok)
        endpoint = await register_endpoint(work, model, view.id, spec)
    except ModelUnknown as unknown:
        said = f"{refusal_of(unknown).message} To add it, give its dimensions and its max_input_tokens."
        raise NotFound(said, param=f"models[{place}].model") from unknown
    except Refusal as refused:
        field = {"cost": "cost_usd_per_mtok", "id": "model"}.get(refused.param or "", refused.param or "model")
        refused.param = f"models[{place}].{field}"
        raise
    return answer_of(AddedEndpoint, endpoint, model=endpoint.model_id, is_new_model=is_new)


async def _new_model(work: UnitOfWork, view: ProviderView, chosen: ChosenModel) -> Model:
    width, length = chosen.dimensions, chosen.max_input_tokens
    assert width is not None, "only a model with a width is added; this is a bug"
    assert length is not None, "only a model with a length is added; this is a bug"
    facts = values.ModelFacts(
        id=ModelId(chosen.model),
        owned_by=chosen.model.partition("/")[0],
        summary=f"{chosen.upstream_model} at {view.name}: {width} dimensions, up to {length} tokens an input.",
        published_on=None,
        dimensions=width,
        max_input_tokens=length,
        normalized=False,
        note=f"Found at {view.name}. Pooling, normalization, tokenizer, license and day of publication are not known.",
    )
    return await add_model(work, facts)


def _price_map() -> PriceMap | None:
    try:
        return price_map.read()
    except FileNotFoundError:
        return None


def _out(
    known: _Known, report: CheckReport, listed: tuple[ListedModel, ...], prices: PriceMap | None, source: str
) -> DiscoveryOut:
    found = propose(known.record, listed, known.catalog, known.endpoints, prices, known_facts())
    vectors = [one for one in found if one.is_embedding is not False]
    return DiscoveryOut(
        provider=known.view.id,
        provider_name=known.view.name,
        passed=report.passed,
        reason=report.reason,
        advice=report.advice,
        steps=tuple(answer_of(StepOut, step, said=step.detail) for step in report.steps),
        upstream=None if report.upstream is None else answer_of(UpstreamOut, report.upstream),
        source=source,
        models=tuple(_found_out(one) for one in vectors[:FOUND_MAX]),
        others=len(found) - len(vectors),
        more=max(0, len(vectors) - FOUND_MAX),
    )


def _found_out(found: FoundModel) -> FoundModelOut:
    cost = found.cost.value
    return answer_of(
        FoundModelOut,
        found,
        cost_usd_per_mtok=None if cost is None else NanoUSD(cost),
        cost_source=found.cost.source,
        dimensions=found.dimensions.value,
        dimensions_source=found.dimensions.source,
        max_input_tokens=found.max_input_tokens.value,
        max_input_tokens_source=found.max_input_tokens.source,
    )
