"""Rounds: endpoints that serve are asked again, a few probes each hour and all each day; quarantined ones ever less.

Any number of processes may go round: a row is claimed under a lock, and is due again when its claimer has died.
Silence is not drift: it is told to ops after some times and costs no endpoint its place. What other processes and ops
decide meanwhile holds (:func:`router.verification.verify.certify` looks again before it moves anything).
"""

from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec
import structlog
from sqlalchemy import ColumnElement, func, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog import models
from providers.probing.probe_texts import probe_set
from providers.protocol import Provider
from router.changes.audit import Actor
from router.registry.endpoints import RECOVERABLE, EndpointView, get_endpoint, is_recoverable, needs_one_pass
from router.registry.indexes import ProviderRecord
from router.registry.providers import is_still
from router.tables import ProbeScheduleRow
from router.values import EndpointState
from router.verification.prober import WITHIN_S, Quota, allowed_s
from router.verification.report import Occasion, Report, Verdict
from router.verification.verify import certify
from store.ids import EndpointId, ProviderId, wire
from store.postgres import Database

log = structlog.get_logger("router.verification.schedule")

ACTOR = Actor("process:jobs")
CANARIES_EVERY = timedelta(hours=1)
ALL_EVERY = timedelta(days=1)
# Longer than an examination may take.
CLAIMED_FOR = timedelta(minutes=10)
IN_A_ROUND = 4
AGAIN_AFTER_SILENCE = timedelta(minutes=5)
SILENT_TIMES_TOLD = 3
RECOVERY_FIRST = timedelta(minutes=15)
RECOVERY_LATEST = timedelta(days=1)
GOOD_TO_RETURN = 3
PROBES_KEPT = timedelta(days=90)
# What was changed under an examination, or is news to this process.
SOON = timedelta(seconds=5)
SERVING = (EndpointState.LIVE, EndpointState.DRAINING)

# What speaks to a provider, after the record that it was built from.
Built = Callable[[ProviderId], tuple[ProviderRecord, Provider] | None]

# New endpoints were just tested, and are spread over the hour and the day: a thousand are not asked at once.
_ENROLL = text(
    "INSERT INTO probe_schedule (endpoint_id, next_at, full_at)"
    " SELECT id, now() + (0.25 + 0.75 * random()) * CAST(:canaries AS interval),"
    " now() + (0.25 + 0.75 * random()) * CAST(:all AS interval)"
    " FROM endpoints e WHERE state IN ('live', 'draining', 'quarantined')"
    # An insert that conflicts with a row that is being taken would wait for it.
    " AND NOT EXISTS (SELECT FROM probe_schedule s WHERE s.endpoint_id = e.id) ON CONFLICT DO NOTHING"
)
_CLAIM = text(
    "UPDATE probe_schedule SET next_at = now() + CAST(:claimed AS interval) WHERE endpoint_id IN ("
    " SELECT s.endpoint_id FROM probe_schedule s JOIN endpoints e ON e.id = s.endpoint_id"
    " WHERE s.next_at <= now() AND (e.state IN ('live', 'draining')"
    " OR e.quarantine_cause = ANY(:recoverable))"
    " AND (s.misses = 0 OR NOT :answering)"
    " ORDER BY s.misses > 0, s.next_at LIMIT 1 FOR UPDATE OF s SKIP LOCKED)"
    " RETURNING endpoint_id, full_at <= now() AS is_full, misses, good, next_at,"
    " CAST(extract(epoch FROM now()) / 3600 AS integer) AS hour"
)

_FORGET = text(
    "DELETE FROM probes p WHERE at < :before AND EXISTS"
    " (SELECT FROM probes n WHERE n.endpoint_id = p.endpoint_id AND n.at > p.at AND n.verdict = 'same_space')"
)


class Due(msgspec.Struct, frozen=True):
    """A claimed endpoint. ``misses`` and ``good`` are the failed and the good ones in a row so far.

    Until ``until`` nobody else claims it.
    """

    endpoint_id: EndpointId
    is_full: bool
    misses: int
    good: int
    hour: int
    until: datetime


class Next(msgspec.Struct, frozen=True):
    """When the endpoint is asked next, and its counts; ``was_full``: all probes again a day from now."""

    after: timedelta
    misses: int = 0
    good: int = 0
    was_full: bool = False


async def forget_probes(db: Database, now: datetime) -> None:
    """Delete what was asked long ago, where a good probe came after it: an endpoint's last good one stays."""
    async with db.transaction() as connection:
        await connection.execute(_FORGET, {"before": now - PROBES_KEPT})


async def go_round(db: Database, built: Built, quota: Quota | None = None, *, answering: bool = False) -> list[Report]:
    """Ask those that are due, one after the other, some of them each time. Raises StoreUnavailable, STORE_FAULTS.

    Several may go round at once. ``answering``: only those that answered the last time, so that whoever lets us wait
    keeps nobody else waiting.
    """
    reports = []
    for _ in range(IN_A_ROUND):
        due = await claim(db, answering=answering)
        if due is None:
            break
        report = await _ask(db, built, quota, due)
        if report is not None:
            reports.append(report)
    return reports


