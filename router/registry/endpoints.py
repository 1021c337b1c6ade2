"""Registers endpoints, edits them, and moves them through their states. Only a live endpoint gets traffic.

The allowed moves stand here as a table and in the database as a trigger; a test compares the two.
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
from router.changes.transaction import UnitOfWork, violated_constraint
from router.errors import Conflict, InvalidRequest, NotFound
from router.registry.down_mails import SERVES, mail_down
from router.registry.specs import VERIFIED_FIELDS, EndpointSpec
from router.tables import EndpointRow, Json, ProbeScheduleRow, ProviderRow
from router.values import Endpoint, EndpointState, QuarantineCause
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

# The quarantines that probes may end; every other one is an operator's to end, by an activation.
RECOVERABLE = frozenset(
    {QuarantineCause.PROBE, QuarantineCause.PROOF_AWAITED, QuarantineCause.CREDENTIAL_REFUSED},
)
# Of these, the ones that put no vector in doubt: a single good verification is enough.
UNDOUBTED = frozenset({QuarantineCause.PROOF_AWAITED, QuarantineCause.CREDENTIAL_REFUSED})
# What a verification does not depend on: state, order, money, limits, and what the provider's own record says.
_UNVERIFIED_FIELDS = (
    *("state", "priority", "weight", "cost_nano_per_mtok", "requests_per_minute", "tokens_per_minute"),
    *("concurrency", "provider_name", "regions", "collects_data", "retention_days"),
)

COST_MAX = 9_000_000_000_000
GRANTED_MAX = 2**31 - 1


class EndpointView(msgspec.Struct, frozen=True):
    """An endpoint as operators see it: ``reason`` says why it is in its state; a quarantine has its cause, too.

    At a provider that is switched off (``is_enabled``) it gets no traffic, whatever its state.
    """

    endpoint: Endpoint
    reason: str
    quarantine_cause: QuarantineCause | None = None
    is_enabled: bool = True


async def register_endpoint(
    work: UnitOfWork, model: Model, provider_id: ProviderId, spec: EndpointSpec, *, space: str | None = None
) -> Endpoint:
    """Register a new endpoint, as a draft. ``space`` is what the provider claims to serve; it must be the model's.

    Raises ``InvalidRequest``, ``ModelUnknown``, ``NotFound`` for an unknown provider, ``Conflict`` where it is
    registered already.
    """
    _validate(spec)
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
        match violated_constraint(error):
            case "endpoints_provider_id_fkey":
                raise NotFound("There is no such provider.", param="provider") from error
            case None:  # The trigger compares the endpoint's space with the model's.
                raise Conflict(
                    f"The vector space of {model.id} was changed meanwhile. Try again.", retry_after_s=1
                ) from error
            case _:
                raise Conflict(f"The provider serves {model.id} as {spec.upstream_model} already.") from error
    endpoint = (await get_endpoint(work.connection, endpoint_id)).endpoint
    work.record_change(Change("endpoint.register", wire(EndpointId, endpoint_id), after=_audit_facts(endpoint)))
    return endpoint


async def edit_endpoint(work: UnitOfWork, endpoint_id: EndpointId, spec: EndpointSpec) -> Endpoint:
    """Replace what may be set. A live endpoint refuses another upstream model, which would have to be verified first.

    Other input types or numerics take an endpoint that serves out of traffic until it passes a verification.
    Raises ``NotFound``, ``InvalidRequest``, ``Conflict``.
    """
    _validate(spec)
    before = (await get_endpoint(work.connection, endpoint_id, locked=True)).endpoint
    if spec.upstream_model != before.upstream_model and before.state in (LIVE, DRAINING):
        raise Conflict("A live endpoint keeps its upstream model. Turn it off first, or register another endpoint.")
    columns = msgspec.structs.asdict(spec)
    await work.connection.execute(update(EndpointRow).where(EndpointRow.id == endpoint_id).values(**columns))
    after = (await get_endpoint(work.connection, endpoint_id)).endpoint
    work.record_change(
        Change("endpoint.edit", wire(EndpointId, endpoint_id), None, _audit_facts(before), _audit_facts(after))
    )
    changed = [name for name in VERIFIED_FIELDS if getattr(after, name) != getattr(before, name)]
    if changed and await require_proof(work, after, f"{' and '.join(changed)} changed"):
        return (await get_endpoint(work.connection, endpoint_id)).endpoint
    return after


async def require_proof(work: UnitOfWork, endpoint: Endpoint, why: str) -> bool:
    """Take an endpoint out of traffic until it passes a verification, which is due now; return whether it served.

    An endpoint that was being drained does not come back by itself: an operator wanted it to end.
    """
    if endpoint.state not in (LIVE, DRAINING):
        return False
    if endpoint.state is LIVE:
        await move_endpoint(work, endpoint.id, QUARANTINED, why, cause=QuarantineCause.PROOF_AWAITED)
        await verify_soon(work.connection, [endpoint.id])
    else:
        reason = f"{why} while it was draining; an activation brings it back"
        await move_endpoint(work, endpoint.id, QUARANTINED, reason, cause=QuarantineCause.EDITED_WHILE_DRAINING)
    return True


async def verify_soon(connection: AsyncConnection, endpoints: Iterable[EndpointId]) -> None:
    """Make a full verification of these endpoints due now."""
    for endpoint_id in endpoints:
        due = {"next_at": func.now(), "full_at": func.now()}
        statement = upsert(ProbeScheduleRow).values(endpoint_id=endpoint_id, misses=0, good=0, **due)
        await connection.execute(statement.on_conflict_do_update(index_elements=["endpoint_id"], set_=due))


async def move_endpoint(
    work: UnitOfWork,
    endpoint_id: EndpointId,
    to: EndpointState,
    reason: str = "",
    *,
    cause: QuarantineCause | None = None,
) -> Endpoint:
    """Make one step in the table of moves; a step into quarantine has a ``cause``, no other one has.

    Raises ``NotFound``, ``Conflict`` where there is no such move.
    """
    assert (cause is not None) == (to is QUARANTINED), "a quarantine has a cause, nothing else has; this is a bug"
    before = (await get_endpoint(work.connection, endpoint_id, locked=True)).endpoint
    if to not in MOVES[before.state]:
        ways = ", ".join(sorted(MOVES[before.state]))
        raise Conflict(f"{wire(EndpointId, endpoint_id)} is {before.state.value}; from there it can become {ways}.")
    columns = {"state": to.value, "state_reason": reason, "quarantine_cause": None if cause is None else cause.value}
    await work.connection.execute(update(EndpointRow).where(EndpointRow.id == endpoint_id).values(**columns))
    moved: tuple[Json, Json] = {"state": before.state.value}, {"state": to.value}
    if cause is not None:
        moved[1]["quarantine_cause"] = cause.value
    work.record_change(Change(f"endpoint.{to.value}", wire(EndpointId, endpoint_id), None, *moved, reason=reason))
    if to is QUARANTINED and before.state in SERVES:
        await mail_down(work, before, reason)
    return msgspec.structs.replace(before, state=to)


async def restate_quarantine(work: UnitOfWork, endpoint_id: EndpointId, cause: QuarantineCause, reason: str) -> None:
    """Record another cause of a quarantine than the one it began with, and the sentence about it."""
    columns = {"state_reason": reason, "quarantine_cause": cause.value}
    await work.connection.execute(update(EndpointRow).where(EndpointRow.id == endpoint_id).values(**columns))
    after: Json = {"quarantine_cause": cause.value}
    work.record_change(Change("endpoint.restate", wire(EndpointId, endpoint_id), after=after, reason=reason))


async def restate(work: UnitOfWork, endpoint_id: EndpointId, reason: str) -> None:
    """Record another sentence about why the endpoint is in its state, which stays."""
    await work.connection.execute(update(EndpointRow).where(EndpointRow.id == endpoint_id).values(state_reason=reason))
    work.record_change(Change("endpoint.restate", wire(EndpointId, endpoint_id), reason=reason))


async def move_manually(work: UnitOfWork, endpoint_id: EndpointId, to: EndpointState, reason: str = "") -> Endpoint:
    """Make a move that an operator orders: nobody puts an endpoint live that has not shown what space it serves.

    Raises as :func:`move_endpoint`.
    """
    before = (await get_endpoint(work.connection, endpoint_id, locked=True)).endpoint
    if to is LIVE and before.state is not DRAINING:
        raise Conflict(
            f"{wire(EndpointId, endpoint_id)} is {before.state.value}. Only a draining endpoint resumes; any other "
            "goes live by an activation, which tests it."
        )
    cause = QuarantineCause.OPERATOR if to is QUARANTINED else None
    return await move_endpoint(work, endpoint_id, to, reason, cause=cause)


async def pin_space(work: UnitOfWork, endpoint_id: EndpointId, upstream_space: str) -> None:
    """Pin the provider's own name of the space that was verified. Raises ``NotFound``."""
    before = (await get_endpoint(work.connection, endpoint_id, locked=True)).endpoint
    if before.upstream_space == upstream_space:
        return
    columns = {"upstream_space": upstream_space}
    await work.connection.execute(update(EndpointRow).where(EndpointRow.id == endpoint_id).values(**columns))
    pinned: tuple[Json, Json] = {"upstream_space": before.upstream_space}, dict(columns)
    work.record_change(Change("endpoint.pin_space", wire(EndpointId, endpoint_id), None, *pinned))


