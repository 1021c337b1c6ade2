"""Endpoints: register one, edit it, and move it through its states. Only a live one gets traffic.

The moves stand here as a table and in the database as a trigger; a test compares the two.
"""

import re
from collections.abc import Iterable
from typing import Any

import msgspec
from sqlalchemy import Row, Select, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog.models import lock
from catalog.values import Model
from router.changes.audit import Change
from router.changes.transaction import UnitOfWork
from router.errors import Conflict, InvalidRequest, NotFound
from router.registry.specs import ANSWERING, EndpointSpec
from router.tables import EndpointRow, Json, ProbeScheduleRow, ProviderRow
from router.values import Endpoint, EndpointState
from store.ids import EndpointId, ModelId, ProviderId, new_id, wire

DRAFT, PROBING, LIVE = EndpointState.DRAFT, EndpointState.PROBING, EndpointState.LIVE
DRAINING, QUARANTINED, OFF = EndpointState.DRAINING, EndpointState.QUARANTINED, EndpointState.OFF

MOVES: dict[EndpointState, frozenset[EndpointState]] = {
    DRAFT: frozenset({PROBING, OFF}),
    PROBING: frozenset({LIVE, QUARANTINED, OFF}),
    LIVE: frozenset({DRAINING, QUARANTINED, OFF}),
    DRAINING: frozenset({LIVE, QUARANTINED, OFF}),
    QUARANTINED: frozenset({PROBING, OFF}),
    OFF: frozenset({PROBING}),
}

# What stands at the start of an endpoint's reason where probes decide: one has put it in quarantine, or it has to pass
# all of them once because something was changed that decides what answers.
CAUSED_BY_PROBE = "probe_"
AWAITS_PROOF = f"{CAUSED_BY_PROBE}due: "
# What follows where the provider refused our credential or our credit.
REFUSED = "CredentialRefused"
# What an examination does not depend on.
_BESIDE = (
    *("state", "priority", "weight", "cost_nano_per_mtok", "requests_per_minute", "tokens_per_minute"),
    *("concurrency", "provider_name", "regions", "collects_data", "retention_days"),
)

COST_MAX = 9_000_000_000_000
GRANTED_MAX = 2**31 - 1


class EndpointView(msgspec.Struct, frozen=True):
    """An endpoint as operators see it."""

    endpoint: Endpoint
    reason: str


async def register_endpoint(
    work: UnitOfWork, model: Model, provider_id: ProviderId, spec: EndpointSpec, *, space: str | None = None
) -> Endpoint:
    """A new endpoint, as a draft. ``space`` is what the provider claims to serve; it must be the model's.

    Raises ``InvalidRequest``, ``ModelUnknown``, ``NotFound`` for an unknown provider, ``Conflict`` where it is
    registered already.
    """
    _check(spec)
    if space is not None and space != model.space:
        raise InvalidRequest(
            f"The endpoint claims the vector space {space}, and {model.id} is {model.space}: vectors of the two "
            "cannot be compared, so it cannot serve this model.",
            param="space",
        )
    # Its space stays while an endpoint is registered for it.
    await lock(work.connection, model.id, shared=True)
    endpoint_id = EndpointId(new_id())
    row = {"id": endpoint_id, "model_id": model.id, "provider_id": provider_id, "space": model.space}
    try:
        await work.connection.execute(insert(EndpointRow), {**row, **msgspec.structs.asdict(spec)})
    except IntegrityError as error:
        if "endpoints_provider_id_fkey" in str(error.orig):
            raise NotFound("There is no such provider.", param="provider") from error
        if "is not the one of the model" in str(error.orig):
            raise Conflict(f"The vector space of {model.id} was changed meanwhile. Try again.") from error
        raise Conflict(f"The provider serves {model.id} as {spec.upstream_model} already.") from error
    endpoint = (await get_endpoint(work.connection, endpoint_id)).endpoint
    work.changed(Change("endpoint.register", wire(EndpointId, endpoint_id), after=_facts(endpoint)))
    return endpoint


async def edit_endpoint(work: UnitOfWork, endpoint_id: EndpointId, spec: EndpointSpec) -> Endpoint:
    """Replace what may be set. Another upstream model is another thing to probe, so a live endpoint refuses it.

    Other input types or numbers take one that serves out of traffic until it passes its probes.
    Raises ``NotFound``, ``InvalidRequest``, ``Conflict``.
    """
    _check(spec)
    before = (await get_endpoint(work.connection, endpoint_id, locked=True)).endpoint
    if spec.upstream_model != before.upstream_model and before.state in (LIVE, DRAINING):
        raise Conflict("A live endpoint keeps its upstream model. Turn it off first, or register another endpoint.")
    columns = msgspec.structs.asdict(spec)
    await work.connection.execute(update(EndpointRow).where(EndpointRow.id == endpoint_id).values(**columns))
    after = (await get_endpoint(work.connection, endpoint_id)).endpoint
    work.changed(Change("endpoint.edit", wire(EndpointId, endpoint_id), None, _facts(before), _facts(after)))
    changed = [name for name in ANSWERING if getattr(after, name) != getattr(before, name)]
    if changed and await demand_proof(work, after, f"{' and '.join(changed)} changed"):
        return (await get_endpoint(work.connection, endpoint_id)).endpoint
    return after


