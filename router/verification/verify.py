"""Verifies that an endpoint serves the space that it claims: compares it, records the outcome, moves it accordingly.

An operator, the start of ``gigarouter up`` and the jobs may verify one endpoint at the same time, in any order. An
endpoint earns ``live`` here and loses it here. :mod:`router.registry.endpoints` has the table of moves and audits them.
"""

import secrets
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

import msgspec
import structlog
from sqlalchemy import func, insert, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog.values import Model
from providers.probing.agreement import compare
from providers.probing.probe_texts import ProbeSet, probe_set
from providers.protocol import FloatMatrix, Provider
from router.changes.audit import Actor, Change
from router.changes.transaction import UnitOfWork, transact
from router.registry.endpoints import (
    RECOVERABLE,
    EndpointView,
    get_endpoint,
    is_recoverable,
    move_endpoint,
    needs_one_pass,
    other_serving_endpoints,
    pin_space,
    require_proof,
    restate,
    restate_quarantine,
    shares_verification,
)
from router.registry.indexes import ProviderRecord
from router.registry.providers import is_unchanged
from router.tables import ProbeRow
from router.values import Endpoint, EndpointState, QuarantineCause
from router.verification.compare import BY_HAND, ComparisonResult, ComparisonTask, compare_endpoint
from router.verification.peers import SpeakingTo, open_peer
from router.verification.prober import Quota
from router.verification.references import (
    Reference,
    backfill_texts,
    find_reference,
    has_reference,
    lock_space,
    record_noise,
    set_reference,
)
from router.verification.report import Occasion, SpaceVerdict, VerificationReport, next_state
from store.ids import EndpointId, ProbeId, new_id, wire
from store.postgres import STORE_FAULTS, Database

log = structlog.get_logger("router.verification.verify")

# No call takes longer; request ids tell when a call began.
LONGEST_CALL = timedelta(minutes=10)
COUNT_WITHIN_S = 60
SEED_BYTES = 16
WITHOUT_TRAFFIC = (EndpointState.DRAFT, EndpointState.OFF, EndpointState.QUARANTINED)

# Runs in the transaction that records a verification, with the report as it is recorded.
OnVerified = Callable[[UnitOfWork, VerificationReport], Awaitable[None]]

_CALLS_SINCE = text(
    "SELECT count(*) FROM usage_events WHERE endpoint_id = :endpoint AND request_id >= :first AND occurred_at >= :since"
)


async def verify_endpoint(
    db: Database,
    record: ProviderRecord,
    provider: Provider,
    endpoint: Endpoint,
    model: Model,
    actor: Actor,
    occasion: Occasion,
    *,
    as_reference: str = "",
    replace: bool = False,
    quota: Quota | None = None,
    canary_turn: int | None = None,
    ends_quarantine: bool = False,
    activates: bool = True,
    dry_run: bool = False,
    speaking_to: SpeakingTo | None = None,
    on_verified: OnVerified | None = None,
) -> VerificationReport:
    """Compare the endpoint with its space's reference, record the outcome, move the endpoint.

    By hand, an endpoint that does not serve yet goes through ``probing``, and on to ``live`` where the verification
    ``activates`` it; one that was turned off or quarantined stays that without it. ``record`` is what the provider was
    built from. Where that or the endpoint was edited meanwhile, nothing comes of the outcome. ``as_reference`` is an
    operator's reason to let this endpoint vouch for the space. While others serve it, it has to agree with the
    reference that they are held to, unless it is to ``replace`` that: then they have to pass again. Without a ``quota``
    only this verification's own calls keep within the provider's grant. ``canary_turn``: compare a few probe texts
    only, others for each number. ``ends_quarantine``: a good verdict brings the endpoint back from quarantine.
    ``speaking_to`` opens a second endpoint's provider, which says what vectors texts should have that nobody knew
    beforehand. A ``dry_run`` neither writes nor moves. Raises ``NotFound``, ``Conflict``, ``StoreUnavailable``; a
    provider's failure is in the report.
    """
    starts = WITHOUT_TRAFFIC if activates else (EndpointState.DRAFT,)
    if occasion in BY_HAND and endpoint.state in starts and not dry_run:
        endpoint = await transact(db, actor, partial(_start_probing, endpoint.id))
    probes = probe_set(model.max_input_tokens)
    reference, is_orphaned, others = await _find_references(db, endpoint, model, probes)
    task = ComparisonTask(
        record,
        provider,
        endpoint,
        model,
        probes,
        reference,
        occasion,
        as_reference,
        canary_turn,
        replace,
        others if as_reference else 0,
        is_orphaned,
        quota,
        seed=secrets.token_bytes(SEED_BYTES),
    )
    async with open_peer(db, task, speaking_to) as peer:
        result = await compare_endpoint(msgspec.structs.replace(task, peer=peer))
    if not activates and endpoint.state is EndpointState.PROBING:
        result = _kept_from_probes(result)
    to = next_state(endpoint.state, result.verdict, ends_quarantine=ends_quarantine, activates=activates)
    return _report(task, result) if dry_run else await _record(db, actor, task, result, to, on_verified)


