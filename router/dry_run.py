"""Routes an imagined call, with nothing sent and nothing held: now, and with "what if" changes of its endpoints.

It works on copies: endpoints of every state come from Postgres, and health is copied before a "what if" may change it.
The steps are the pipeline's own.
"""

import asyncio
from collections.abc import Callable, Sequence
from copy import deepcopy
from datetime import datetime
from uuid import UUID

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection
from typing_extensions import override

from billing.values import Limits, Payer
from catalog.licenses import accepted_tokens
from catalog.models import Catalog
from catalog.values import Model, Use
from router.context import PlanningContext
from router.errors import InvalidRequest, ModelNotFound, NotFound, Refusal
from router.explain.explanation import Candidate, CompletedCall, Explanation, explain
from router.identity.key_loading import NO_ACCEPTANCES, by_key, read_keys
from router.pipeline import choose_route, plan_call
from router.registry.endpoints import list_endpoints
from router.registry.indexes import EndpointIndex, PriceIndex, sandbox_endpoint
from router.request.body import MAX_INPUTS, MAX_TOKENS, parse
from router.routing.health import Health
from router.values import EmbedRequest, Endpoint, EndpointState, Key, Lane, QuarantineCause, RawCall, Trace
from store.ids import AccountId, EndpointId, KeyId, RequestId, new_id, wire

NO_ID = UUID(int=0)


class EndpointChange(msgspec.Struct, frozen=True):
    """Imagined changes of an endpoint; None changes nothing. ``healthy`` clears its failures, or makes it fail."""

    state: EndpointState | None = None
    cost_nano_per_mtok: int | None = None
    priority: int | None = None
    weight: int | None = None
    healthy: bool | None = None


class WhatIf(msgspec.Struct, frozen=True):
    """Imagined changes. ``exclude`` names providers, or endpoints by id."""

    endpoints: dict[EndpointId, EndpointChange] = {}
    exclude: frozenset[str] = frozenset()


class DryCall(msgspec.Struct, frozen=True):
    """An imagined call. ``preferences`` is the JSON of a body's ``provider`` object, or null."""

    model: str
    preferences: bytes = b"null"
    inputs: int = 1
    tokens: int = 100
    lane: Lane = Lane.INTERACTIVE


class RouteDiff(msgspec.Struct, frozen=True):
    """The changes of a route; endpoints as ``provider (ep_…)``, costs in nano-USD per million tokens."""

    chosen_now: str | None
    chosen_then: str | None
    order_now: tuple[str, ...]
    order_then: tuple[str, ...]
    enters: tuple[str, ...]
    leaves: tuple[str, ...]
    cost_now: int | None
    cost_then: int | None


class AllEndpoints(EndpointIndex):
    """The endpoints of one model, drafts and those that are off too, so that explanations list these as left out."""

    __slots__ = ("endpoints",)

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        super().__init__()
        self.endpoints = sorted(endpoints, key=lambda endpoint: (endpoint.priority, endpoint.id))

    @override
    def candidates(self, model: Model, key: Key) -> list[Endpoint]:
        return [sandbox_endpoint(model)] if key.is_test else self.endpoints


class PlanningSnapshot(msgspec.Struct, frozen=True):
    """The :class:`router.context.PlanningContext` of a dry run."""

    catalog: Catalog
    prices: PriceIndex
    endpoints: AllEndpoints
    health: Health
    draw: Callable[[], float]


async def take_snapshot(tx: AsyncConnection, model_name: str, context: PlanningContext) -> PlanningSnapshot:
    """The planning context of now, with every endpoint of the model. Raises ModelNotFound."""
    model = context.catalog.get(model_name)
    if model is None:
        raise ModelNotFound("There is no such model.", param="model")
    views = await list_endpoints(tx, model.id)
    endpoints = AllEndpoints([view.endpoint for view in views])
    return PlanningSnapshot(context.catalog, context.prices, endpoints, context.health, context.draw)


async def find_key(tx: AsyncConnection, *, key_id: KeyId | None, account_id: AccountId | None, use: Use) -> Key:
    """The imagined call's key: an existing one, or one that the account could have with this use. Raises NotFound."""
    if key_id is not None:
        async for page in read_keys(tx, by_key([key_id])):
            for by_digest in page.values():
                for key in by_digest.values():
                    return key
        raise NotFound("There is no such key, or it is revoked.", param="key")
    account = AccountId(NO_ID) if account_id is None else account_id
    accepted = (await accepted_tokens(tx, account)).get(account, NO_ACCEPTANCES)
    payer = Payer(account, KeyId(NO_ID), Limits())
    return Key(id=KeyId(NO_ID), account_id=account, name="dry run", use=use, payer=payer, accepted=accepted)


