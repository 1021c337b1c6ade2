"""A dry run: where a call would go, with nothing called and nothing held; and where, if things were otherwise.

What is looked at is a copy: endpoints come from Postgres, of every state, and the health is copied before a "what if"
may change it. The steps are the line's own.
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
from router.context import Known
from router.errors import InvalidRequest, ModelNotFound, NotFound, Refusal
from router.explain.explanation import Candidate, Ended, Explanation, explain
from router.identity.key_loading import NOTHING, of_keys, read_keys
from router.pipeline import prepare, route_of
from router.registry.endpoints import list_endpoints
from router.registry.indexes import EndpointIndex, PriceIndex, sandbox
from router.request.body import MAX_INPUTS, MAX_TOKENS, parse
from router.routing.health import Health
from router.values import EmbedRequest, Endpoint, EndpointState, Key, Lane, RawCall, Trace
from store.ids import AccountId, EndpointId, KeyId, RequestId, new_id, wire

NOBODY = UUID(int=0)


class Otherwise(msgspec.Struct, frozen=True):
    """What an endpoint would be like; None leaves it as it is. ``healthy`` forgets its failures, or has it fail."""

    state: EndpointState | None = None
    cost_nano_per_mtok: int | None = None
    priority: int | None = None
    weight: int | None = None
    healthy: bool | None = None


class WhatIf(msgspec.Struct, frozen=True):
    """Changes that are only imagined. ``exclude`` names providers, or endpoints by id."""

    endpoints: dict[EndpointId, Otherwise] = {}
    exclude: frozenset[str] = frozenset()


class Asked(msgspec.Struct, frozen=True):
    """The call that is imagined. ``preferences`` is the JSON of a body's ``provider`` object, or null."""

    model: str
    preferences: bytes = b"null"
    inputs: int = 1
    tokens: int = 100
    lane: Lane = Lane.INTERACTIVE


class Difference(msgspec.Struct, frozen=True):
    """What would change; endpoints as ``provider (ep_…)``, costs in nano-USD per million tokens."""

    chosen_now: str | None
    chosen_then: str | None
    order_now: tuple[str, ...]
    order_then: tuple[str, ...]
    enters: tuple[str, ...]
    leaves: tuple[str, ...]
    cost_now: int | None
    cost_then: int | None


class Every(EndpointIndex):
    """The endpoints of one model, drafts and those that are off too, so that these are told as left out."""

    __slots__ = ("every",)

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        super().__init__()
        self.every = sorted(endpoints, key=lambda endpoint: (endpoint.priority, endpoint.id))

    @override
    def serving(self, model: Model, key: Key) -> list[Endpoint]:
        return [sandbox(model)] if key.is_test else self.every


class Scene(msgspec.Struct, frozen=True):
    """What a dry run plans with: see :class:`router.context.Known`."""

    catalog: Catalog
    prices: PriceIndex
    endpoints: Every
    health: Health
    draw: Callable[[], float]


async def scene(tx: AsyncConnection, model_name: str, known: Known) -> Scene:
    """What is known now, with every endpoint of the model. Raises ModelNotFound."""
    model = known.catalog.get(model_name)
    if model is None:
        raise ModelNotFound("There is no such model.", param="model")
    views = await list_endpoints(tx, model.id)
    return Scene(known.catalog, known.prices, Every([view.endpoint for view in views]), known.health, known.draw)


async def key_of(tx: AsyncConnection, *, key_id: KeyId | None, account_id: AccountId | None, use: Use) -> Key:
    """Whose call it is: a key's, or one that an account's key with this use could make. Raises NotFound."""
    if key_id is not None:
        async for page in read_keys(tx, of_keys([key_id])):
            for by_digest in page.values():
                for key in by_digest.values():
                    return key
        raise NotFound("There is no such key, or it is revoked.", param="key")
    account = AccountId(NOBODY) if account_id is None else account_id
    accepted = (await accepted_tokens(tx, account)).get(account, NOTHING)
    payer = Payer(account, KeyId(NOBODY), Limits())
    return Key(id=KeyId(NOBODY), account_id=account, name="dry run", use=use, payer=payer, accepted=accepted)


