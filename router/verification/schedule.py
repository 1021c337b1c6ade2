"""Schedules re-verification: each live endpoint answers a few probe texts hourly and all of them daily.

Quarantined endpoints are verified after 15 minutes, then at doubling pauses up to a day. Any number of processes may
run the checks: a row is claimed under a lock, and is due again where its claimer has died. Silence is not drift: it is
logged from the third time on, and costs no endpoint its place. What other processes and ops decide meanwhile holds,
since :func:`router.verification.verify.verify_endpoint` looks again before it moves anything.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import msgspec
import structlog
from sqlalchemy import ColumnElement, func, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog import models
from providers.probing.probe_texts import probe_set
from providers.protocol import Provider
from router.changes.audit import Actor
from router.errors import StoreUnavailable
from router.registry.endpoints import RECOVERABLE, EndpointView, get_endpoint, is_recoverable, needs_one_pass
from router.registry.indexes import ProviderRecord
from router.registry.providers import is_unchanged
from router.tables import ProbeScheduleRow
from router.values import EndpointState
from router.verification.peers import SpeakingTo
from router.verification.prober import TIME_LIMIT_S, Quota, time_limit_s
from router.verification.report import Occasion, SpaceVerdict, VerificationReport
from router.verification.verify import verify_endpoint
from store.ids import EndpointId, ProviderId, wire
from store.postgres import Database

log = structlog.get_logger("router.verification.schedule")

ACTOR = Actor("process:jobs")
CANARIES_EVERY = timedelta(hours=1)
ALL_EVERY = timedelta(days=1)
# Longer than a verification may take.
CLAIM_LASTS = timedelta(minutes=10)
CHECKS_PER_RUN = 4
RETRY_AFTER_SILENCE = timedelta(minutes=5)
SILENCES_BEFORE_WARNING = 3
RECOVERY_PAUSE_MIN = timedelta(minutes=15)
RECOVERY_PAUSE_MAX = timedelta(days=1)
PASSES_TO_RECOVER = 3
PROBES_KEPT_FOR = timedelta(days=90)
# For an endpoint that was changed while it was verified, or whose provider is still unknown to this process.
SOON = timedelta(seconds=5)
SERVING = (EndpointState.LIVE, EndpointState.DRAINING)

# Looks up the client of a provider, and the record that it was built from.
ProviderLookup = Callable[[ProviderId], tuple[ProviderRecord, Provider] | None]

# New endpoints were just tested, and are spread over the hour and the day, so that a thousand are not due at once.
_ENROLL = text(
    "INSERT INTO probe_schedule (endpoint_id, next_at, full_at)"
    " SELECT id, now() + (0.25 + 0.75 * random()) * CAST(:canaries AS interval),"
    " now() + (0.25 + 0.75 * random()) * CAST(:all AS interval)"
    " FROM endpoints e WHERE state IN ('live', 'draining', 'quarantined')"
    # An insert that conflicts with a row that is being claimed would wait for it.
    " AND NOT EXISTS (SELECT FROM probe_schedule s WHERE s.endpoint_id = e.id) ON CONFLICT DO NOTHING"
)
_CLAIM = text(
    "UPDATE probe_schedule SET next_at = now() + CAST(:claimed AS interval) WHERE endpoint_id IN ("
    " SELECT s.endpoint_id FROM probe_schedule s JOIN endpoints e ON e.id = s.endpoint_id"
    " WHERE s.next_at <= now() AND (e.state IN ('live', 'draining') OR e.quarantine_cause = ANY(:recoverable))"
    " AND (s.misses = 0 OR NOT :only_responsive)"
    " ORDER BY s.misses > 0, s.next_at LIMIT 1 FOR UPDATE OF s SKIP LOCKED)"
    " RETURNING endpoint_id, full_at <= now() AS is_full, misses, good, next_at,"
    " CAST(extract(epoch FROM now()) / 3600 AS integer) AS hour"
)

_DELETE_OLD = text(
    "DELETE FROM probes p WHERE at < :before AND EXISTS"
    " (SELECT FROM probes n WHERE n.endpoint_id = p.endpoint_id AND n.at > p.at AND n.verdict = 'same_space')"
)


class DueCheck(msgspec.Struct, frozen=True):
    """A claimed endpoint. ``misses`` and ``good`` are the failed and the good verifications in a row so far.

    Nobody else claims it before ``claimed_until``. ``is_full``: all probe texts are due, not a few.
    """

    endpoint_id: EndpointId
    is_full: bool
    misses: int
    good: int
    hour: int
    claimed_until: datetime


class NextCheck(msgspec.Struct, frozen=True):
    """When the endpoint is verified next, and its counts; ``was_full``: all probe texts again a day from now."""

    after: timedelta
    misses: int = 0
    good: int = 0
    was_full: bool = False


async def delete_old_probes(db: Database, now: datetime) -> None:
    """Delete old rows of ``probes``, except each endpoint's last good one and what came after it."""
    async with db.transaction() as connection:
        await connection.execute(_DELETE_OLD, {"before": now - PROBES_KEPT_FOR})


