"""Certify: examine whether an endpoint serves the space that it claims, write down what was seen, move it accordingly.

Any caller may be first or second: an operator, the start of ``gigarouter up``, the jobs. The endpoint earns ``live``
here and loses it here; the table of moves and the audit are :mod:`router.registry.endpoints`'.
"""

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
from providers.probing.probe_texts import probe_set
from providers.protocol import FloatMatrix, Provider
from router.changes.audit import Actor, Change
from router.changes.transaction import UnitOfWork, transact
from router.registry.endpoints import (
    RECOVERABLE,
    EndpointView,
    demand_proof,
    get_endpoint,
    is_examined_as,
    is_recoverable,
    move_endpoint,
    needs_one_pass,
    others_serving,
    pin_space,
    restate_quarantine,
)
from router.registry.indexes import ProviderRecord
from router.registry.providers import is_still
from router.tables import ProbeRow
from router.values import Endpoint, EndpointState, QuarantineCause
from router.verification.compare import BY_HAND, Case, Exam, examine
from router.verification.prober import Quota
from router.verification.references import (
    Reference,
    find_reference,
    has_reference,
    lock_space,
    remember_texts,
    set_noise,
    set_reference,
)
from router.verification.report import Occasion, Report, Verdict, next_state
from store.ids import EndpointId, ProbeId, new_id, wire
from store.postgres import STORE_FAULTS, Database

log = structlog.get_logger("router.verification.verify")

# No call takes longer; request ids tell when a call began.
LONGEST_CALL = timedelta(minutes=10)
COUNTED_WITHIN_S = 60
UNTRIED = (EndpointState.DRAFT, EndpointState.OFF, EndpointState.QUARANTINED)

Ending = Callable[[UnitOfWork, Report], Awaitable[None]]

_CALLS_SINCE = text(
    "SELECT count(*) FROM usage_events WHERE endpoint_id = :endpoint AND request_id >= :first AND occurred_at >= :since"
)


async def certify(
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
    canaries: int | None = None,
    returns: bool = False,
    dry_run: bool = False,
    ending: Ending | None = None,
) -> Report:
    """Examine, record, move. By hand, an endpoint that does not serve yet goes through ``probing``.

    ``record`` is what the provider was built from. What was edited meanwhile was not examined: nothing comes of it.
    ``as_reference`` is an operator's reason to let this endpoint vouch for the space. While others serve it, it has to
    agree with the reference that they are held to, unless it is to ``replace`` that: then they have to pass again.
    Without a ``quota`` only what is asked here keeps within the provider's grant.
    ``canaries``: ask a few probes only, others for each number. ``returns``: a good result brings the endpoint back
    from quarantine. A ``dry_run`` neither writes nor moves. ``ending`` runs in the transaction that does, with
    the report as it is written. Raises ``NotFound``, ``Conflict``, ``StoreUnavailable``; nothing of the provider's.
    """
    if occasion in BY_HAND and endpoint.state in UNTRIED and not dry_run:
        endpoint = await transact(db, actor, partial(_begin, endpoint.id))
    probes = probe_set(model.max_input_tokens)
    async with db.transaction() as connection:
        reference = await find_reference(connection, model.space, probes)
        is_orphaned = reference is None and await has_reference(connection, model.space)
        others = len(await others_serving(connection, endpoint)) if as_reference else 0
    case = Case(
        record,
        provider,
        endpoint,
        model,
        probes,
        reference,
        occasion,
        as_reference,
        canaries,
        replace,
        others,
        is_orphaned,
        quota,
    )
    exam = await examine(case)
    if dry_run:
        return _report(case, exam)
    to = next_state(endpoint.state, exam.verdict, returns=returns)
    return await _settle(db, actor, case, exam, to, ending)


async def _begin(endpoint_id: EndpointId, work: UnitOfWork) -> Endpoint:
    return await move_endpoint(work, endpoint_id, EndpointState.PROBING, "being tested")


