"""``/admin/v1/requests/{id}`` and ``/admin/v1/routes:explain``: why a call went where it did, or would."""

from typing import Any
from uuid import UUID

import msgspec
from fastapi import APIRouter, Request, Response

from billing.money import from_usd, to_usd
from catalog.values import Use
from router.dry_run import Asked, Difference, Otherwise, WhatIf, difference, dry_run, imagined, key_of, scene
from router.edge.admin.asking import V1
from router.edge.admin.telling import asks, shows
from router.edge.exchange import EXCHANGE, Exchange
from router.edge.requests import request_of, unknown
from router.errors import InvalidRequest, NotFound, StoreUnavailable
from router.explanation_views import OpsRequestOut, Recorded, ops_view
from router.parts import Parts
from router.receipts import KEPT_DAYS, is_young, look_up
from router.values import EndpointState, Lane
from store.ids import AccountId, EndpointId, KeyId, parse
from store.postgres import STORE_FAULTS

operations = APIRouter()


class EndpointIf(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How an endpoint is imagined; ``cost_per_million_tokens`` in USD. What is not given stays as it is."""

    state: EndpointState | None = None
    cost_per_million_tokens: str | None = None
    priority: int | None = None
    weight: int | None = None
    healthy: bool | None = None


class WhatIfIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Endpoints by id (``ep_…``), and what to leave out: names of providers, or ids of endpoints."""

    endpoints: dict[str, EndpointIf] = {}
    exclude: frozenset[str] = frozenset()


class ExplainIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A call that is only imagined: of a key, or of an account's key with this use, or of nobody's.

    ``preferences`` is the ``provider`` object of an embeddings call.
    """

    model: str
    key: str | None = None
    account: str | None = None
    use: Use = Use.COMMERCIAL
    preferences: dict[str, Any] | None = None
    inputs: int = 1
    tokens: int = 100
    lane: Lane = Lane.INTERACTIVE
    what_if: WhatIfIn | None = None


class DifferenceOut(msgspec.Struct, frozen=True):
    """What the changes would do: endpoints as ``provider (ep_…)``, our cost of the chosen one in USD."""

    chosen_now: str | None
    chosen_then: str | None
    order_now: tuple[str, ...]
    order_then: tuple[str, ...]
    enters: tuple[str, ...]
    leaves: tuple[str, ...]
    cost_per_million_tokens_now: str | None
    cost_per_million_tokens_then: str | None


class ExplainOut(msgspec.Struct, frozen=True):
    """Where the call would go now, and where it would go if things were as imagined. Nothing was called or held."""

    now: OpsRequestOut
    then: OpsRequestOut | None
    difference: DifferenceOut | None
    object: str = "route_explanation"


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(ExplainIn).decode


@operations.get(
    f"{V1}/requests/{{request_id}}", **shows("admin_retrieve_request", "Explain a request", "Routes", OpsRequestOut)
)
async def retrieve_request(request: Request, request_id: str) -> Response:
    """Any account's call, with our cost, the margin and the providers' own words."""
    exchange: Exchange = request.scope[EXCHANGE]
    parts: Parts = request.app.state.parts
    asked = request_of(request_id)
    recorded = await look_up(parts.db, asked, parts.receipts)
    if (recorded is None or recorded.explanation is None) and is_young(asked, exchange.now):
        raise unknown(asked, exchange.now)
    if recorded is None:
        raise NotFound(
            f"There is no record of this request. Explanations are kept for {KEPT_DAYS} days, charges for good; calls "
            "without a known key are in the log alone.",
            param="request_id",
        )
    return _answer(ops_view(recorded))


@operations.post(
    f"{V1}/routes:explain",
    **asks("admin_explain_route", "Explain a route without calling anyone", "Routes", ExplainOut, ExplainIn),
)
async def explain_route(request: Request) -> Response:
    """Where a call would go, and what would change if endpoints were otherwise."""
    exchange: Exchange = request.scope[EXCHANGE]
    parts: Parts = request.app.state.parts
    given = _body(exchange.body)
    asked = Asked(
        model=given.model,
        preferences=_encode(given.preferences),
        inputs=given.inputs,
        tokens=given.tokens,
        lane=given.lane,
    )
    key_id = None if given.key is None else KeyId(_id(KeyId, given.key, "key"))
    account_id = None if given.account is None else AccountId(_id(AccountId, given.account, "account"))
    try:
        async with parts.db.transaction() as tx:
            key = await key_of(tx, key_id=key_id, account_id=account_id, use=given.use)
            as_it_is = await scene(tx, given.model, parts)
    except STORE_FAULTS as fault:
        raise StoreUnavailable("Postgres cannot be reached.", retry_after_s=1, detail=str(fault)) from fault
    now = dry_run(asked, key, as_it_is, exchange.now)
    if given.what_if is None:
        return _answer(ExplainOut(ops_view(Recorded(now, None)), None, None))
    then = dry_run(asked, key, imagined(as_it_is, _what_if(given.what_if)), exchange.now)
    told = _difference(difference(now, then))
    return _answer(ExplainOut(ops_view(Recorded(now, None)), ops_view(Recorded(then, None)), told))


def _body(body: bytes) -> ExplainIn:
    try:
        return _decode(body)
    except msgspec.ValidationError as problem:
        raise InvalidRequest(f"The body is not what this operation takes: {problem}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidRequest('The body must be one JSON object, such as {"model": "org/name"}.') from None


def _what_if(given: WhatIfIn) -> WhatIf:
    endpoints = {
        EndpointId(_id(EndpointId, name, "what_if.endpoints")): Otherwise(
            state=one.state,
            cost_nano_per_mtok=None if one.cost_per_million_tokens is None else _usd(one.cost_per_million_tokens),
            priority=one.priority,
            weight=one.weight,
            healthy=one.healthy,
        )
        for name, one in given.endpoints.items()
    }
    return WhatIf(endpoints, given.exclude)


def _difference(found: Difference) -> DifferenceOut:
    return DifferenceOut(
        chosen_now=found.chosen_now,
        chosen_then=found.chosen_then,
        order_now=found.order_now,
        order_then=found.order_then,
        enters=found.enters,
        leaves=found.leaves,
        cost_per_million_tokens_now=None if found.cost_now is None else to_usd(found.cost_now),
        cost_per_million_tokens_then=None if found.cost_then is None else to_usd(found.cost_then),
    )


def _id(kind: object, text: str, param: str) -> UUID:
    try:
        return parse(kind, text)
    except ValueError:
        raise InvalidRequest(f"'{param}' must be an id as the API writes them.", param=param) from None


def _usd(text: str) -> int:
    try:
        return from_usd(text)
    except ValueError as error:
        raise InvalidRequest(str(error), param="what_if.endpoints") from None


def _answer(shown: msgspec.Struct) -> Response:
    return Response(_encode(shown), media_type="application/json", headers={"cache-control": "no-store"})