async def run_due_checks(
    db: Database, lookup: ProviderLookup, quota: Quota | None = None, *, only_responsive: bool = False
) -> list[VerificationReport]:
    """Verify endpoints that are due, one after the other, up to four. Raises StoreUnavailable, STORE_FAULTS.

    Several calls may run side by side. ``only_responsive``: only those that answered the last time, so that a silent
    endpoint delays no other one.
    """
    reports = []
    for _ in range(CHECKS_PER_RUN):
        due = await claim_due(db, only_responsive=only_responsive)
        if due is None:
            break
        report = await _run_check(db, lookup, quota, due)
        if report is not None:
            reports.append(report)
    return reports


async def claim_due(db: Database, *, only_responsive: bool = False) -> DueCheck | None:
    """Claim the endpoint that has been due longest, silent ones last; nobody else gets it for :data:`CLAIM_LASTS`."""
    async with db.transaction() as connection:
        await connection.execute(_ENROLL, {"canaries": CANARIES_EVERY, "all": ALL_EVERY})
        return await claim_next(connection, only_responsive=only_responsive)


async def claim_next(connection: AsyncConnection, *, only_responsive: bool = False) -> DueCheck | None:
    """Claim in an open transaction; others pass over the row until it ends."""
    binds = {"claimed": CLAIM_LASTS, "recoverable": sorted(RECOVERABLE), "only_responsive": only_responsive}
    row = (await connection.execute(_CLAIM, binds)).one_or_none()
    if row is None:
        return None
    return DueCheck(EndpointId(row.endpoint_id), row.is_full, row.misses, row.good, row.hour, row.next_at)


def plan_next(due: DueCheck, report: VerificationReport, *, was_serving: bool) -> NextCheck:
    """Decide from a report when the endpoint is verified next."""
    if not report.stands:
        return NextCheck(SOON, misses=due.misses, good=due.good)
    if report.state is EndpointState.QUARANTINED:
        return NextCheck(RECOVERY_PAUSE_MIN) if was_serving else _plan_recovery(due, report)
    if report.verdict is SpaceVerdict.NO_ANSWER:
        after = RETRY_AFTER_SILENCE if due.misses < SILENCES_BEFORE_WARNING else CANARIES_EVERY
        return NextCheck(after, misses=due.misses + 1)
    return NextCheck(CANARIES_EVERY, was_full=report.full)


def _plan_recovery(due: DueCheck, report: VerificationReport) -> NextCheck:
    if report.passed:
        return NextCheck(RECOVERY_PAUSE_MIN, good=due.good + 1)
    if report.verdict is SpaceVerdict.NO_ANSWER and due.misses < SILENCES_BEFORE_WARNING:
        return NextCheck(RETRY_AFTER_SILENCE, misses=due.misses + 1)
    pause = RECOVERY_PAUSE_MIN * 2 ** min(due.misses + 1, 10)
    return NextCheck(min(RECOVERY_PAUSE_MAX, pause), misses=due.misses + 1)