async def _settle(
    db: Database, actor: Actor, case: Case, exam: Exam, to: EndpointState | None, ending: Ending | None
) -> Report:
    """Write the probe; with it, in one transaction, the reference, the pin and the move."""
    report = _report(case, exam)
    pins = report.passed and exam.space is not None and exam.space != case.endpoint.upstream_space
    # One that was to prove itself after a change, and did not: ops learn why it stays out.
    refuted = case.endpoint.state is EndpointState.QUARANTINED and exam.verdict is Verdict.ANOTHER_SPACE
    is_quiet = to is None and exam.vectors is None and exam.noise is None and not (pins or refuted)
    if is_quiet and ending is None:
        async with db.transaction() as connection:
            view, same = await as_examined(connection, case.record, case.endpoint)
            if case.reference is not None:
                await remember_texts(connection, case.reference, case.probes)
            settled = msgspec.structs.replace(report, state=view.endpoint.state) if same else _void(report, view)
            await _write(connection, case.endpoint, settled)
        return settled

    async def command(work: UnitOfWork) -> Report:
        view, same = await as_examined(work.connection, case.record, case.endpoint)
        now = view.endpoint
        await lock_space(work.connection, case.model.space)
        if not same or not await _is_reference(work.connection, case):
            settled = _void(report, view)
        elif now.state is not case.endpoint.state or (
            now.state is EndpointState.QUARANTINED and not is_recoverable(view)
        ):
            # Ops were faster: what was seen is written down, and nothing comes of it.
            settled = msgspec.structs.replace(report, state=now.state, became_reference=False)
        else:
            settled = await _follow(work, case, exam, to, report, pins=pins)
            if refuted and needs_one_pass(view):
                await restate_quarantine(work, now.id, exam.cause, _reason(report))
        await _write(work.connection, now, settled)
        if not work.changes:
            work.changed(Change("endpoint.probe", wire(EndpointId, now.id), reason=report.reason))
        if ending is not None:
            await ending(work, settled)
        return settled

    settled = await transact(db, actor, command)
    if settled.stands and settled.state is EndpointState.QUARANTINED and (to is settled.state or refuted):
        # The traffic has ended; whom it hit may take long to count.
        settled = await _with_affected(db, case.endpoint, settled)
        _alarm(case.endpoint, settled)
    return settled


async def as_examined(
    connection: AsyncConnection, record: ProviderRecord, endpoint: Endpoint
) -> tuple[EndpointView, bool]:
    """The endpoint now, locked, and whether it and its provider are still what was examined."""
    # The provider first, as who edits it does.
    same_provider = await is_still(connection, record)
    view = await get_endpoint(connection, endpoint.id, locked=True)
    return view, same_provider and is_examined_as(endpoint, view.endpoint)


async def _follow(
    work: UnitOfWork, case: Case, exam: Exam, to: EndpointState | None, report: Report, *, pins: bool
) -> Report:
    """What comes of an examination: the reference or its noise, the pin, the move."""
    settled = msgspec.structs.replace(report, state=to or case.endpoint.state)
    if exam.vectors is not None:
        await _vouch(work, case, exam.vectors, exam.source)
    if exam.noise is not None and case.reference is not None:
        await set_noise(work, case.reference, exam.noise)
    if pins and exam.space is not None:
        await pin_space(work, case.endpoint.id, exam.space)
    if to is not None:
        await _move(work, case.endpoint, to, exam.cause, _reason(report))
    return settled


async def _is_reference(connection: AsyncConnection, case: Case) -> bool:
    """Whether the reference is still the one that the endpoint was compared with, and none is replaced unseen."""
    now, then = await find_reference(connection, case.model.space, case.probes), case.reference
    if (now and (now.probe_set, now.recorded_at)) != (then and (then.probe_set, then.recorded_at)):
        return False
    is_bold = now is not None and case.expected is None and not case.replace
    return not (is_bold and await others_serving(connection, case.endpoint))


async def _vouch(work: UnitOfWork, case: Case, vectors: FloatMatrix, source: str) -> None:
    """Its vectors are the reference from now on; who serves by one that says something else has to pass again."""
    before = case.reference
    # The same worker's word for more probes changes nothing of how far honest copies are apart.
    noise = None if before is None or case.as_reference else before.noise
    await set_reference(work, case.model.space, case.probes, vectors, source, before=before, noise=noise)
    if before is None or _agree(before, vectors, case):
        return
    for other in await others_serving(work.connection, case.endpoint):
        await demand_proof(work, other, f"the reference of {case.model.space} was replaced")


