"""Shows incidents to operators: what goes on and what is planned first, then what was resolved; and one with its parts.

What is said of one is written by ``web/ops/incident_writes.py``.
"""

from datetime import datetime
from typing import Any, ClassVar

import msgspec

from router.api.in_process import OperationRefused
from router.statistics.incidents import Impact, Incident, IncidentState, IncidentUpdate
from store.ids import IncidentId, IncidentUpdateId, parse
from web.answers import Crumb, Page
from web.faults import NotFound
from web.ops.lists import Listed, cursor_of, next_page
from web.ops.write import OPERATIONS
from web.parts.tables import Column
from web.public.status import IncidentRow, incident_row
from web.request import PageRequest

INCIDENTS = Crumb("Incidents", "/ops/incidents")
OPEN_MAX = 100
HEAD = (
    Column("Incident"),
    Column("State"),
    Column("Impact"),
    Column("Touches"),
    Column("Began"),
    Column("Last said"),
)
UPDATES_HEAD = (Column("When"), Column("State"), Column("What was said"), Column("Corrected"), Column("To do"))


class UpdateRow(msgspec.Struct, frozen=True):
    """What was said of an incident."""

    id: str
    at: datetime
    state: str
    message: str
    corrected_at: datetime | None


class IncidentView(msgspec.Struct, frozen=True):
    """An incident as the operations answer it."""

    id: str
    title: str
    impact: str
    models: list[str]
    state: str
    began_at: datetime
    ended_at: datetime | None
    updated_at: datetime
    updates: list[UpdateRow]


class IncidentsPage(Page, frozen=True, kw_only=True):
    """The list. ``going_on`` is on the first page alone."""

    template: ClassVar[str] = "ops/incidents.html"

    going_on: list[IncidentView]
    resolved: list[IncidentView]
    now: datetime
    next_href: str | None
    head: tuple[Column, ...] = HEAD


class IncidentPage(Page, frozen=True, kw_only=True):
    """One incident, with how the status page shows it."""

    template: ClassVar[str] = "ops/incident.html"

    incident: IncidentView
    shown: IncidentRow
    updates_head: tuple[Column, ...] = UPDATES_HEAD
    is_done: bool = False


class ListQuery(msgspec.Struct, frozen=True):
    """Which part of those that were resolved."""

    cursor: str = ""


class DoneQuery(msgspec.Struct, frozen=True):
    """``done``: a write was carried out a moment ago."""

    done: bool = False


async def show(request: PageRequest) -> IncidentsPage:
    """What goes on, and what was resolved, the newest first."""
    query = request.query_as(ListQuery)
    going_on: list[IncidentView] = []
    if not query.cursor:
        which = {"which": "open", "limit": str(OPEN_MAX)}
        going_on = (await request.run("list_incidents", Listed[IncidentView], query=which)).value.data
    which = {"which": "resolved", **cursor_of(request, limit=25)}
    resolved = (await request.run("list_incidents", Listed[IncidentView], query=which)).value
    return IncidentsPage(
        title="Incidents",
        crumbs=(OPERATIONS, Crumb("Incidents")),
        going_on=going_on,
        resolved=resolved.data,
        now=request.exchange.now,
        next_href=next_page(request, resolved),
    )


async def show_one(request: PageRequest) -> IncidentPage:
    """One incident with all that was said of it."""
    query = request.query_as(DoneQuery)
    try:
        path = {"incident_id": request.values["incident"]}
        found = (await request.run("retrieve_incident", IncidentView, path=path)).value
    except OperationRefused as refused:
        if refused.status in (400, 404):
            raise NotFound from None
        raise
    return IncidentPage(
        title=found.title,
        crumbs=(OPERATIONS, INCIDENTS, Crumb(found.title)),
        incident=found,
        shown=incident_row(incident_of(found)),
        is_done=query.done,
    )


def incident_of(answer: Any) -> Incident:  # noqa: ANN401 - an answer as JSON, or read from it
    """The incident that an operation answered."""
    view = msgspec.convert(answer, IncidentView, from_attributes=True)
    return Incident(
        id=IncidentId(parse(IncidentId, view.id)),
        title=view.title,
        impact=Impact(view.impact),
        models=tuple(view.models),
        began_at=view.began_at,
        updates=tuple(map(_update_of, view.updates)),
        revised_at=view.updated_at,
    )


def _update_of(row: UpdateRow) -> IncidentUpdate:
    id_ = IncidentUpdateId(parse(IncidentUpdateId, row.id))
    return IncidentUpdate(id_, row.at, IncidentState(row.state), row.message, row.corrected_at)
