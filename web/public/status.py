"""``/status``: how the service and each model stand, ninety days of them, and what operators say of incidents.

The same as ``status.json``, and incidents as Atom (RFC 4287).
"""

from datetime import datetime
from itertools import groupby
from typing import ClassVar
from xml.sax.saxutils import escape

import msgspec

from catalog.values import Status
from router.statistics.counts import CALLS_MIN
from router.statistics.incidents import Incident, IncidentUpdate
from router.statistics.status import DAYS, DayStatus, Level, ServiceStatus, SubjectStatus, read_status
from store.ids import IncidentId, wire
from web.answers import File, Page
from web.request import PageRequest

SERVED = frozenset({Status.LIVE, Status.DEPRECATED})
BAR, HEIGHT = 6, 24
# The class of a level's bars (web/assets/css/status.css).
WORDS = {Level.OK: "ok", Level.DEGRADED: "degraded", Level.DOWN: "down", Level.UNKNOWN: "unknown"}
PUBLIC = "public, max-age=15"


class StatusFields(msgspec.Struct, frozen=True):
    """Whose days the table has; empty: the service's."""

    model: str = ""


class Bars(msgspec.Struct, frozen=True):
    """The bars of a subject: a path for each level that it had, and its words for who does not see them."""

    paths: tuple[tuple[str, str], ...]
    label: str


class Line(msgspec.Struct, frozen=True):
    """A model, or the service, with its bars."""

    name: str
    level: str
    bars: Bars
    last_30d: float | None
    last_90d: float | None
    href: str


class IncidentRow(msgspec.Struct, frozen=True):
    """An incident as the page shows it."""

    id: str
    title: str
    impact: str
    models: tuple[str, ...]
    state: str
    began_at: datetime
    ended_at: datetime | None
    updated_at: datetime
    # When, how it stood then, what was said, and when that was corrected, if it was.
    updates: tuple[tuple[datetime, str, str, datetime | None], ...]


class StatusPage(Page, frozen=True, kw_only=True):
    """The service, its models, the days of one of them, incidents."""

    template: ClassVar[str] = "public/status.html"

    service: Line
    models: tuple[Line, ...]
    shown: str
    days: tuple[DayStatus, ...]
    going_on: tuple[IncidentRow, ...]
    planned: tuple[IncidentRow, ...]
    past: tuple[IncidentRow, ...]
    as_of: datetime | None
    is_late: bool
    calls_min: int
    width: int
    height: int


async def read(request: PageRequest) -> ServiceStatus:
    """How everything that is served stands."""
    reads = request.context.reads
    models = sorted(model.id for model in reads.catalog.all() if model.status in SERVED)
    async with reads.db.transaction() as connection:
        return await read_status(connection, models, request.exchange.now)


async def show(request: PageRequest) -> StatusPage:
    """Show how everything stands, and the days of the service or of one model."""
    fields = request.query_as(StatusFields)
    status = await read(request)
    subject = next((one for one in status.models if one.name == fields.model), status.service)
    rows = tuple(map(incident_row, status.incidents))
    is_open = [row for row in rows if row.ended_at is None]
    return StatusPage(
        title="Status",
        description="How the service and each model stand now, and stood in the last ninety days.",
        canonical="/status",
        service=_line(status.service),
        models=tuple(map(_line, status.models)),
        shown=subject.name,
        days=tuple(reversed(subject.days)),
        going_on=tuple(row for row in is_open if row.began_at <= status.at),
        planned=tuple(row for row in is_open if row.began_at > status.at),
        past=tuple(row for row in rows if row.ended_at is not None),
        as_of=status.as_of,
        is_late=status.is_late,
        calls_min=CALLS_MIN,
        width=DAYS * BAR,
        height=HEIGHT,
    )


