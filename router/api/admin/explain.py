"""``/admin/v1/requests/{id}`` and ``/admin/v1/routes:explain``: why a call went where it did, or would."""

from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.money import to_usd
from catalog.values import Use
from router.api.admin.operation import asks, shows
from router.api.admin.parsing import V1, body_of, context_of, exchange_of, given_id, read, usd_of
from router.api.admin.responses import one
from router.api.operation import OperationRoute
from router.api.public.requests import request_of, unknown
from router.dry_run import (
    DryCall,
    EndpointChange,
    PlanningSnapshot,
    RouteDiff,
    WhatIf,
    apply_what_if,
    diff_routes,
    dry_run,
    find_key,
    take_snapshot,
)
from router.errors import NotFound
from router.explain.receipts import KEPT_DAYS, find_call, may_be_unwritten
from router.explain.views import CallRecord, OpsRequestOut, ops_view
from router.values import EndpointState, Key, Lane
from store.ids import AccountId, EndpointId, KeyId

operations = APIRouter(route_class=OperationRoute)


class EndpointIf(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How an endpoint is imagined; ``cost_usd_per_mtok`` in USD. What is not given stays as it is."""

    state: EndpointState | None = None
    cost_usd_per_mtok: str | None = None
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
    cost_usd_per_mtok_now: str | None
    cost_usd_per_mtok_then: str | None


class ExplainOut(msgspec.Struct, frozen=True):
    """Where the call would go now, and where it would go if things were as imagined. Nothing was called or held."""

    now: OpsRequestOut
    then: OpsRequestOut | None
    difference: DifferenceOut | None
    object: str = "route_explanation"


_encode = msgspec.json.Encoder().encode


@operations.get(
    f"{V1}/requests/{{request_id}}", **shows("admin_retrieve_request", "Explain a request", "Routes", OpsRequestOut)
)
async def retrieve_request(request: Request, request_id: str) -> Response:
    """Any account's call, with our cost, the margin and the providers' own words."""
    exchange, context = exchange_of(request), context_of(request)
    asked = request_of(request_id)
    recorded = await find_call(context.db, asked, context.receipts)
    if (recorded is None or recorded.explanation is None) and may_be_unwritten(asked, exchange.now):
        raise unknown(asked, exchange.now)
    if recorded is None:
        raise NotFound(
            f"There is no record of this request. Explanations are kept for {KEPT_DAYS} days, charges for good; calls "
            "without a known key are in the log alone.",
            param="request_id",
        )
    return one(ops_view(recorded))


@operations.post(
    f"{V1}/routes:explain",
    **asks("admin_explain_route", "Explain a route without calling anyone", "Routes", ExplainOut, ExplainIn),
)
async def explain_route(request: Request) -> Response:
    """Where a call would go, and what would change if endpoints were otherwise."""
    exchange, context = exchange_of(request), context_of(request)
    given = body_of(request, ExplainIn)
    asked = DryCall(
        model=given.model,
        preferences=_encode(given.preferences),
        inputs=given.inputs,
        tokens=given.tokens,
        lane=given.lane,
    )
    key_id = None if given.key is None else KeyId(given_id(KeyId, given.key, "key"))
    account_id = None if given.account is None else AccountId(given_id(AccountId, given.account, "account"))

    async def ask(connection: AsyncConnection) -> tuple[Key, PlanningSnapshot]:
        key = await find_key(connection, key_id=key_id, account_id=account_id, use=given.use)
        return key, await take_snapshot(connection, given.model, await context.known(connection))

    key, as_it_is = await read(request, ask)
    now = dry_run(asked, key, as_it_is, exchange.now)
    if given.what_if is None:
        return one(ExplainOut(ops_view(CallRecord(now, None)), None, None))
    then = dry_run(asked, key, apply_what_if(as_it_is, _what_if(given.what_if)), exchange.now)
    told = _difference(diff_routes(now, then))
    return one(ExplainOut(ops_view(CallRecord(now, None)), ops_view(CallRecord(then, None)), told))


def _what_if(given: WhatIfIn) -> WhatIf:
    endpoints = {
        EndpointId(given_id(EndpointId, name, "what_if.endpoints")): EndpointChange(
            state=changed.state,
            cost_nano_per_mtok=None
            if changed.cost_usd_per_mtok is None
            else usd_of(changed.cost_usd_per_mtok, "what_if.endpoints"),
            priority=changed.priority,
            weight=changed.weight,
            healthy=changed.healthy,
        )
        for name, changed in given.endpoints.items()
    }
    return WhatIf(endpoints, given.exclude)


def _difference(found: RouteDiff) -> DifferenceOut:
    return DifferenceOut(
        chosen_now=found.chosen_now,
        chosen_then=found.chosen_then,
        order_now=found.order_now,
        order_then=found.order_then,
        enters=found.enters,
        leaves=found.leaves,
        cost_usd_per_mtok_now=None if found.cost_now is None else to_usd(found.cost_now),
        cost_usd_per_mtok_then=None if found.cost_then is None else to_usd(found.cost_then),
    )
