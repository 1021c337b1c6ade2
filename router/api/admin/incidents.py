"""``/admin/v1/incidents``: what operators say on the status page of a time in which something did not work."""

from typing import Annotated, ClassVar, Literal

from fastapi import Query
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from router.admin.incidents import open_incident, update_incident
from router.api.admin.references import model_of
from router.api.admin.request import Read, Write
from router.api.fields import IncidentIdText, Instant, ModelRef, text_of
from router.api.forms import Answer, Body, Page, PageQuery, Resource
from router.api.operation import ALL, OPS, V1, Operations
from router.changes.transaction import UnitOfWork
from router.errors import NotFound
from router.statistics.incidents import Impact, Incident, IncidentState, find_incident, list_incidents
from store.ids import IncidentId, wire

operations = Operations("incidents", f"{V1}/incidents", tag="Incidents")
MODELS_MAX = 50


class IncidentUpdateOut(Answer):
    """What was said of an incident, and how it stood then."""

    at: Instant
    state: IncidentState
    message: str


class IncidentOut(Resource):
    """An incident, its updates the latest first. Without models it is of the whole service."""

    columns: ClassVar[tuple[str, ...]] = ("id", "began_at", "state", "impact", "title", "ended_at")

    id: IncidentIdText
    title: str
    impact: Impact
    models: list[str]
    state: IncidentState
    began_at: Instant
    ended_at: Instant | None
    updates: list[IncidentUpdateOut]
    object: Literal["incident"] = "incident"


class IncidentCreate(Body):
    """A new incident with its first message."""

    title: Annotated[str, text_of(200)] = Field(description="What does not work, in a few words.")
    message: Annotated[str, text_of(4000)] = Field(description="What customers see of it, and what they can do.")
    impact: Impact = Field(Impact.DEGRADED, description="maintenance, degraded or outage.")
    models: tuple[ModelRef, ...] = Field(
        (), max_length=MODELS_MAX, description="The models that it is of, by id or alias; none: the whole service."
    )
    began_at: Instant | None = Field(None, description="When it began; by default now.")


class IncidentSay(Body):
    """How an incident stands."""

    state: IncidentState = Field(description="investigating, identified, monitoring or resolved, which ends it.")
    message: Annotated[str, text_of(4000)] = Field(description="What is known now.")


@operations.get("", verb="list", summary="List incidents", roles=ALL)
async def list_(admin: Read, query: Annotated[PageQuery, Query()]) -> Page[IncidentOut]:
    """All incidents, the newest first."""
    before = query.after_id(IncidentId)

    async def ask(connection: AsyncConnection) -> list[IncidentOut]:
        after = None if before is None else IncidentId(before)
        return [_out(row) for row in await list_incidents(connection, before=after, limit=query.limit + 1)]

    return admin.page(query, await admin.read(ask), lambda row: wire(IncidentId, row.id))


@operations.get("/{incident_id}", verb="show", summary="Retrieve an incident", roles=ALL)
async def retrieve(admin: Read, incident_id: IncidentIdText) -> IncidentOut:
    """One incident with all that was said of it."""
    return await admin.read(lambda connection: _one(connection, incident_id))


@operations.post("", verb="open", summary="Open an incident", roles=OPS, status=201)
async def create(admin: Write, body: IncidentCreate) -> IncidentOut:
    """Say on the status page that something does not work, or will not."""

    async def command(work: UnitOfWork) -> IncidentOut:
        models = [(await model_of(work.connection, name)).id for name in body.models]
        incident_id = await open_incident(
            work,
            title=body.title,
            impact=body.impact,
            models=models,
            message=body.message,
            began_at=body.began_at,
        )
        return await _one(work.connection, incident_id)

    return await admin.change(command)


@operations.post("/{incident_id}/updates", verb="update", summary="Say how an incident stands", roles=OPS)
async def update(admin: Write, incident_id: IncidentIdText, body: IncidentSay) -> IncidentOut:
    """Add what is known now; ``resolved`` ends the incident."""

    async def command(work: UnitOfWork) -> IncidentOut:
        await update_incident(work, incident_id, state=body.state, message=body.message)
        return await _one(work.connection, incident_id)

    return await admin.change(command)


async def _one(connection: AsyncConnection, incident_id: IncidentId) -> IncidentOut:
    incident = await find_incident(connection, incident_id)
    if incident is None:
        raise NotFound(f"There is no incident {wire(IncidentId, incident_id)}.", param="incident_id")
    return _out(incident)


def _out(incident: Incident) -> IncidentOut:
    return IncidentOut(
        id=incident.id,
        title=incident.title,
        impact=incident.impact,
        models=list(incident.models),
        state=incident.state,
        began_at=incident.began_at,
        ended_at=incident.ended_at,
        updates=[IncidentUpdateOut(at=one.at, state=one.state, message=one.message) for one in incident.updates],
    )