async def _find_references(
    db: Database, endpoint: Endpoint, model: Model, probes: ProbeSet
) -> tuple[Reference | None, bool, int]:
    """The space's reference; whether there is one of other probe texts alone; how many others serve the space."""
    async with db.transaction() as connection:
        reference = await find_reference(connection, model.space, probes)
        is_orphaned = reference is None and await has_reference(connection, model.space)
        return reference, is_orphaned, len(await other_serving_endpoints(connection, endpoint))


def _kept_from_probes(result: ComparisonResult) -> ComparisonResult:
    """The result with a cause that no probe ends: it would put into traffic what nobody activated."""
    return msgspec.structs.replace(result, cause=QuarantineCause.TEST_FAILED) if result.cause in RECOVERABLE else result


async def _start_probing(endpoint_id: EndpointId, work: UnitOfWork) -> Endpoint:
    return await move_endpoint(work, endpoint_id, EndpointState.PROBING, "being tested")


async def _record(
    db: Database,
    actor: Actor,
    task: ComparisonTask,
    result: ComparisonResult,
    to: EndpointState | None,
    on_verified: OnVerified | None,
) -> VerificationReport:
    """Write the probe's row and, in the same transaction, the reference, the pin and the move that follow from it."""
    report = _report(task, result)
    pins = report.passed and result.space is not None and result.space != task.endpoint.upstream_space
    # An endpoint that was to prove itself after a change, and did not: ops learn why it stays out.
    is_refuted = task.endpoint.state is EndpointState.QUARANTINED and result.verdict is SpaceVerdict.ANOTHER_SPACE
    is_quiet = to is None and result.vectors is None and result.noise is None and not (pins or is_refuted)
    if is_quiet and on_verified is None:
        return await _record_quietly(db, task, report)

    async def command(work: UnitOfWork) -> VerificationReport:
        view, is_same = await lock_and_compare(work.connection, task.record, task.endpoint)
        now = view.endpoint
        await lock_space(work.connection, task.model.space)
        if not is_same or not await _is_reference_unchanged(work.connection, task):
            recorded = _discard(report, view)
        elif now.state is not task.endpoint.state or (
            now.state is EndpointState.QUARANTINED and not is_recoverable(view)
        ):
            # Ops were faster: the report is written down, and nothing comes of it.
            recorded = msgspec.structs.replace(report, state=now.state, became_reference=False)
        else:
            recorded = await _apply(work, task, result, to, report, pins=pins)
            if is_refuted and needs_one_pass(view):
                await restate_quarantine(work, now.id, result.cause, _state_reason(report))
        await _write(work.connection, now, recorded)
        if not work.changes:
            work.record_change(Change("endpoint.probe", wire(EndpointId, now.id), reason=report.reason))
        if on_verified is not None:
            await on_verified(work, recorded)
        return recorded

    recorded = await transact(db, actor, command)
    if recorded.stands and recorded.state is EndpointState.QUARANTINED and (to is recorded.state or is_refuted):
        # The traffic has ended; whom it hit may take long to count.
        recorded = await _with_affected_calls(db, task.endpoint, recorded)
        _log_quarantine(task.endpoint, result.cause, recorded)
    return recorded


