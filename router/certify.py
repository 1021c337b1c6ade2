"""Certify: examine whether an endpoint serves the space that it claims, write down what was seen, move it accordingly.

Any caller may be first or second: an operator, the start of ``gigarouter up``, the jobs. The endpoint earns ``live``
here and loses it here; the table of moves and the audit are :mod:`router.endpoints`'.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

import msgspec
import structlog
from sqlalchemy import func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog.values import Model
from providers.probes import probe_set
from providers.protocol import Provider
from router.audit import Actor, Change
from router.endpoints import EndpointView, get_endpoint, move_endpoint, pin_space
from router.examine import BY_HAND, Case, Exam, examine
from router.quarantine import was_refused
from router.spaces import find_reference, set_noise, set_reference
from router.tables import ProbeRow
from router.values import Endpoint, EndpointState
from router.verdicts import Occasion, Report, Verdict, next_state
from router.write import Work, transact
from store.ids import EndpointId, ProbeId, new_id, wire
from store.postgres import Database

log = structlog.get_logger("router.certify")

# What stands at the start of an endpoint's reason where a probe has put it in quarantine, and a probe may end that.
CAUSED_BY_PROBE = "probe_"
# No call takes longer; request ids tell when a call began.
LONGEST_CALL = timedelta(minutes=10)
UNTRIED = (EndpointState.DRAFT, EndpointState.OFF, EndpointState.QUARANTINED)

Ending = Callable[[Work, Report], Awaitable[None]]

_CALLS_SINCE = text(
    "SELECT count(*) FROM usage_events WHERE endpoint_id = :endpoint AND request_id >= :first AND occurred_at >= :since"
)


async def certify(
    db: Database,
    provider: Provider,
    endpoint: Endpoint,
    model: Model,
    actor: Actor,
    occasion: Occasion,
    *,
    as_reference: str = "",
    canaries: int | None = None,
    returns: bool = False,
    dry_run: bool = False,
    ending: Ending | None = None,
) -> Report:
    """Examine, record, move. By hand, an endpoint that does not serve yet goes through ``probing``.

    ``as_reference`` is an operator's reason to let this endpoint vouch for the space, whoever did before.
    ``canaries``: ask a few probes only, others for each number. ``returns``: a good result brings the endpoint back
    from quarantine. A ``dry_run`` neither writes nor moves. ``ending`` runs in the transaction that does, with
    the report as it is written. Raises ``NotFound``, ``Conflict``, ``StoreUnavailable``; nothing of the provider's.
    """
    if occasion in BY_HAND and endpoint.state in UNTRIED and not dry_run:
        endpoint = await transact(db, actor, partial(_begin, endpoint.id))
    probes = probe_set(model.max_input_tokens)
    async with db.transaction() as connection:
        reference = await find_reference(connection, model.space, probes.name)
    case = Case(provider, endpoint, model, probes, reference, occasion, as_reference, canaries)
    exam = await examine(case)
    if dry_run:
        return _report(case, exam)
    to = next_state(endpoint.state, exam.verdict, returns=returns)
    return await _settle(db, actor, case, exam, to, ending)


def by_probe(view: EndpointView) -> bool:
    """Whether the endpoint stands where it stands because of a probe or a refusal, so that probes may bring it back."""
    return view.reason.startswith(CAUSED_BY_PROBE) or was_refused(view.reason)


async def _begin(endpoint_id: EndpointId, work: Work) -> Endpoint:
    return await move_endpoint(work, endpoint_id, EndpointState.PROBING, "being tested")


async def _settle(
    db: Database, actor: Actor, case: Case, exam: Exam, to: EndpointState | None, ending: Ending | None
) -> Report:
    """Write the probe; with it, in one transaction, the reference, the pin and the move."""
    report = _report(case, exam)
    pins = report.passed and exam.space is not None and exam.space != case.endpoint.upstream_space
    if to is None and exam.vectors is None and exam.noise is None and not pins and ending is None:
        async with db.transaction() as connection:
            await _write(connection, case.endpoint, report)
        return report

    async def command(work: Work) -> Report:
        view = await get_endpoint(work.connection, case.endpoint.id, locked=True)
        now, moves = view.endpoint, to
        if now.state is not case.endpoint.state or (now.state is EndpointState.QUARANTINED and not by_probe(view)):
            moves = None  # Ops were faster: what was seen is written down, and nothing is moved.
        settled = msgspec.structs.replace(report, state=moves or now.state)
        if moves is EndpointState.QUARANTINED:
            settled = await _with_affected(work.connection, case.endpoint, settled)
        if exam.vectors is not None:
            await set_reference(work, case.model.space, case.probes.name, exam.vectors, exam.source)
        if exam.noise is not None and case.reference is not None:
            await set_noise(work, case.reference, exam.noise)
        if pins and exam.space is not None:
            await pin_space(work, now.id, exam.space)
        if moves is not None:
            await _move(work, now, moves, report)
        await _write(work.connection, now, settled)
        if not work.changes:
            work.changed(Change("endpoint.probe", wire(EndpointId, now.id), reason=report.reason))
        if ending is not None:
            await ending(work, settled)
        return settled

    settled = await transact(db, actor, command)
    if to is EndpointState.QUARANTINED and settled.state is to:
        _alarm(case.endpoint, settled)
    return settled


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
        may_recover=exam.may_recover,
    )


async def _move(work: Work, endpoint: Endpoint, to: EndpointState, report: Report) -> None:
    if endpoint.state is EndpointState.QUARANTINED:
        await move_endpoint(work, endpoint.id, EndpointState.PROBING, "its probes are good again")
    mark = f"{wire(ProbeId, report.id)}: " if report.may_recover else ""
    reason = "passed its test" if report.passed else f"{mark}{report.reason}"
    await move_endpoint(work, endpoint.id, to, reason[:300])


async def _with_affected(connection: AsyncConnection, endpoint: Endpoint, report: Report) -> Report:
    """With the last good probe, and how many calls were answered since."""
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