def apply_what_if(now: PlanningSnapshot, what_if: WhatIf) -> PlanningSnapshot:
    """The snapshot with the changes, made on copies. Raises NotFound for an endpoint that does not serve the model."""
    endpoints = now.endpoints.endpoints
    if strangers := what_if.endpoints.keys() - {endpoint.id for endpoint in endpoints}:
        names = ", ".join(wire(EndpointId, stranger) for stranger in sorted(strangers))
        raise NotFound(f"Of this model there is no endpoint {names}.", param="what_if.endpoints")
    health = deepcopy(now.health)
    then = []
    for endpoint in endpoints:
        if {endpoint.provider_name, wire(EndpointId, endpoint.id)} & what_if.exclude:
            continue
        change = what_if.endpoints.get(endpoint.id, EndpointChange())
        if change.healthy is not None:
            health.forget(endpoint.id)
        if change.healthy is False:
            health.quarantine(endpoint.id, QuarantineCause.OPERATOR, "as the what-if says")
        fields = {name: getattr(change, name) for name in ("state", "cost_nano_per_mtok", "priority", "weight")}
        changes = {name: value for name, value in fields.items() if value is not None}
        then.append(msgspec.structs.replace(endpoint, **changes))
    return PlanningSnapshot(now.catalog, now.prices, AllEndpoints(then), health, now.draw)


def dry_run(dry_call: DryCall, key: Key, context: PlanningContext, now: datetime) -> Explanation:
    """The explanation that the call would have, up to where its credit would be held. Raises InvalidRequest."""
    request = _request(dry_call)
    clock = asyncio.get_running_loop().time
    trace = Trace(began=clock(), key=key)
    call = RawCall(
        request_id=RequestId(new_id()),
        body=b"",
        authorization=None,
        idempotency_key=None,
        now=now,
        deadline_at=trace.began,
        lane=dry_call.lane,
        trace=trace,
    )
    refusal: Refusal | None = None
    try:
        planned = plan_call(request, call, key, context)
        trace.route = choose_route(planned, context, clock())
    except Refusal as refused:
        refusal = refused
    took_ms = (clock() - trace.began) * 1000
    if refusal is None:
        return explain(CompletedCall(call.request_id, now, 0, took_ms, trace))
    left_out = getattr(refusal, "left_out", ())
    fault = (refusal.code, refusal.message, refusal.detail)
    return explain(CompletedCall(call.request_id, now, 0, took_ms, trace, *fault, left_out))


def diff_routes(now: Explanation, then: Explanation) -> RouteDiff:
    """The changes of the route from ``now`` to ``then``."""
    order_now, order_then = _order(now), _order(then)
    chosen_now, chosen_then = _chosen(now), _chosen(then)
    return RouteDiff(
        chosen_now=None if chosen_now is None else _name(chosen_now),
        chosen_then=None if chosen_then is None else _name(chosen_then),
        order_now=order_now,
        order_then=order_then,
        enters=tuple(name for name in order_then if name not in order_now),
        leaves=tuple(name for name in order_now if name not in order_then),
        cost_now=None if chosen_now is None else chosen_now.cost_nano_per_mtok,
        cost_then=None if chosen_then is None else chosen_then.cost_nano_per_mtok,
    )


def _request(dry_call: DryCall) -> EmbedRequest:
    """A request of that size, read by the pipeline's own parser; its text is filler."""
    if not 1 <= dry_call.inputs <= MAX_INPUTS:
        raise InvalidRequest(f"'inputs' must be 1 to {MAX_INPUTS}.", param="inputs")
    if not dry_call.inputs <= dry_call.tokens <= MAX_TOKENS:
        raise InvalidRequest(f"'tokens' must be at least one per input and at most {MAX_TOKENS}.", param="tokens")
    fields = {"model": dry_call.model, "input": "x", "provider": msgspec.Raw(dry_call.preferences)}
    request = parse(msgspec.json.encode(fields))
    # ASCII text is bounded by its length and a token for its beginning.
    text = "x" * max(1, dry_call.tokens // dry_call.inputs - 1)
    return msgspec.structs.replace(request, texts=[text] * dry_call.inputs)


def _order(explanation: Explanation) -> tuple[str, ...]:
    return tuple(_name(candidate) for candidate in explanation.candidates if candidate.place)


def _chosen(explanation: Explanation) -> Candidate | None:
    return next((candidate for candidate in explanation.candidates if candidate.chosen), None)


def _name(candidate: Candidate) -> str:
    return f"{candidate.provider} ({wire(EndpointId, candidate.endpoint)})"