async def _run_check(
    db: Database, lookup: ProviderLookup, quota: Quota | None, due: DueCheck
) -> VerificationReport | None:
    async with db.transaction() as connection:
        view = await get_endpoint(connection, due.endpoint_id)
        model = await models.get(connection, view.endpoint.model_id)
        found = lookup(view.endpoint.provider_id)
        is_current = found is not None and await is_unchanged(connection, found[0])
    serves = view.endpoint.state in SERVING
    if not (serves or is_recoverable(view)):
        return None  # Moved meanwhile.
    if found is None or not is_current:
        # The provider was registered or edited a moment ago, and this process has not heard of it.
        await _schedule(db, due, NextCheck(SOON, misses=due.misses, good=due.good))
        return None
    record, provider = found
    due = await _extend_claim(db, due, time_limit_s(view.endpoint, probe_set(model.max_input_tokens)))
    report = await verify_endpoint(
        db,
        record,
        provider,
        view.endpoint,
        model,
        ACTOR,
        Occasion.PERIODIC if serves else Occasion.RECOVERY,
        quota=quota,
        speaking_to=_speaking_by(lookup),
        canary_turn=due.hour if serves and not due.is_full else None,
        ends_quarantine=not serves and (needs_one_pass(view) or due.good + 1 >= PASSES_TO_RECOVER),
    )
    following = plan_next(due, report, was_serving=serves)
    await _schedule(db, due, following)
    _log_outcome(view, report, following)
    return report


def _speaking_by(lookup: ProviderLookup) -> SpeakingTo:
    """What opens a provider that this process has at hand. Raises ``StoreUnavailable`` for one that it has not."""

    @asynccontextmanager
    async def speaking_to(record: ProviderRecord) -> AsyncIterator[Provider]:
        found = lookup(record.id)
        if found is None:
            raise StoreUnavailable("This process has not heard of the provider yet.", retry_after_s=1.0)
        yield found[1]

    return speaking_to


async def _extend_claim(db: Database, due: DueCheck, limit_s: float) -> DueCheck:
    """Extend the claim where the verification may take longer than usual."""
    if limit_s <= TIME_LIMIT_S:
        return due
    async with db.transaction() as connection:
        columns = {"next_at": func.now() + CLAIM_LASTS + timedelta(seconds=limit_s)}
        statement = update(ProbeScheduleRow).where(*_claimed_row(due)).values(**columns)
        until = (await connection.execute(statement.returning(ProbeScheduleRow.next_at))).scalar_one_or_none()
    return due if until is None else msgspec.structs.replace(due, claimed_until=until)


def _claimed_row(due: DueCheck) -> tuple[ColumnElement[bool], ...]:
    """Conditions that the row meets as it was claimed, and not once somebody has made it due meanwhile."""
    return ProbeScheduleRow.endpoint_id == due.endpoint_id, ProbeScheduleRow.next_at == due.claimed_until


async def _schedule(db: Database, due: DueCheck, following: NextCheck) -> None:
    columns: dict[str, object] = {
        "next_at": func.now() + following.after,
        "misses": following.misses,
        "good": following.good,
    }
    if following.was_full:
        columns["full_at"] = func.now() + ALL_EVERY
    statement = update(ProbeScheduleRow).where(*_claimed_row(due))
    async with db.transaction() as connection:
        await connection.execute(statement.values(**columns))


def _log_outcome(view: EndpointView, report: VerificationReport, following: NextCheck) -> None:
    about = {"endpoint": wire(EndpointId, view.endpoint.id), "provider": view.endpoint.provider_name}
    if view.endpoint.state is EndpointState.QUARANTINED and report.state is EndpointState.LIVE:
        log.warning("endpoint_recovered", **about)
    elif report.verdict is SpaceVerdict.NO_REFERENCE:
        log_at = log.error if view.endpoint.state in SERVING else log.warning
        log_at("endpoint_not_comparable", **about, reason=report.reason)
    elif report.state is not EndpointState.QUARANTINED and following.misses >= SILENCES_BEFORE_WARNING:
        log.warning("endpoint_silent", **about, probes=following.misses, reason=report.reason)
