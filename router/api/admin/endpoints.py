"""``/admin/v1/endpoints``: one model at one provider. Only a live one gets traffic; an activation makes it that."""

from typing import Annotated, ClassVar, Literal

import msgspec
from fastapi import Query
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.money import NanoUSD
from billing.prices import list_prices
from router.admin.price_impact import measure_cost
from router.api.admin.check_reports import TestOut, run_test
from router.api.admin.price_impacts import ImpactOut, cost_impact
from router.api.admin.references import Lookups, model_id_of, model_of, provider_of
from router.api.admin.request import Command, Edit, Read, Write
from router.api.fields import EndpointIdText, Limit, ModelRef, ProviderIdText, ProviderRef, UsdNotNegative
from router.api.forms import (
    Body,
    Form,
    Page,
    PageQuery,
    Patch,
    Reason,
    Resource,
    answer_of,
    edited,
    struct_of,
)
from router.api.operation import ALL, OPS, V1, Operations
from router.changes.transaction import UnitOfWork
from router.manifest.cost_sources import cost_sources
from router.registry.costs import require_cost
from router.registry.endpoints import (
    EndpointView,
    edit_endpoint,
    get_endpoint,
    list_endpoints,
    move_manually,
    register_endpoint,
)
from router.registry.indexes import PriceIndex, ProviderRecord
from router.registry.providers import load_provider_record
from router.registry.specs import EndpointSpec
from router.values import Endpoint, EndpointState, QuarantineCause
from router.verification.check_report import CheckReport, OnChecked
from router.verification.endpoint_check import CheckRequest, check_endpoint
from store.ids import EndpointId, wire

operations = Operations("endpoints", f"{V1}/endpoints")
ONE = "/{endpoint_id}"
SERVING = (EndpointState.LIVE, EndpointState.DRAINING)


class EndpointFacts(Form):
    """What may be set. What the provider grants us is null where no limit is known."""

    cost_usd_per_mtok: UsdNotNegative = Field(NanoUSD(0), description="What it charges us, in USD per million tokens.")
    priority: int = Field(100, ge=0, le=1_000_000, description="Smaller goes first.")
    weight: int = Field(100, ge=1, le=10_000, description="Its share among those of the same priority and cost.")
    asks_base64: bool = Field(True, description="Whether it understands encoding_format base64.")
    native_input_type: bool = Field(False, description="Whether it has its own query and document.")
    numerics: str | None = Field(
        None, description="Class of its weights' numbers, such as bf16 or int8; null: as the model declares."
    )
    max_batch: Limit | None = Field(None, description="The most inputs in one attempt.")
    max_batch_tokens: Limit | None = Field(None, description="The most tokens in one attempt.")
    requests_per_minute: Limit | None = Field(None, description="Requests per minute that the provider grants us.")
    tokens_per_minute: Limit | None = Field(None, description="Tokens per minute that the provider grants us.")
    concurrency: Limit | None = Field(None, description="Attempts at once that the provider grants us.")


class EndpointCreate(EndpointFacts, Body):
    """A new endpoint, as a draft."""

    model: ModelRef = Field(description="The model, by id or alias.")
    provider: ProviderRef = Field(description="Who serves it, by id or name.")
    upstream_model: str | None = Field(None, description="The provider's name of the model, where it differs.")
    space: str | None = Field(None, description="The vector space that it claims; the model's by default.")


class EndpointEdit(EndpointFacts, Patch):
    """What is given is changed; null takes a limit away."""

    upstream_model: str = Field(description="The provider's name of the model.")
    allow_zero_cost: bool = Field(description="A cost of 0 at a provider with an account of ours is meant.")


class EndpointOut(EndpointFacts, Resource):
    """An endpoint."""

    volatile: ClassVar[frozenset[str]] = frozenset({"cost_source", "impact"})
    columns: ClassVar[tuple[str, ...]] = (
        "id",
        "model",
        "provider_name",
        "upstream_model",
        "state",
        "priority",
        "cost_usd_per_mtok",
        "reason",
    )

    id: EndpointIdText
    model: str
    provider: ProviderIdText
    provider_name: str
    upstream_model: str
    state: EndpointState
    reason: str = Field(description="Why it is in its state.")
    quarantine_cause: QuarantineCause | None = Field(
        description="Why it is quarantined, for programs; null in any other state."
    )
    space: str
    upstream_space: str | None
    cost_source: str | None = Field(description="Where an imported cost is from; null: ours.")
    impact: ImpactOut | None = Field(None, description="In a dry run of another cost: whose calls it touches.")
    object: Literal["endpoint"] = "endpoint"


