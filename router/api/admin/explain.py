"""``/admin/v1/requests/{id}`` and ``/admin/v1/routes:explain``: why a call went where it did, or would."""

from typing import Annotated, Any, TypeAlias

import msgspec
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.money import to_usd
from catalog.values import Use
from router.api.admin.references import account_of, key_of
from router.api.admin.request import Read
from router.api.fields import AccountRef, EndpointIdText, KeyRef, ModelRef, Usd
from router.api.forms import Body, Form
from router.api.operation import ALL, V1, Operations
from router.api.request_ids import RequestIdText, unknown
from router.api.structs import StructValue
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

requests = Operations("requests", f"{V1}/requests", tag="Routes")
routes = Operations("routes", f"{V1}/routes", tag="Routes")

_encode = msgspec.json.Encoder().encode


class EndpointIf(Form):
    """How an endpoint is imagined. What is not given stays as it is."""

    state: EndpointState | None = Field(None, description="Its state.")
    cost_usd_per_mtok: Usd | None = Field(None, description="What it charges us, in USD per million tokens.")
    priority: int | None = Field(None, description="Smaller goes first.")
    weight: int | None = Field(None, description="Its share among those of the same priority and cost.")
    healthy: bool | None = Field(None, description="true: its failures are forgotten; false: it fails.")


class WhatIfForm(Form):
    """What is imagined otherwise."""

    endpoints: dict[EndpointIdText, EndpointIf] = Field({}, description="Changes to endpoints, by their ids (ep_…).")
    exclude: frozenset[str] = Field(frozenset(), description="What is left out: providers by name, endpoints by id.")


class RouteExplain(Body):
    """A call that is only imagined: of a key, or of an account's key with this use, or of nobody's."""

    model: ModelRef = Field(description="The model of the call.")
    key: KeyRef | None = Field(None, description="Whose call, by the key's id or name.")
    account: AccountRef | None = Field(None, description="Whose call, by account: that of any key of it.")
    use: Use = Field(Use.COMMERCIAL, description="What an account's key is for.")
    preferences: dict[str, Any] | None = Field(None, description="The `provider` object of an embeddings call.")
    inputs: int = Field(1, description="How many inputs it has.")
    tokens: int = Field(100, description="How many tokens all inputs have together.")
    lane: Lane = Field(Lane.INTERACTIVE, description="Its lane.")
    what_if: WhatIfForm | None = Field(None, description="What is imagined otherwise.")


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


CallExplanation: TypeAlias = Annotated[OpsRequestOut, StructValue()]
RouteExplanation: TypeAlias = Annotated[ExplainOut, StructValue()]


@requests.get(
    "/{request_id}",
    verb="show",
    name="admin_retrieve_request",
    summary="Explain a request",
    roles=ALL,
)
async def retrieve_request(admin: Read, request_id: RequestIdText) -> CallExplanation:
    """Any account's call, with our cost, the margin and the providers' own words."""
    now = admin.exchange.now
    recorded = await find_call(admin.context.db, request_id, admin.context.receipts)
    if (recorded is None or recorded.explanation is None) and may_be_unwritten(request_id, now):
        raise unknown(request_id, now)
    if recorded is None:
        raise NotFound(
            f"There is no record of this request. Explanations are kept for {KEPT_DAYS} days, charges for good; calls "
            "without a known key are in the log alone.",
            param="request_id",
        )
    return ops_view(recorded)


@routes.post(
    ":explain",
    verb="explain",
    name="admin_explain_route",
    summary="Explain a route without calling anyone",
    roles=ALL,
)
async def explain_route(admin: Read, body: RouteExplain) -> RouteExplanation:
    """Where a call would go, and what would change if endpoints were otherwise. Nothing is called, nothing held.

    A serve process knows which of its providers fail; in process on the machine, none is known to.
    """
    call = DryCall(body.model, _encode(body.preferences), body.inputs, body.tokens, body.lane)
    what_if = None if body.what_if is None else _what_if(body.what_if)

    async def ask(connection: AsyncConnection) -> tuple[Key, PlanningSnapshot]:
        key_id = None if body.key is None else (await key_of(connection, body.key)).id
        account_id = None if body.account is None else (await account_of(connection, body.account)).id
        key = await find_key(connection, key_id=key_id, account_id=account_id, use=body.use)
        return key, await take_snapshot(connection, body.model, await admin.context.known(connection))

    key, as_it_is = await admin.read(ask)
    now = dry_run(call, key, as_it_is, admin.exchange.now)
    if what_if is None:
        return ExplainOut(ops_view(CallRecord(now, None)), None, None)
    then = dry_run(call, key, apply_what_if(as_it_is, what_if), admin.exchange.now)
    views = (ops_view(CallRecord(now, None)), ops_view(CallRecord(then, None)))
    return ExplainOut(*views, _difference(diff_routes(now, then)))


def _what_if(form: WhatIfForm) -> WhatIf:
    endpoints = {
        endpoint_id: EndpointChange(
            state=changed.state,
            cost_nano_per_mtok=changed.cost_usd_per_mtok,
            priority=changed.priority,
            weight=changed.weight,
            healthy=changed.healthy,
        )
        for endpoint_id, changed in form.endpoints.items()
    }
    return WhatIf(endpoints, form.exclude)


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