def _agree(before: Reference, vectors: FloatMatrix, case: Case) -> bool:
    known = before.known
    if before.vectors.shape != vectors.shape:
        return False
    return compare(before.vectors[known], vectors[known], case.numerics, before.noise).passed


def _void(report: Report, view: EndpointView) -> Report:
    """What was seen is of something that is not there any more."""
    return msgspec.structs.replace(
        report,
        verdict=Verdict.NO_ANSWER,
        reason="it, its provider or its space's reference was changed while it was examined, so nothing comes of what "
        f"was seen ({report.verdict.value}): examine it again",
        state=view.endpoint.state,
        became_reference=False,
        dimensions=None,
        stands=False,
    )


def _report(case: Case, exam: Exam) -> Report:
    return Report(
        id=ProbeId(new_id()),
        occasion=case.occasion,
        verdict=exam.verdict,
        reason=exam.reason,
        state=case.endpoint.state,
        probe_set=case.probes.name,
        numerics=case.numerics,
        full=case.canaries is None,
        steps=exam.steps,
        reference=exam.source or ("" if case.reference is None else case.reference.source),
        became_reference=exam.vectors is not None,
        space=exam.space,
        dimensions=case.model.dimensions if exam.verdict is Verdict.SAME_SPACE else None,
        calls=exam.calls,
        tokens=exam.tokens,
        may_recover=exam.cause in RECOVERABLE,
    )


async def _move(work: UnitOfWork, endpoint: Endpoint, to: EndpointState, cause: QuarantineCause, reason: str) -> None:
    if endpoint.state is EndpointState.QUARANTINED:
        await move_endpoint(work, endpoint.id, EndpointState.PROBING, "its probes are good again")
    await move_endpoint(work, endpoint.id, to, reason, cause=cause if to is EndpointState.QUARANTINED else None)


def _reason(report: Report) -> str:
    return "passed its test" if report.passed else report.reason[:300]


async def _with_affected(db: Database, endpoint: Endpoint, report: Report) -> Report:
    """With the last good probe, and how many calls were answered since, where that can be counted in time."""
    try:
        async with db.transaction() as connection:
            await connection.execute(text(f"SET LOCAL statement_timeout = '{COUNTED_WITHIN_S}s'"))
            return await _affected(connection, endpoint, report)
    except (*STORE_FAULTS, DBAPIError) as fault:
        log.warning("affected_calls_not_counted", endpoint=wire(EndpointId, endpoint.id), fault=repr(fault)[:200])
        return report


async def _affected(connection: AsyncConnection, endpoint: Endpoint, report: Report) -> Report:
    good = select(func.max(ProbeRow.at)).where(
        ProbeRow.endpoint_id == endpoint.id, ProbeRow.verdict == Verdict.SAME_SPACE.value
    )
    last: datetime | None = (await connection.execute(good)).scalar_one()
    if last is None:
        return report
    first = UUID(int=int((last - LONGEST_CALL).timestamp() * 1000) << 80)
    binds = {"endpoint": endpoint.id, "first": first, "since": last}
    calls: int = (await connection.execute(_CALLS_SINCE, binds)).scalar_one()
    return msgspec.structs.replace(report, last_good_at=last, calls_since=calls)


async def _write(connection: AsyncConnection, endpoint: Endpoint, report: Report) -> None:
    row = {
        "id": report.id,
        "endpoint_id": endpoint.id,
        "occasion": report.occasion.value,
        "verdict": report.verdict.value,
        "reason": report.reason,
        "report": msgspec.to_builtins(report),
    }
    await connection.execute(insert(ProbeRow), row)


def _alarm(endpoint: Endpoint, report: Report) -> None:
    log.error(
        "endpoint_quarantined",
        endpoint=wire(EndpointId, endpoint.id),
        provider=endpoint.provider_name,
        model=endpoint.model_id,
        space=endpoint.space,
        reason=report.reason,
        occasion=report.occasion,
        cosine_min=report.cosine_min,
        numerics=report.numerics,
        last_good_at=None if report.last_good_at is None else report.last_good_at.isoformat(),
        calls_since=report.calls_since,
    )