async def demand_proof(work: UnitOfWork, endpoint: Endpoint, why: str) -> bool:
    """Take one that serves out of traffic until it passes its probes, which are due now; answers whether it served.

    One that was being drained does not come back by itself: an operator wanted it to end.
    """
    if endpoint.state not in (LIVE, DRAINING):
        return False
    by_itself = endpoint.state is LIVE
    reason = f"{AWAITS_PROOF}{why}" if by_itself else f"{why} while it was draining; a test brings it back"
    await move_endpoint(work, endpoint.id, QUARANTINED, reason)
    if by_itself:
        await examine_soon(work.connection, [endpoint.id])
    return True


async def examine_soon(connection: AsyncConnection, endpoints: Iterable[EndpointId]) -> None:
    """The next round asks these all probes."""
    for endpoint_id in endpoints:
        due = {"next_at": func.now(), "full_at": func.now()}
        statement = upsert(ProbeScheduleRow).values(endpoint_id=endpoint_id, misses=0, good=0, **due)
        await connection.execute(statement.on_conflict_do_update(index_elements=["endpoint_id"], set_=due))


async def move_endpoint(work: UnitOfWork, endpoint_id: EndpointId, to: EndpointState, reason: str = "") -> Endpoint:
    """One step in the table of moves. Raises ``NotFound``, ``Conflict`` where there is no such move."""
    before = (await get_endpoint(work.connection, endpoint_id, locked=True)).endpoint
    if to not in MOVES[before.state]:
        ways = ", ".join(sorted(MOVES[before.state]))
        raise Conflict(f"{wire(EndpointId, endpoint_id)} is {before.state.value}; from there it can become {ways}.")
    columns = {"state": to.value, "state_reason": reason}
    await work.connection.execute(update(EndpointRow).where(EndpointRow.id == endpoint_id).values(**columns))
    moved: tuple[Json, Json] = {"state": before.state.value}, {"state": to.value}
    work.changed(Change(f"endpoint.{to.value}", wire(EndpointId, endpoint_id), None, *moved, reason=reason))
    return msgspec.structs.replace(before, state=to)


async def restate(work: UnitOfWork, endpoint_id: EndpointId, reason: str) -> None:
    """Say anew why the endpoint is in its state."""
    columns = {"state_reason": reason}
    await work.connection.execute(update(EndpointRow).where(EndpointRow.id == endpoint_id).values(**columns))
    work.changed(Change("endpoint.restate", wire(EndpointId, endpoint_id), reason=reason))


async def move_by_hand(work: UnitOfWork, endpoint_id: EndpointId, to: EndpointState, reason: str = "") -> Endpoint:
    """A move that an operator orders: nobody puts an endpoint live that has not shown what space it serves.

    Raises as :func:`move_endpoint`.
    """
    before = (await get_endpoint(work.connection, endpoint_id, locked=True)).endpoint
    if to is LIVE and before.state is not DRAINING:
        raise Conflict(
            f"{wire(EndpointId, endpoint_id)} is {before.state.value}. Only a draining endpoint resumes; any other "
            "goes live by passing its test."
        )
    return await move_endpoint(work, endpoint_id, to, reason)


async def pin_space(work: UnitOfWork, endpoint_id: EndpointId, upstream_space: str) -> None:
    """Remember what the provider calls the space that was tested. Raises ``NotFound``."""
    before = (await get_endpoint(work.connection, endpoint_id, locked=True)).endpoint
    if before.upstream_space == upstream_space:
        return
    columns = {"upstream_space": upstream_space}
    await work.connection.execute(update(EndpointRow).where(EndpointRow.id == endpoint_id).values(**columns))
    pinned: tuple[Json, Json] = {"upstream_space": before.upstream_space}, dict(columns)
    work.changed(Change("endpoint.pin_space", wire(EndpointId, endpoint_id), None, *pinned))


async def get_endpoint(connection: AsyncConnection, endpoint_id: EndpointId, *, locked: bool = False) -> EndpointView:
    """Raises ``NotFound``."""
    query = _query().where(EndpointRow.id == endpoint_id)
    if locked:
        query = query.with_for_update(of=EndpointRow)
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        raise NotFound(f"There is no endpoint {wire(EndpointId, endpoint_id)}.", param="endpoint")
    return EndpointView(_endpoint(row), row.state_reason)


def by_probe(view: EndpointView) -> bool:
    """Whether the endpoint stands where it stands because of probes, so that they may bring it back."""
    return view.reason.startswith(CAUSED_BY_PROBE)


def awaits_proof(view: EndpointView) -> bool:
    """Whether it only waits to be examined, no vector of it in doubt: one good examination is enough."""
    return view.reason.startswith(AWAITS_PROOF) or was_refused(view)