async def _record_quietly(db: Database, task: ComparisonTask, report: VerificationReport) -> VerificationReport:
    """Write the probe's row alone, without an audit row: nothing else follows from the report."""
    async with db.transaction() as connection:
        view, is_same = await lock_and_compare(connection, task.record, task.endpoint)
        if task.reference is not None:
            await backfill_texts(connection, task.reference, task.probes)
        recorded = msgspec.structs.replace(report, state=view.endpoint.state) if is_same else _discard(report, view)
        await _write(connection, task.endpoint, recorded)
    return recorded


async def lock_and_compare(
    connection: AsyncConnection, record: ProviderRecord, endpoint: Endpoint
) -> tuple[EndpointView, bool]:
    """Lock the endpoint, and return it as it is now and whether what was compared is still what serves."""
    # The provider first, as who edits it does.
    is_same_provider = await is_unchanged(connection, record)
    view = await get_endpoint(connection, endpoint.id, locked=True)
    return view, is_same_provider and shares_verification(endpoint, view.endpoint)


async def _apply(
    work: UnitOfWork,
    task: ComparisonTask,
    result: ComparisonResult,
    to: EndpointState | None,
    report: VerificationReport,
    *,
    pins: bool,
) -> VerificationReport:
    """Make what follows from a comparison: the reference or its noise, the pin, the move."""
    if result.vectors is not None:
        await _set_reference(work, task, result.vectors, result.source)
    if result.noise is not None and task.reference is not None:
        await record_noise(work, task.reference, result.noise)
    if pins and result.space is not None:
        await pin_space(work, task.endpoint.id, result.space)
    if to is not None:
        await _move(work, task.endpoint, to, result.cause, _state_reason(report))
    elif report.passed and task.endpoint.state is EndpointState.PROBING:
        await restate(work, task.endpoint.id, "passed its test, and is not activated yet")
    return msgspec.structs.replace(report, state=to or task.endpoint.state)


async def _is_reference_unchanged(connection: AsyncConnection, task: ComparisonTask) -> bool:
    """Whether the reference is still the one that was compared with, and none is replaced unseen."""
    now, then = await find_reference(connection, task.model.space, task.probes), task.reference
    if (now and (now.probe_set, now.recorded_at)) != (then and (then.probe_set, then.recorded_at)):
        return False
    replaces_unseen = now is not None and task.expected is None and not task.replace
    return not (replaces_unseen and await other_serving_endpoints(connection, task.endpoint))


async def _set_reference(work: UnitOfWork, task: ComparisonTask, vectors: FloatMatrix, source: str) -> None:
    """Make its vectors the reference; endpoints that serve by one that says something else have to pass again."""
    before = task.reference
    # The same worker's word for more probes changes nothing of how far honest copies are apart.
    noise = None if before is None or task.as_reference else before.noise
    await set_reference(work, task.model.space, task.probes, vectors, source, before=before, noise=noise)
    if before is None or _agree(before, vectors, task):
        return
    for other in await other_serving_endpoints(work.connection, task.endpoint):
        await require_proof(work, other, f"the reference of {task.model.space} was replaced")


def _agree(before: Reference, vectors: FloatMatrix, task: ComparisonTask) -> bool:
    rows = before.known_rows
    if before.vectors.shape != vectors.shape:
        return False
    return compare(before.vectors[rows], vectors[rows], task.numerics, before.noise).passed