async def show_json(request: PageRequest) -> File:
    """The same for programs."""
    status = await read(request)
    body = {
        "object": "status",
        "at": status.at,
        "as_of": status.as_of,
        "late": status.is_late,
        "calls_min": CALLS_MIN,
        "service": _json(status.service),
        "models": [_json(model) for model in status.models],
        "incidents": [incident_row(one) for one in status.incidents],
    }
    return File(body=msgspec.json.encode(body), media="application/json", cache=PUBLIC)


async def show_atom(request: PageRequest) -> File:
    """Incidents as Atom, an entry each, which is new whenever something is said of it."""
    status = await read(request)
    public = request.context.origins.public
    updated = max((one.updated_at for one in status.incidents), default=status.at)
    entries = "".join(_entry(one, public) for one in status.incidents)
    body = (
        '<?xml version="1.0" encoding="utf-8"?>\n<feed xmlns="http://www.w3.org/2005/Atom">'
        f"<title>gigarouter: incidents</title><id>{escape(public)}/status</id>"
        f'<link rel="self" href="{escape(public)}/status.atom"/><updated>{_instant(updated)}</updated>'
        f"<author><name>gigarouter</name></author>{entries}</feed>"
    )
    return File(body=body.encode(), media="application/atom+xml; charset=utf-8", cache=PUBLIC)


def _entry(incident: Incident, public: str) -> str:
    id_ = wire(IncidentId, incident.id)
    touched = ", ".join(incident.models) or "the whole service"
    said = "\n\n".join([f"{incident.impact.value}: {touched}", *map(_said, incident.updates)])
    return (
        f"<entry><title>{escape(printable(incident.title))}</title><id>{escape(public)}/status#{id_}</id>"
        f'<link href="{escape(public)}/status#{id_}"/><published>{_instant(incident.began_at)}</published>'
        f"<updated>{_instant(incident.updated_at)}</updated>"
        f'<category term="{incident.impact.value}"/><content type="text">{escape(printable(said))}</content></entry>'
    )


def _said(one: IncidentUpdate) -> str:
    corrected = "" if one.corrected_at is None else f" (corrected {_instant(one.corrected_at)})"
    return f"{_instant(one.at)} {one.state.value}: {one.message}{corrected}"


def printable(text: str) -> str:
    """Text without the control characters that XML has no place for."""
    return "".join(one if one in "\n\t" or ord(one) >= ord(" ") else "\N{REPLACEMENT CHARACTER}" for one in text)


def _instant(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"


def _json(subject: SubjectStatus) -> dict[str, object]:
    return {
        "name": subject.name,
        "status": subject.now.value,
        "availability_30d": subject.last_30d,
        "availability_90d": subject.last_90d,
        "days": subject.days,
    }


def _line(subject: SubjectStatus) -> Line:
    href = f"/status?model={subject.name}#days"
    return Line(subject.name, subject.now.value, bars_of(subject), subject.last_30d, subject.last_90d, href)


def bars_of(subject: SubjectStatus) -> Bars:
    """The bars of ninety days: days of one level that follow each other are one piece of its path."""
    pieces: dict[Level, list[str]] = {}
    at = 0
    for level, days in groupby(subject.days, key=lambda day: day.level):
        count = len(list(days))
        pieces.setdefault(level, []).append(f"M{at * BAR} 0h{count * BAR - 1}v{HEIGHT}h-{count * BAR - 1}z")
        at += count
    counts = {level: sum(day.level is level for day in subject.days) for level in Level}
    label = ", ".join(f"{count} days {WORDS[level]}" for level, count in counts.items() if count)
    return Bars(tuple((WORDS[level], "".join(path)) for level, path in pieces.items()), label)


def incident_row(incident: Incident) -> IncidentRow:
    """An incident as the page and ``status.json`` have it."""
    return IncidentRow(
        wire(IncidentId, incident.id),
        incident.title,
        incident.impact.value,
        incident.models,
        incident.state.value,
        incident.began_at,
        incident.ended_at,
        incident.updated_at,
        tuple((one.at, one.state.value, one.message, one.corrected_at) for one in incident.updates),
    )
