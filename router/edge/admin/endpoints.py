"""``/admin/v1/endpoints``: one model at one provider. Only a live one gets traffic; a test makes it that."""

from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response
from msgspec import UNSET, UnsetType
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.money import to_usd
from catalog import models
from router import once
from router.edge.admin.answering import Resource, listed, one, page, slice_of
from router.edge.admin.asking import (
    V1,
    body_of,
    given_id,
    given_in,
    id_of,
    parts_of,
    query_of,
    read,
    speaking_to,
    usd_of,
)
from router.edge.admin.changing import DRY_RUN, Current, Made, actor_of, change, claim_of, is_dry_run, keep, replay
from router.edge.admin.reports import TestOut, test_out
from router.edge.admin.telling import acts, edits, lists, makes, shows
from router.endpoints import (
    EndpointSpec,
    EndpointView,
    edit_endpoint,
    get_endpoint,
    list_endpoints,
    move_by_hand,
    register_endpoint,
)
from router.indexes import ProviderRecord
from router.registered import provider_records
from router.testing import Report, try_endpoint
from router.values import EndpointState
from router.write import Work
from store.ids import EndpointId, ModelId, ProviderId, wire

operations = APIRouter()
PATH = f"{V1}/endpoints"
TAG = "Endpoints"


class EndpointOut(Resource, frozen=True):
    """An endpoint. What the provider grants us is null where no limit is known; ``reason``: why it is in its state."""

    id: str
    model: str
    provider: str
    provider_name: str
    upstream_model: str
    state: str
    reason: str
    cost_usd_per_mtok: str
    priority: int
    weight: int
    space: str
    upstream_space: str | None
    asks_base64: bool
    native_input_type: bool
    numerics: str | None
    max_batch: int | None
    max_batch_tokens: int | None
    requests_per_minute: int | None
    tokens_per_minute: int | None
    concurrency: int | None
    object: str = "endpoint"


class EndpointCreate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new endpoint, as a draft. ``cost_usd_per_mtok`` is what it costs us; ``space`` what the provider claims."""

    model: str
    provider: str
    upstream_model: str | None = None
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
    space: str | None = None


class EndpointEdit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is given is changed; null takes a limit away."""

    upstream_model: str | UnsetType = UNSET
    cost_usd_per_mtok: str | UnsetType = UNSET
    priority: int | UnsetType = UNSET
    weight: int | UnsetType = UNSET
    asks_base64: bool | UnsetType = UNSET
    native_input_type: bool | UnsetType = UNSET
    numerics: str | UnsetType | None = UNSET
    max_batch: int | UnsetType | None = UNSET
    max_batch_tokens: int | UnsetType | None = UNSET
    requests_per_minute: int | UnsetType | None = UNSET
    tokens_per_minute: int | UnsetType | None = UNSET
    concurrency: int | UnsetType | None = UNSET


class TestIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``as_reference``: why its vectors may be the space's reference from now on; empty: they are compared.

    While other endpoints serve the space, it has to agree with the reference that they are held to, unless it is to
    ``replace`` that: then they are out of traffic until they pass again.
    """

    as_reference: str = ""
    replace: bool = False


class Move(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why, for whoever looks next."""

    reason: str = ""


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No body, or an empty object."""


@operations.get(PATH, **lists("list_endpoints", "List endpoints", TAG, EndpointOut, "model", "provider", "state"))
async def list_(request: Request) -> Response:
    """All endpoints, or those of a model, of a provider, in a state."""
    query = query_of(request, "limit", "cursor", "model", "provider", "state")
    part = slice_of(query)
    model = ModelId(query["model"]) if "model" in query else None
    provider = given_id(ProviderId, query["provider"], "provider") if "provider" in query else None
    found = [
        view
        for view in await read(request, lambda connection: list_endpoints(connection, model))
        if provider in (None, view.endpoint.provider_id) and query.get("state") in (None, view.endpoint.state.value)
    ]
    return page(request, listed(found, part, _key), part, _key, _out)


@operations.post(PATH, **makes("create_endpoint", "Register an endpoint", TAG, EndpointOut, EndpointCreate))
async def create(request: Request) -> Response:
    """Register an endpoint, as a draft without traffic."""
    body = body_of(request, EndpointCreate)
    provider = ProviderId(given_id(ProviderId, body.provider, "provider"))
    cost = usd_of(body.cost_usd_per_mtok, "cost_usd_per_mtok")
    given = {name: getattr(body, name) for name in EndpointSpec.__struct_fields__ if name != "cost_nano_per_mtok"}

    async def command(work: Work) -> Made:
        model = await models.get(work.connection, body.model)
        spec = EndpointSpec(**{**given, "upstream_model": body.upstream_model or model.id}, cost_nano_per_mtok=cost)
        endpoint = await register_endpoint(work, model, provider, spec, space=body.space)
        view = await get_endpoint(work.connection, endpoint.id)
        return Made(_out(view), 201, f"{PATH}/{wire(EndpointId, endpoint.id)}")

    return await change(request, command)


@operations.get(f"{PATH}/{{endpoint_id}}", **shows("retrieve_endpoint", "Retrieve an endpoint", TAG, EndpointOut))
async def retrieve(request: Request, endpoint_id: str) -> Response:
    """One endpoint."""
    query_of(request)
    known = _id(endpoint_id)
    return one(_out(await read(request, lambda connection: get_endpoint(connection, known))))


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

    async def command(work: Work) -> Made:
        before = (await get_endpoint(work.connection, known, locked=True)).endpoint
        spec = msgspec.structs.replace(msgspec.convert(before, EndpointSpec, from_attributes=True), **given)
        await edit_endpoint(work, known, spec)
        return Made(_out(await get_endpoint(work.connection, known)))

    return await change(request, command, current=_current(known), needs_match=True)


def _moves(action: str, to: EndpointState, summary: str, told: str) -> None:
    """One operation for one step of the table of moves."""

    async def move(request: Request, endpoint_id: str) -> Response:
        known, body = _id(endpoint_id), body_of(request, Move)

        async def command(work: Work) -> Made:
            await move_by_hand(work, known, to, body.reason)
            return Made(_out(await get_endpoint(work.connection, known)))

        return await change(request, command, current=_current(known))

    move.__doc__ = told
    operations.add_api_route(
        f"{PATH}/{{endpoint_id}}/{action}",
        move,
        methods=["POST"],
        **acts(f"{action}_endpoint", summary, TAG, EndpointOut, Move),
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
    and moves nothing.
    """
    known, dry_run, parts = _id(endpoint_id), is_dry_run(request), parts_of(request)
    body = body_of(request, TestIn)
    claim = claim_of(request, dry_run=dry_run)
    if claim is not None and (kept := await read(request, lambda connection: once.find(connection, claim))):
        return replay(kept)
    record = await read(request, lambda connection: _provider_of(connection, known))
    provider = await speaking_to(request, record.id)

    async def ending(work: Work, report: Report) -> None:
        if claim is not None:
            await once.begin(work.connection, claim)
        await keep(work, claim, Made(test_out(report)))

    try:
        report = await try_endpoint(
            parts.db,
            actor_of(request),
            known,
            record,
            provider,
            as_reference=body.as_reference,
            replace=body.replace,
            pacer=parts.outbound.pacer,
            dry_run=dry_run,
            ending=ending,
        )
    except once.Replayed as before:
        return replay(before.outcome)
    return one(test_out(report), headers=DRY_RUN if dry_run else None)


async def _provider_of(connection: AsyncConnection, known: EndpointId) -> ProviderRecord:
    endpoint = (await get_endpoint(connection, known)).endpoint
    return next(record for record in await provider_records(connection) if record.id == endpoint.provider_id)


def _current(known: EndpointId) -> Current:
    async def current(work: Work) -> EndpointOut:
        return _out(await get_endpoint(work.connection, known, locked=True))

    return current


def _id(text: str) -> EndpointId:
    return EndpointId(id_of(EndpointId, text, "endpoint"))


def _key(view: EndpointView) -> str:
    return view.endpoint.id.hex


def _out(view: EndpointView) -> EndpointOut:
    endpoint = view.endpoint
    same: dict[str, Any] = {
        name: getattr(endpoint, name) for name in EndpointSpec.__struct_fields__ if name != "cost_nano_per_mtok"
    }
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
    )