def _discard(report: VerificationReport, view: EndpointView) -> VerificationReport:
    """The report of something that is not there any more: nothing comes of it."""
    return msgspec.structs.replace(
        report,
        verdict=SpaceVerdict.NO_ANSWER,
        reason="it, its provider or its space's reference was changed while it was examined, so nothing comes of what "
        f"was seen ({report.verdict.value}): examine it again",
        state=view.endpoint.state,
        became_reference=False,
        dimensions=None,
        stands=False,
    )


def _report(task: ComparisonTask, result: ComparisonResult) -> VerificationReport:
    return VerificationReport(
        id=ProbeId(new_id()),
        occasion=task.occasion,
        verdict=result.verdict,
        reason=result.reason,
        state=task.endpoint.state,
        probe_set=task.probes.name,
        numerics=task.numerics,
        full=task.canary_turn is None,
        steps=result.steps,
        reference=result.source or ("" if task.reference is None else task.reference.source),
        became_reference=result.vectors is not None,
        space=result.space,
        dimensions=task.model.dimensions if result.verdict is SpaceVerdict.SAME_SPACE else None,
        calls=result.calls,
        tokens=result.tokens,
        may_recover=result.cause in RECOVERABLE,
    )


async def _move(work: UnitOfWork, endpoint: Endpoint, to: EndpointState, cause: QuarantineCause, reason: str) -> None:
    if endpoint.state is EndpointState.QUARANTINED:
        await move_endpoint(work, endpoint.id, EndpointState.PROBING, "its probes are good again")
    await move_endpoint(work, endpoint.id, to, reason, cause=cause if to is EndpointState.QUARANTINED else None)


def _state_reason(report: VerificationReport) -> str:
    return "passed its test" if report.passed else report.reason[:300]


async def _with_affected_calls(db: Database, endpoint: Endpoint, report: VerificationReport) -> VerificationReport:
    """Add the last good verification and how many calls were answered since, where that can be counted in a minute."""
    try:
        async with db.transaction() as connection:
            await connection.execute(text(f"SET LOCAL statement_timeout = '{COUNT_WITHIN_S}s'"))
            return await _count_affected_calls(connection, endpoint, report)
    except (*STORE_FAULTS, DBAPIError) as fault:
        log.warning("affected_calls_not_counted", endpoint=wire(EndpointId, endpoint.id), fault=repr(fault)[:200])
        return report


async def _count_affected_calls(
    connection: AsyncConnection, endpoint: Endpoint, report: VerificationReport
) -> VerificationReport:
    good = select(func.max(ProbeRow.at)).where(
        ProbeRow.endpoint_id == endpoint.id, ProbeRow.verdict == SpaceVerdict.SAME_SPACE.value
    )
    last: datetime | None = (await connection.execute(good)).scalar_one()
    if last is None:
        return report
    first = UUID(int=int((last - LONGEST_CALL).timestamp() * 1000) << 80)
    binds = {"endpoint": endpoint.id, "first": first, "since": last}
    calls: int = (await connection.execute(_CALLS_SINCE, binds)).scalar_one()
    return msgspec.structs.replace(report, last_good_at=last, calls_since=calls)


async def _write(connection: AsyncConnection, endpoint: Endpoint, report: VerificationReport) -> None:
    row = {
        "id": report.id,
        "endpoint_id": endpoint.id,
        "occasion": report.occasion.value,
        "verdict": report.verdict.value,
        "reason": report.reason,
        "report": msgspec.to_builtins(report),
    }
    await connection.execute(insert(ProbeRow), row)


def _log_quarantine(endpoint: Endpoint, cause: QuarantineCause, report: VerificationReport) -> None:
    log.error(
        "endpoint_quarantined",
        endpoint=wire(EndpointId, endpoint.id),
        provider=endpoint.provider_name,
        model=endpoint.model_id,
        space=endpoint.space,
        reason=report.reason,
        cause=cause.value,
        occasion=report.occasion,
        cosine_min=report.cosine_min,
        numerics=report.numerics,
        last_good_at=None if report.last_good_at is None else report.last_good_at.isoformat(),
        calls_since=report.calls_since,
    )