def imagined(now: Scene, what_if: WhatIf) -> Scene:
    """The scene with the changes made, on copies. Raises NotFound for an endpoint that does not serve the model."""
    every = now.endpoints.every
    if strangers := what_if.endpoints.keys() - {endpoint.id for endpoint in every}:
        names = ", ".join(wire(EndpointId, stranger) for stranger in sorted(strangers))
        raise NotFound(f"Of this model there is no endpoint {names}.", param="what_if.endpoints")
    health = deepcopy(now.health)
    then = []
    for endpoint in every:
        if {endpoint.provider_name, wire(EndpointId, endpoint.id)} & what_if.exclude:
            continue
        otherwise = what_if.endpoints.get(endpoint.id, Otherwise())
        if otherwise.healthy is not None:
            health.forget(endpoint.id)
        if otherwise.healthy is False:
            health.quarantined(endpoint.id, "as the what-if says")
        given = {name: getattr(otherwise, name) for name in ("state", "cost_nano_per_mtok", "priority", "weight")}
        changes = {name: value for name, value in given.items() if value is not None}
        then.append(msgspec.structs.replace(endpoint, **changes))
    return Scene(now.catalog, now.prices, Every(then), health, now.draw)


def dry_run(asked: Asked, key: Key, known: Known, now: datetime) -> Explanation:
    """The explanation that the call would have, up to where something would be held. Raises InvalidRequest."""
    request = _request(asked)
    clock = asyncio.get_running_loop().time
    trace = Trace(began=clock(), key=key)
    call = RawCall(
        request_id=RequestId(new_id()),
        body=b"",
        authorization=None,
        idempotency_key=None,
        now=now,
        deadline_at=trace.began,
        lane=asked.lane,
        trace=trace,
    )
    refusal: Refusal | None = None
    try:
        prepared = prepare(request, call, key, known)
        trace.route = route_of(prepared, request, key, known, clock())
    except Refusal as refused:
        refusal = refused
    took_ms = (clock() - trace.began) * 1000
    if refusal is None:
        return explain(Ended(call.request_id, now, 0, took_ms, trace))
    left_out = getattr(refusal, "left_out", ())
    told = (refusal.code, refusal.message, refusal.detail)
    return explain(Ended(call.request_id, now, 0, took_ms, trace, *told, left_out))


def difference(now: Explanation, then: Explanation) -> Difference:
    """What the changes would do to the route."""
    order_now, order_then = _order(now), _order(then)
    chosen_now, chosen_then = _chosen(now), _chosen(then)
    return Difference(
        chosen_now=None if chosen_now is None else _name(chosen_now),
        chosen_then=None if chosen_then is None else _name(chosen_then),
        order_now=order_now,
        order_then=order_then,
        enters=tuple(name for name in order_then if name not in order_now),
        leaves=tuple(name for name in order_now if name not in order_then),
        cost_now=None if chosen_now is None else chosen_now.cost_nano_per_mtok,
        cost_then=None if chosen_then is None else chosen_then.cost_nano_per_mtok,
    )


def _request(asked: Asked) -> EmbedRequest:
    """A request of that size, read by the line's own parser; its text says nothing."""
    if not 1 <= asked.inputs <= MAX_INPUTS:
        raise InvalidRequest(f"'inputs' must be 1 to {MAX_INPUTS}.", param="inputs")
    if not asked.inputs <= asked.tokens <= MAX_TOKENS:
        raise InvalidRequest(f"'tokens' must be at least one per input and at most {MAX_TOKENS}.", param="tokens")
    fields = {"model": asked.model, "input": "x", "provider": msgspec.Raw(asked.preferences)}
    request = parse(msgspec.json.encode(fields))
    # ASCII text is bounded by its length and a token for its beginning.
    text = "x" * max(1, asked.tokens // asked.inputs - 1)
    return msgspec.structs.replace(request, texts=[text] * asked.inputs)


def _order(explanation: Explanation) -> tuple[str, ...]:
    return tuple(_name(candidate) for candidate in explanation.candidates if candidate.place)


def _chosen(explanation: Explanation) -> Candidate | None:
    return next((candidate for candidate in explanation.candidates if candidate.chosen), None)


def _name(candidate: Candidate) -> str:
    return f"{candidate.provider} ({wire(EndpointId, candidate.endpoint)})"