async def get_endpoint(connection: AsyncConnection, endpoint_id: EndpointId, *, locked: bool = False) -> EndpointView:
    """Read one endpoint, and lock its row where ``locked``. Raises ``NotFound``."""
    query = _query().where(EndpointRow.id == endpoint_id)
    if locked:
        query = query.with_for_update(of=EndpointRow)
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        raise NotFound(f"There is no endpoint {wire(EndpointId, endpoint_id)}.", param="endpoint")
    return _view(row)


def is_recoverable(view: EndpointView) -> bool:
    """Whether the endpoint is in a quarantine that probes may end."""
    return view.quarantine_cause in RECOVERABLE


def needs_one_pass(view: EndpointView) -> bool:
    """Whether the endpoint is in a quarantine that a single good verification ends, since no vector is in doubt."""
    return view.quarantine_cause in UNDOUBTED


def shares_verification(one: Endpoint, other: Endpoint) -> bool:
    """Whether a verification of one holds for the other: state, order, money and limits aside, they are equal.

    Whether their provider is still the same, ``registry.providers.is_unchanged`` says.
    """
    unverified = {name: getattr(other, name) for name in _UNVERIFIED_FIELDS}
    return msgspec.structs.replace(one, **unverified) == other


async def other_serving_endpoints(connection: AsyncConnection, endpoint: Endpoint) -> list[Endpoint]:
    """List the other LIVE or DRAINING endpoints of the same vector space."""
    states = [state.value for state in (LIVE, DRAINING)]
    query = _query().where(EndpointRow.space == endpoint.space, EndpointRow.id != endpoint.id)
    found = await connection.execute(query.where(EndpointRow.state.in_(states)).order_by(EndpointRow.id))
    return [_endpoint(row) for row in found]