def was_refused(view: EndpointView) -> bool:
    """Whether it is out because its provider refused our credential or our credit, and may come back by itself."""
    return by_probe(view) and view.reason.partition(": ")[2].startswith(REFUSED)


def is_examined_as(one: Endpoint, other: Endpoint) -> bool:
    """Whether what was seen of the one is true of the other: states, money, order and limits aside, they are the same.

    What its provider is goes by the provider's own record.
    """
    beside = {name: getattr(other, name) for name in _BESIDE}
    return msgspec.structs.replace(one, **beside) == other


async def others_serving(connection: AsyncConnection, endpoint: Endpoint) -> list[Endpoint]:
    """Other endpoints of its space that serve or end what they serve."""
    states = [state.value for state in (LIVE, DRAINING)]
    query = _query().where(EndpointRow.space == endpoint.space, EndpointRow.id != endpoint.id)
    found = await connection.execute(query.where(EndpointRow.state.in_(states)).order_by(EndpointRow.id))
    return [_endpoint(row) for row in found]


async def serving_of(connection: AsyncConnection, provider_id: ProviderId) -> list[Endpoint]:
    """A provider's endpoints that serve or end what they serve, in one order and locked."""
    states = [state.value for state in (LIVE, DRAINING)]
    query = _query().where(EndpointRow.provider_id == provider_id, EndpointRow.state.in_(states))
    locked = query.order_by(EndpointRow.id).with_for_update(of=EndpointRow)
    return [_endpoint(row) for row in await connection.execute(locked)]


async def refused_of(connection: AsyncConnection, provider_id: ProviderId) -> list[EndpointId]:
    """A provider's quarantined endpoints at which it had refused our credential."""
    states = (EndpointRow.provider_id == provider_id, EndpointRow.state == QUARANTINED.value)
    rows = await connection.execute(_query().where(*states).order_by(EndpointRow.id))
    views = [EndpointView(_endpoint(row), row.state_reason) for row in rows]
    return [view.endpoint.id for view in views if was_refused(view)]


async def list_endpoints(connection: AsyncConnection, model_id: ModelId | None = None) -> list[EndpointView]:
    """All endpoints, or a model's, the first choice first."""
    query = _query().order_by(EndpointRow.model_id, EndpointRow.priority, EndpointRow.id)
    if model_id is not None:
        query = query.where(EndpointRow.model_id == model_id)
    return [EndpointView(_endpoint(row), row.state_reason) for row in await connection.execute(query)]


def _query() -> Select[Any]:
    of_provider = (
        ProviderRow.name.label("provider_name"),
        ProviderRow.kind.label("provider_kind"),
        ProviderRow.regions,
        ProviderRow.collects_data,
        ProviderRow.retention_days,
    )
    return select(EndpointRow.__table__, *of_provider).join(ProviderRow, ProviderRow.id == EndpointRow.provider_id)


def _endpoint(row: Row[Any]) -> Endpoint:
    """A row by the names of its columns, and of what its provider adds."""
    fields: dict[str, Any] = {name: getattr(row, name) for name in Endpoint.__struct_fields__}
    return Endpoint(**{**fields, "state": EndpointState(row.state), "regions": tuple(row.regions)})


def check_upstream_model(name: str) -> None:
    """Raises ``InvalidRequest`` for what is no model's name; some vendors' libraries take a URL there for the host."""
    if not 1 <= len(name) <= 300:
        raise InvalidRequest("The upstream model's name has 1 to 300 characters.", param="upstream_model")
    if "://" in name or name.startswith("//") or any(sign.isspace() or not sign.isprintable() for sign in name):
        raise InvalidRequest("The upstream model is a name, not an address, without blanks.", param="upstream_model")


def _check(spec: EndpointSpec) -> None:
    check_upstream_model(spec.upstream_model)
    if not 0 <= spec.cost_nano_per_mtok <= COST_MAX:
        raise InvalidRequest("The cost is between 0.00 and 9000.00 USD per million tokens.", param="cost")
    if not 0 <= spec.priority <= 1_000_000:
        raise InvalidRequest("The priority is between 0 and 1000000; the smallest goes first.", param="priority")
    if not 1 <= spec.weight <= 10_000:
        raise InvalidRequest("The weight is between 1 and 10000.", param="weight")
    if spec.numerics is not None and re.fullmatch("[a-z0-9-]{1,40}", spec.numerics) is None:
        raise InvalidRequest("The numerics are lower-case letters, digits and dashes, as in bf16.", param="numerics")
    for name in ("max_batch", "max_batch_tokens", "requests_per_minute", "tokens_per_minute", "concurrency"):
        granted = getattr(spec, name)
        if granted is not None and not 1 <= granted <= GRANTED_MAX:
            raise InvalidRequest(f"{name} is between 1 and {GRANTED_MAX}, or left out for no limit.", param=name)


def _facts(endpoint: Endpoint) -> Json:
    facts: Json = msgspec.to_builtins(endpoint)
    return {name: value for name, value in facts.items() if name != "id"}
