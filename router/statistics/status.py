"""Says how the service and each model stand, now and on each of the last ninety days, from the statistics of calls.

What is not known is unknown, and never well: a day with too few calls, a model that nobody has called in the last hour,
and all of it while the statistics themselves are late.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from router.statistics.counts import Counts
from router.statistics.incidents import Impact, Incident, IncidentState, recent_incidents
from router.statistics.read import StatisticsState, read_model_days, read_models_since, read_state

DAYS: Final = 90
# What is said of now is of so long.
NOW: Final = timedelta(hours=1)
OK_FROM, DEGRADED_FROM = 0.995, 0.95


class Level(StrEnum):
    """How something stands."""

    OK = "ok"
    DEGRADED = "degraded"
    DOWN = "down"
    UNKNOWN = "unknown"


class DayStatus(msgspec.Struct, frozen=True):
    """A day of UTC: its level, the share of calls that ended well (None: too few), and of how many calls that is."""

    day: date
    level: Level
    availability: float | None
    calls: int


class SubjectStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The service, or a model: how it stands, what its calls alone say, and its days, the oldest first."""

    name: str
    measured: Level
    now: Level
    days: tuple[DayStatus, ...]
    last_30d: float | None
    last_90d: float | None


class ServiceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """All of it, as of an instant. ``is_late``: the statistics are behind, and say nothing of now."""

    at: datetime
    as_of: datetime | None
    is_late: bool
    service: SubjectStatus
    models: tuple[SubjectStatus, ...]
    incidents: tuple[Incident, ...]


def level_of(counts: Counts | None) -> Level:
    """The level of some calls: those that failed by a customer's fault are left out."""
    share = None if counts is None else counts.availability
    if share is None:
        return Level.UNKNOWN
    if share >= OK_FROM:
        return Level.OK
    return Level.DEGRADED if share >= DEGRADED_FROM else Level.DOWN


def with_incidents(level: Level, incidents: Sequence[Incident], model: str | None, at: datetime) -> Level:
    """The level that an incident which goes on makes of one: an outage is down whatever the calls say."""
    for incident in incidents:
        concerns = not incident.models or model is None or model in incident.models
        if incident.state is IncidentState.RESOLVED or incident.began_at > at or not concerns:
            continue
        if incident.impact is Impact.OUTAGE and (model is not None or not incident.models):
            return Level.DOWN
        level = level if level is Level.DOWN else Level.DEGRADED
    return level


async def read_status(tx: AsyncConnection, models: Sequence[str], now: datetime) -> ServiceStatus:
    """Read how the service and these models stand."""
    first = (now - timedelta(days=DAYS - 1)).date()
    by_day = await read_model_days(tx, first)
    recent = await read_models_since(tx, now - NOW)
    state = await read_state(tx)
    incidents = await recent_incidents(tx, now - timedelta(days=DAYS))
    return status_of(by_day, recent, state, tuple(incidents), models, now)


def status_of(
    by_day: Mapping[str, Mapping[date, Counts]],
    recent: Mapping[str, Counts],
    state: StatisticsState,
    incidents: tuple[Incident, ...],
    models: Sequence[str],
    now: datetime,
) -> ServiceStatus:
    """Put together what was read."""
    days = [(now - timedelta(days=ago)).date() for ago in reversed(range(DAYS))]
    everything: dict[date, Counts] = {}
    for of_model in by_day.values():
        for day, counts in of_model.items():
            everything.setdefault(day, Counts()).add(counts)
    together = Counts()
    for counts in recent.values():
        together.add(counts)
    is_late = state.is_late(now)

    def subject(name: str, counts: Mapping[date, Counts], lately: Counts | None, model: str | None) -> SubjectStatus:
        level = Level.UNKNOWN if is_late else level_of(lately)
        return SubjectStatus(
            name=name,
            measured=level,
            now=with_incidents(level, incidents, model, now),
            days=tuple(_day(day, counts.get(day)) for day in days),
            last_30d=_share(counts, days[-30:]),
            last_90d=_share(counts, days),
        )

    return ServiceStatus(
        at=now,
        as_of=state.as_of,
        is_late=is_late,
        service=subject("gigarouter", everything, together, None),
        models=tuple(subject(model, by_day.get(model, {}), recent.get(model), model) for model in models),
        incidents=incidents,
    )


def with_incident(status: ServiceStatus, said: Incident) -> ServiceStatus:
    """How everything would stand with an incident as ``said``, in the place of what there is of it."""
    incidents = (said, *(one for one in status.incidents if one.id != said.id))
    # It is said a moment after the rest was read, and may begin with that.
    at = max(status.at, said.updated_at)

    def subject(one: SubjectStatus, model: str | None) -> SubjectStatus:
        return msgspec.structs.replace(one, now=with_incidents(one.measured, incidents, model, at))

    return msgspec.structs.replace(
        status,
        service=subject(status.service, None),
        models=tuple(subject(one, one.name) for one in status.models),
        incidents=incidents,
    )


def _day(day: date, counts: Counts | None) -> DayStatus:
    return DayStatus(
        day,
        level_of(counts),
        None if counts is None else counts.availability,
        0 if counts is None else counts.judged,
    )


def _share(counts: Mapping[date, Counts], days: Sequence[date]) -> float | None:
    total = Counts()
    for day in days:
        if day in counts:
            total.add(counts[day])
    return total.availability