async def serving_endpoints(connection: AsyncConnection, provider_id: ProviderId) -> list[Endpoint]:
    """List a provider's LIVE or DRAINING endpoints, locked in the order of their ids."""
    states = [state.value for state in (LIVE, DRAINING)]
    query = _query().where(EndpointRow.provider_id == provider_id, EndpointRow.state.in_(states))
    locked = query.order_by(EndpointRow.id).with_for_update(of=EndpointRow)
    return [_endpoint(row) for row in await connection.execute(locked)]


async def credential_refused_endpoints(connection: AsyncConnection, provider_id: ProviderId) -> list[EndpointId]:
    """List a provider's endpoints that are quarantined because it refused our credential or our credit."""
    refused = EndpointRow.quarantine_cause == QuarantineCause.CREDENTIAL_REFUSED.value
    query = select(EndpointRow.id).where(EndpointRow.provider_id == provider_id, refused).order_by(EndpointRow.id)
    return [EndpointId(endpoint_id) for endpoint_id in await connection.scalars(query)]


async def list_endpoints(connection: AsyncConnection, model_id: ModelId | None = None) -> list[EndpointView]:
    """List all endpoints, or a model's, the first choice first."""
    query = _query().order_by(EndpointRow.model_id, EndpointRow.priority, EndpointRow.id)
    if model_id is not None:
        query = query.where(EndpointRow.model_id == model_id)
    return [_view(row) for row in await connection.execute(query)]


def _query() -> Select[Any]:
    of_provider = (
        ProviderRow.name.label("provider_name"),
        ProviderRow.kind.label("provider_kind"),
        ProviderRow.regions,
        ProviderRow.collects_data,
        ProviderRow.retention_days,
        ProviderRow.enabled.label("provider_enabled"),
    )
    return select(EndpointRow.__table__, *of_provider).join(ProviderRow, ProviderRow.id == EndpointRow.provider_id)


def _view(row: Row[Any]) -> EndpointView:
    cause = None if row.quarantine_cause is None else QuarantineCause(row.quarantine_cause)
    return EndpointView(_endpoint(row), row.state_reason, cause, row.provider_enabled)


def _endpoint(row: Row[Any]) -> Endpoint:
    """A row by the names of its columns, and of what its provider adds."""
    fields: dict[str, Any] = {name: getattr(row, name) for name in Endpoint.__struct_fields__}
    return Endpoint(**{**fields, "state": EndpointState(row.state), "regions": tuple(row.regions)})


def check_upstream_model(name: str) -> None:
    """Raise ``InvalidRequest`` for what is no model's name; some vendors' libraries take a URL there for the host."""
    if not 1 <= len(name) <= 300:
        raise InvalidRequest("The upstream model's name has 1 to 300 characters.", param="upstream_model")
    if "://" in name or name.startswith("//") or any(sign.isspace() or not sign.isprintable() for sign in name):
        raise InvalidRequest("The upstream model is a name, not an address, without blanks.", param="upstream_model")


def _validate(spec: EndpointSpec) -> None:
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


def _audit_facts(endpoint: Endpoint) -> Json:
    facts: Json = msgspec.to_builtins(endpoint)
    return {name: value for name, value in facts.items() if name != "id"}