async def claim(db: Database, *, answering: bool = False) -> Due | None:
    """Take the one that has been due longest, silent ones last; nobody else gets it for :data:`CLAIMED_FOR`."""
    async with db.transaction() as connection:
        await connection.execute(_ENROLL, {"canaries": CANARIES_EVERY, "all": ALL_EVERY})
        return await take(connection, answering=answering)


async def take(connection: AsyncConnection, *, answering: bool = False) -> Due | None:
    """The same in an open transaction, until whose end others pass over it."""
    binds = {"claimed": CLAIMED_FOR, "recoverable": sorted(RECOVERABLE), "answering": answering}
    found = await connection.execute(_CLAIM, binds)
    row = found.one_or_none()
    return (
        None
        if row is None
        else Due(EndpointId(row.endpoint_id), row.is_full, row.misses, row.good, row.hour, row.next_at)
    )


def plan(due: Due, report: Report, *, was_serving: bool) -> Next:
    """What a report means for the next time."""
    if not report.stands:
        return Next(SOON, misses=due.misses, good=due.good)
    if report.state is EndpointState.QUARANTINED:
        return Next(RECOVERY_FIRST) if was_serving else _recovery(due, report)
    if report.verdict is Verdict.NO_ANSWER:
        return Next(AGAIN_AFTER_SILENCE if due.misses < SILENT_TIMES_TOLD else CANARIES_EVERY, misses=due.misses + 1)
    return Next(CANARIES_EVERY, was_full=report.full)


def _recovery(due: Due, report: Report) -> Next:
    if report.passed:
        return Next(RECOVERY_FIRST, good=due.good + 1)
    if report.verdict is Verdict.NO_ANSWER and due.misses < SILENT_TIMES_TOLD:
        return Next(AGAIN_AFTER_SILENCE, misses=due.misses + 1)
    return Next(min(RECOVERY_LATEST, RECOVERY_FIRST * 2 ** min(due.misses + 1, 10)), misses=due.misses + 1)


async def _ask(db: Database, built: Built, quota: Quota | None, due: Due) -> Report | None:
    async with db.transaction() as connection:
        view = await get_endpoint(connection, due.endpoint_id)
        model = await models.get(connection, view.endpoint.model_id)
        found = built(view.endpoint.provider_id)
        is_known = found is not None and await is_still(connection, found[0])
    serves = view.endpoint.state in SERVING
    if not (serves or is_recoverable(view)):
        return None  # Moved meanwhile.
    if found is None or not is_known:
        # So new that this process has not heard of it: what it would ask is not what is registered.
        await _schedule(db, due, Next(SOON, misses=due.misses, good=due.good))
        return None
    record, provider = found
    due = await _keep(db, due, allowed_s(view.endpoint, probe_set(model.max_input_tokens)))
    report = await certify(
        db,
        record,
        provider,
        view.endpoint,
        model,
        ACTOR,
        Occasion.PERIODIC if serves else Occasion.RECOVERY,
        quota=quota,
        canaries=due.hour if serves and not due.is_full else None,
        returns=not serves and (needs_one_pass(view) or due.good + 1 >= GOOD_TO_RETURN),
    )
    following = plan(due, report, was_serving=serves)
    await _schedule(db, due, following)
    _tell(view, report, following)
    return report


async def _keep(db: Database, due: Due, allowed: float) -> Due:
    """Claim it for longer, where an examination may take longer."""
    if allowed <= WITHIN_S:
        return due
    async with db.transaction() as connection:
        columns = {"next_at": func.now() + CLAIMED_FOR + timedelta(seconds=allowed)}
        statement = update(ProbeScheduleRow).where(*_is_ours(due)).values(**columns)
        until = (await connection.execute(statement.returning(ProbeScheduleRow.next_at))).scalar_one_or_none()
    return due if until is None else msgspec.structs.replace(due, until=until)


def _is_ours(due: Due) -> tuple[ColumnElement[bool], ...]:
    """The row as it was claimed, unless somebody made it due meanwhile."""
    return ProbeScheduleRow.endpoint_id == due.endpoint_id, ProbeScheduleRow.next_at == due.until


async def _schedule(db: Database, due: Due, following: Next) -> None:
    columns: dict[str, object] = {
        "next_at": func.now() + following.after,
        "misses": following.misses,
        "good": following.good,
    }
    if following.was_full:
        columns["full_at"] = func.now() + ALL_EVERY
    statement = update(ProbeScheduleRow).where(*_is_ours(due))
    async with db.transaction() as connection:
        await connection.execute(statement.values(**columns))


def _tell(view: EndpointView, report: Report, following: Next) -> None:
    about = {"endpoint": wire(EndpointId, view.endpoint.id), "provider": view.endpoint.provider_name}
    if view.endpoint.state is EndpointState.QUARANTINED and report.state is EndpointState.LIVE:
        log.warning("endpoint_recovered", **about)
    elif report.verdict is Verdict.NO_REFERENCE:
        tell = log.error if view.endpoint.state in SERVING else log.warning
        tell("endpoint_not_comparable", **about, reason=report.reason)
    elif report.state is not EndpointState.QUARANTINED and following.misses >= SILENT_TIMES_TOLD:
        log.warning("endpoint_silent", **about, probes=following.misses, reason=report.reason)