class EndpointQuery(PageQuery):
    """Which endpoints."""

    model: ModelRef | None = Field(None, description="Those of this model, by id or alias.")
    provider: ProviderRef | None = Field(None, description="Those of this provider, by id or name.")
    state: EndpointState | None = Field(None, description="Those in this state.")


class EndpointActivation(Body):
    """What the test that puts it live may decide."""

    as_reference: str = Field(
        "",
        description="Why its vectors may be the space's reference from now on; empty: they are compared. While other "
        "endpoints serve the space, it has to agree with the reference that they are held to.",
    )
    replace: bool = Field(
        False, description="Be the reference though others serve by another one: they are out until they pass again."
    )
    allow_zero_cost: bool = Field(False, description="A cost of 0 at a provider with an account of ours is meant.")


class EndpointTest(EndpointActivation):
    """What the test may decide."""

    activate: bool = Field(False, description="Put it into traffic where it passes; without it nothing goes live.")


@operations.get("", verb="list", summary="List endpoints", roles=ALL)
async def list_(admin: Read, query: Annotated[EndpointQuery, Query()]) -> Page[EndpointOut]:
    """All endpoints, or those of a model, of a provider, in a state."""

    async def ask(connection: AsyncConnection) -> list[EndpointOut]:
        model = None if query.model is None else await model_id_of(connection, query.model)
        provider = None if query.provider is None else (await provider_of(connection, query.provider)).id
        found = [
            view
            for view in await list_endpoints(connection, model)
            if provider in (None, view.endpoint.provider_id) and query.state in (None, view.endpoint.state)
        ]
        return await _outs(connection, query.cut(found, lambda view: wire(EndpointId, view.endpoint.id)))

    return admin.page(query, await admin.read(ask), lambda row: wire(EndpointId, row.id))


@operations.post("", verb="create", summary="Register an endpoint", roles=OPS, status=201)
async def create(admin: Write, body: EndpointCreate) -> EndpointOut:
    """Register an endpoint, as a draft without traffic."""

    async def command(work: UnitOfWork) -> EndpointOut:
        lookups = Lookups()
        model = await lookups.find(model_of(work.connection, body.model))
        provider = await lookups.find(provider_of(work.connection, body.provider))
        lookups.refuse()
        assert model is not None, "a fault of a look-up is raised; this is a bug"
        assert provider is not None, "a fault of a look-up is raised; this is a bug"
        spec = struct_of(EndpointSpec, body, upstream_model=body.upstream_model or model.id)
        endpoint = await register_endpoint(work, model, provider.id, spec, space=body.space)
        return await _out(work.connection, endpoint.id)

    return await admin.change(command)


@operations.get(ONE, verb="show", summary="Retrieve an endpoint", roles=ALL)
async def retrieve(admin: Read, endpoint_id: EndpointIdText) -> EndpointOut:
    """One endpoint."""
    return await admin.read(lambda connection: _out(connection, endpoint_id))


@operations.patch(ONE, verb="edit", summary="Edit an endpoint", roles=OPS)
async def edit(admin: Edit, endpoint_id: EndpointIdText, body: EndpointEdit) -> EndpointOut:
    """Change what is given. A live endpoint keeps its upstream model.

    A dry run of another cost says whose calls it touches.

    Other numerics or input types take it out of traffic until it passes its probes, which are due at once. A cost of 0
    that may be forgotten is asked about: 409.
    """

    async def command(work: UnitOfWork) -> EndpointOut:
        before = (await get_endpoint(work.connection, endpoint_id, locked=True)).endpoint
        spec = edited(msgspec.convert(before, EndpointSpec, from_attributes=True), body)
        if before.cost_nano_per_mtok and before.state in SERVING:
            record = await load_provider_record(work.connection, before.provider_id)
            require_cost(spec.cost_nano_per_mtok, record, allowed=body.given().get("allow_zero_cost", False))
        await edit_endpoint(work, endpoint_id, spec)
        out = await _out(work.connection, endpoint_id)
        if not admin.dry_run or spec.cost_nano_per_mtok == before.cost_nano_per_mtok:
            return out
        return out.model_copy(update={"impact": await _impact(work, before, NanoUSD(spec.cost_nano_per_mtok))})

    return await _change(admin, endpoint_id, command)


