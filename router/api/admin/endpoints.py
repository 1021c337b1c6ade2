"""``/admin/v1/endpoints``: one model at one provider. Only a live one gets traffic; a test makes it that."""

import msgspec
from fastapi import APIRouter, Request, Response
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.money import to_usd
from catalog import models
from router.api.admin.bodies import Reason, edit_of
from router.api.admin.check_reports import TestOut, tested
from router.api.admin.mutation import Current, Made, actor_of, change, is_dry_run
from router.api.admin.operation import acts, edits, lists, makes, shows
from router.api.admin.parsing import (
    V1,
    body_of,
    context_of,
    given_id,
    given_in,
    id_of,
    query_of,
    read,
    speaking_to,
    usd_of,
)
from router.api.admin.responses import Resource, listed, one, page, slice_of
from router.changes.transaction import UnitOfWork
from router.manifest.cost_sources import cost_sources
from router.registry.endpoints import (
    EndpointView,
    edit_endpoint,
    get_endpoint,
    list_endpoints,
    move_by_hand,
    register_endpoint,
)
from router.registry.indexes import ProviderRecord
from router.registry.providers import provider_records
from router.values import EndpointSpec, EndpointState
from router.verification.endpoint_check import Ending, Report, try_endpoint
from store.ids import EndpointId, ModelId, ProviderId, wire

operations = APIRouter()
PATH = f"{V1}/endpoints"
TAG = "Endpoints"


class EndpointFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What may be set. What the provider grants us is null where no limit is known."""

    cost_usd_per_mtok: str = "0.00"
    priority: int = 100
    weight: int = 100
    asks_base64: bool = True
    native_input_type: bool = False
    numerics: str | None = None
    max_batch: int | None = None
    max_batch_tokens: int | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrency: int | None = None


class EndpointCreate(EndpointFacts, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new endpoint, as a draft. ``cost_usd_per_mtok`` is what it costs us; ``space`` what the provider claims."""

    model: str
    provider: str
    upstream_model: str | None = None
    space: str | None = None


EndpointEdit = edit_of(
    EndpointCreate,
    "What is given is changed; null takes a limit away.",
    without=("model", "provider", "space"),
    upstream_model=str,
)


class EndpointOut(EndpointFacts, Resource, frozen=True, kw_only=True):
    """An endpoint. ``reason``: why it is in its state. ``cost_source``: where an imported cost is from; null: ours."""

    volatile = frozenset({"cost_source"})

    id: str
    model: str
    provider: str
    provider_name: str
    upstream_model: str
    state: str
    reason: str
    space: str
    upstream_space: str | None
    cost_source: str | None
    object: str = "endpoint"


class TestIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``as_reference``: why its vectors may be the space's reference from now on; empty: they are compared.

    While other endpoints serve the space, it has to agree with the reference that they are held to, unless it is to
    ``replace`` that: then they are out of traffic until they pass again.
    """

    as_reference: str = ""
    replace: bool = False


@operations.get(PATH, **lists("list_endpoints", "List endpoints", TAG, EndpointOut, "model", "provider", "state"))
async def list_(request: Request) -> Response:
    """All endpoints, or those of a model, of a provider, in a state."""
    query = query_of(request, "limit", "cursor", "model", "provider", "state")
    part = slice_of(query)
    model = ModelId(query["model"]) if "model" in query else None
    provider = given_id(ProviderId, query["provider"], "provider") if "provider" in query else None
    state = query.get("state")

    async def ask(connection: AsyncConnection) -> list[EndpointOut]:
        views = await list_endpoints(connection, model)
        of_provider = [view for view in views if provider in (None, view.endpoint.provider_id)]
        found = [view for view in of_provider if state in (None, view.endpoint.state.value)]
        return await _shown(connection, listed(found, part, lambda view: wire(EndpointId, view.endpoint.id)))

    return page(request, await read(request, ask), part, lambda row: row.id, lambda row: row)


@operations.post(PATH, **makes("create_endpoint", "Register an endpoint", TAG, EndpointOut, EndpointCreate))
async def create(request: Request) -> Response:
    """Register an endpoint, as a draft without traffic."""
    body = body_of(request, EndpointCreate)
    provider = ProviderId(given_id(ProviderId, body.provider, "provider"))
    cost = usd_of(body.cost_usd_per_mtok, "cost_usd_per_mtok")
    given = {name: getattr(body, name) for name in EndpointSpec.__struct_fields__ if name != "cost_nano_per_mtok"}

    async def command(work: UnitOfWork) -> Made:
        model = await models.get(work.connection, body.model)
        spec = EndpointSpec(**{**given, "upstream_model": body.upstream_model or model.id}, cost_nano_per_mtok=cost)
        endpoint = await register_endpoint(work, model, provider, spec, space=body.space)
        return Made(await _one(work, endpoint.id), 201, f"{PATH}/{wire(EndpointId, endpoint.id)}")

    return await change(request, command)


@operations.get(f"{PATH}/{{endpoint_id}}", **shows("retrieve_endpoint", "Retrieve an endpoint", TAG, EndpointOut))
async def retrieve(request: Request, endpoint_id: str) -> Response:
    """One endpoint."""
    query_of(request)
    known = _id(endpoint_id)

    async def ask(connection: AsyncConnection) -> EndpointOut:
        (shown,) = await _shown(connection, [await get_endpoint(connection, known)])
        return shown

    return one(await read(request, ask))


@operations.patch(
    f"{PATH}/{{endpoint_id}}", **edits("edit_endpoint", "Edit an endpoint", TAG, EndpointOut, EndpointEdit)
)
async def edit(request: Request, endpoint_id: str) -> Response:
    """Change what is given. A live endpoint keeps its upstream model.

    Other numerics or input types take it out of traffic until it passes its probes, which are due at once.
    """
    known, given = _id(endpoint_id), given_in(body_of(request, EndpointEdit))
    if "cost_usd_per_mtok" in given:
        given["cost_nano_per_mtok"] = usd_of(given.pop("cost_usd_per_mtok"), "cost_usd_per_mtok")

    async def command(work: UnitOfWork) -> Made:
        before = (await get_endpoint(work.connection, known, locked=True)).endpoint
        spec = msgspec.structs.replace(msgspec.convert(before, EndpointSpec, from_attributes=True), **given)
        await edit_endpoint(work, known, spec)
        return Made(await _one(work, known))

    return await change(request, command, current=_current(known), needs_match=True)


def _moves(action: str, to: EndpointState, summary: str, told: str) -> None:
    """One operation for one step of the table of moves."""

    async def move(request: Request, endpoint_id: str) -> Response:
        known, body = _id(endpoint_id), body_of(request, Reason)

        async def command(work: UnitOfWork) -> Made:
            await move_by_hand(work, known, to, body.reason)
            return Made(await _one(work, known))

        return await change(request, command, current=_current(known))

    move.__doc__ = told
    operations.add_api_route(
        f"{PATH}/{{endpoint_id}}/{action}",
        move,
        methods=["POST"],
        **acts(f"{action}_endpoint", summary, TAG, EndpointOut, Reason),
    )


_moves("probe", EndpointState.PROBING, "Take it into probing", "It gets no traffic, and waits for its test.")
_moves("drain", EndpointState.DRAINING, "Let it finish", "It gets no new calls; those in flight end as they do.")
_moves("resume", EndpointState.LIVE, "Let a draining one go on", "It gets traffic again.")
_moves("quarantine", EndpointState.QUARANTINED, "Quarantine it", "It gets no traffic until it passes a test.")
_moves("off", EndpointState.OFF, "Turn it off", "It gets no traffic and is no candidate.")


@operations.post(f"{PATH}/{{endpoint_id}}/test", **acts("test_endpoint", "Make real calls", TAG, TestOut, TestIn))
async def try_(request: Request, endpoint_id: str) -> Response:
    """One call, each step told; then the probes. One without traffic goes live, or is quarantined with the reason.

    It is compared with the reference of its space; `as_reference` makes its own vectors that. A dry run makes the calls
    and moves nothing. An endpoint has one test at a time: 409 while another runs.
    """
    known, body, context = _id(endpoint_id), body_of(request, TestIn), context_of(request)

    async def test(ending: Ending) -> Report:
        record = await read(request, lambda connection: _provider_of(connection, known))
        provider = await speaking_to(request, record.id)
        return await try_endpoint(
            context.db,
            actor_of(request),
            known,
            record,
            provider,
            as_reference=body.as_reference,
            replace=body.replace,
            quota=context.outbound.quota,
            dry_run=is_dry_run(request),
            ending=ending,
        )

    return await tested(request, test)


async def _provider_of(connection: AsyncConnection, known: EndpointId) -> ProviderRecord:
    endpoint = (await get_endpoint(connection, known)).endpoint
    return next(record for record in await provider_records(connection) if record.id == endpoint.provider_id)


def _current(known: EndpointId) -> Current:
    async def current(work: UnitOfWork) -> EndpointOut:
        return await _one(work, known)

    return current


def _id(text: str) -> EndpointId:
    return EndpointId(id_of(EndpointId, text, "endpoint"))


async def _one(work: UnitOfWork, known: EndpointId) -> EndpointOut:
    (shown,) = await _shown(work.connection, [await get_endpoint(work.connection, known, locked=True)])
    return shown


async def _shown(connection: AsyncConnection, views: list[EndpointView]) -> list[EndpointOut]:
    sources = await cost_sources(connection, [view.endpoint for view in views])
    return [_out(view, sources.get(view.endpoint.id)) for view in views]


def _out(view: EndpointView, cost_source: str | None) -> EndpointOut:
    endpoint = view.endpoint
    same = {name: getattr(endpoint, name) for name in EndpointSpec.__struct_fields__ if name != "cost_nano_per_mtok"}
    return EndpointOut(
        **same,
        id=wire(EndpointId, endpoint.id),
        model=endpoint.model_id,
        provider=wire(ProviderId, endpoint.provider_id),
        provider_name=endpoint.provider_name,
        state=endpoint.state.value,
        reason=view.reason,
        cost_usd_per_mtok=to_usd(endpoint.cost_nano_per_mtok),
        space=endpoint.space,
        upstream_space=endpoint.upstream_space,
        cost_source=cost_source,
    )