def _moves(action: str, to: EndpointState, summary: str, description: str) -> None:
    """Declares one operation for one step of the table of moves."""

    async def move(admin: Write, endpoint_id: EndpointIdText, body: Reason) -> EndpointOut:
        async def command(work: UnitOfWork) -> EndpointOut:
            await move_manually(work, endpoint_id, to, body.reason)
            return await _out(work.connection, endpoint_id)

        return await _change(admin, endpoint_id, command)

    move.__doc__ = description
    operations.post(f"{ONE}/{action}", verb=action, summary=summary, roles=OPS)(move)


_moves("probe", EndpointState.PROBING, "Take it into probing", "It gets no traffic, and waits for its test.")
_moves("drain", EndpointState.DRAINING, "Let it finish", "It gets no new calls; those in flight end as they do.")
_moves("resume", EndpointState.LIVE, "Let a draining one go on", "It gets traffic again.")
_moves("quarantine", EndpointState.QUARANTINED, "Quarantine it", "It gets no traffic until it passes a test.")
_moves("off", EndpointState.OFF, "Turn it off", "It gets no traffic and is no candidate.")


@operations.post(f"{ONE}/test", verb="test", summary="Make real calls", roles=OPS)
async def try_(admin: Write, endpoint_id: EndpointIdText, body: EndpointTest) -> TestOut:
    """One call, each step told; then the probes. A draft that fails is quarantined; only `activate` puts it live.

    It is compared with the reference of its space; `as_reference` makes its own vectors that. A server that refuses
    base64 is asked for numbers, from then on. A dry run makes the calls and moves nothing. An endpoint has one test at
    a time: 409 while another runs.
    """
    return await _test(admin, endpoint_id, body, activates=body.activate)


@operations.post(f"{ONE}:activate", verb="activate", summary="Put it live by a test", roles=OPS)
async def activate(admin: Write, endpoint_id: EndpointIdText, body: EndpointActivation) -> TestOut:
    """Test it as `test` does, and put it into traffic where it passes. 409 asks about a cost of 0."""
    return await _test(admin, endpoint_id, body, activates=True)


async def _test(admin: Write, endpoint_id: EndpointId, body: EndpointActivation, *, activates: bool) -> TestOut:
    async def find(connection: AsyncConnection) -> ProviderRecord:
        return await load_provider_record(
            connection, (await get_endpoint(connection, endpoint_id)).endpoint.provider_id
        )

    async def test(on_checked: OnChecked) -> CheckReport:
        record = await admin.read(find)
        async with admin.context.speaking_to(record) as provider:
            return await check_endpoint(
                admin.context.db,
                admin.actor,
                endpoint_id,
                record,
                provider,
                CheckRequest(activates, body.allow_zero_cost, body.as_reference, body.replace, admin.dry_run),
                quota=admin.context.quota,
                speaking_to=admin.context.speaking_to,
                on_checked=on_checked,
            )

    return await run_test(admin, test)


async def _impact(work: UnitOfWork, before: Endpoint, cost: NanoUSD) -> ImpactOut:
    price = PriceIndex(await list_prices(work.connection)).current(before.model_id, work.now)
    return cost_impact(await measure_cost(work.connection, before, cost, work.now), before, cost, price)


async def _change(admin: Write, endpoint_id: EndpointId, command: Command[EndpointOut]) -> EndpointOut:
    async def current(work: UnitOfWork) -> EndpointOut:
        return await _out(work.connection, endpoint_id, locked=True)

    return await admin.change(command, current=current)


async def _out(connection: AsyncConnection, endpoint_id: EndpointId, *, locked: bool = False) -> EndpointOut:
    (resource,) = await _outs(connection, [await get_endpoint(connection, endpoint_id, locked=locked)])
    return resource


async def _outs(connection: AsyncConnection, views: list[EndpointView]) -> list[EndpointOut]:
    sources = await cost_sources(connection, [view.endpoint for view in views])
    return [
        answer_of(
            EndpointOut,
            view.endpoint,
            model=view.endpoint.model_id,
            provider=view.endpoint.provider_id,
            reason=view.reason,
            quarantine_cause=view.quarantine_cause,
            cost_source=sources.get(view.endpoint.id),
        )
        for view in views
    ]
