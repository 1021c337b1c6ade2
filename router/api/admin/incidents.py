"""``/admin/v1/incidents``: what operators say on the status page of a time in which something did not work."""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from fastapi import Query
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from router.admin.incidents import (
    IncidentFacts,
    correct_update,
    lock_incidents,
    open_incident,
    revise_incident,
    update_incident,
)
from router.api.admin.references import model_of
from router.api.admin.request import Current, Edit, Read, Write
from router.api.fields import IncidentIdText, IncidentUpdateIdText, Instant, ModelRef, text_of
from router.api.forms import Answer, Body, Form, Page, PageQuery, Patch, Reason, Resource, answer_of
from router.api.operation import ALL, OPS, V1, Operations
from router.changes.transaction import UnitOfWork
from router.errors import NotFound
from router.statistics.incidents import Impact, Incident, IncidentState, find_incident, list_incidents
from store.ids import IncidentId, ModelId, wire

operations = Operations("incidents", f"{V1}/incidents", tag="Incidents")
ONE = "/{incident_id}"
MODELS_MAX = 50


class IncidentUpdateOut(Answer):
    """What was said of an incident, and how it stood then."""

    id: IncidentUpdateIdText
    at: Instant
    state: IncidentState
    message: str
    corrected_at: Instant | None = Field(description="When it was put right; null: it is as it was first said.")


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
    updated_at: Instant = Field(description="When something was said of it last, or put right.")
    updates: list[IncidentUpdateOut]
    object: Literal["incident"] = "incident"


class IncidentFields(Form):
    """What an incident is and touches."""

    title: Annotated[str, text_of(200)] = Field(description="What does not work, in a few words.")
    impact: Impact = Field(Impact.DEGRADED, description="maintenance, degraded or outage.")
    models: tuple[ModelRef, ...] = Field(
        (), max_length=MODELS_MAX, description="The models that it is of, by id or alias; none: the whole service."
    )
    began_at: Instant | None = Field(None, description="When it began; by default now.")
    reason: str = Field("", description="Why, for whoever looks next; the status page does not show it.")


class IncidentCreate(IncidentFields, Body):
    """A new incident with its first message."""

    message: Annotated[str, text_of(4000)] = Field(description="What customers see of it, and what they can do.")


class IncidentEdit(IncidentFields, Patch):
    """What is given is changed. A beginning of null is now."""


class IncidentSay(Reason):
    """How an incident stands."""

    state: IncidentState = Field(description="investigating, identified, monitoring or resolved, which ends it.")
    message: Annotated[str, text_of(4000)] = Field(description="What is known now.")


class IncidentCorrection(IncidentSay, Patch):
    """What an update should have said; what is not given stays."""


class IncidentQuery(PageQuery):
    """Which incidents."""

    which: Literal["open", "resolved"] | None = Field(
        None, description="Those that go on, or those that were resolved."
    )


@operations.get("", verb="list", summary="List incidents", roles=ALL)
async def list_(admin: Read, query: Annotated[IncidentQuery, Query()]) -> Page[IncidentOut]:
    """All incidents, the newest first."""
    before = query.after_id(IncidentId)

    async def ask(connection: AsyncConnection) -> list[IncidentOut]:
        after = None if before is None else IncidentId(before)
        is_open = None if query.which is None else query.which == "open"
        rows = await list_incidents(connection, is_open=is_open, before=after, limit=query.limit + 1)
        return [_out(row) for row in rows]

    return admin.page(query, await admin.read(ask), lambda row: wire(IncidentId, row.id))


@operations.get(ONE, verb="show", summary="Retrieve an incident", roles=ALL)
async def retrieve(admin: Read, incident_id: IncidentIdText) -> IncidentOut:
    """One incident with all that was said of it."""
    return await admin.read(lambda connection: _one(connection, incident_id))


@operations.post("", verb="open", summary="Open an incident", roles=OPS, status=201)
async def create(admin: Write, body: IncidentCreate) -> IncidentOut:
    """Say on the status page that something does not work, or will not."""

    async def command(work: UnitOfWork) -> IncidentOut:
        incident_id = await open_incident(
            work,
            title=body.title,
            impact=body.impact,
            models=await _models(work, body.models),
            message=body.message,
            began_at=body.began_at,
            reason=body.reason,
        )
        return await _one(work.connection, incident_id)

    return await admin.change(command)


@operations.patch(ONE, verb="edit", summary="Change what an incident is of", roles=OPS)
async def edit(admin: Edit, incident_id: IncidentIdText, body: IncidentEdit) -> IncidentOut:
    """Change its title, impact, models or beginning, also after its end. What it was before stays in the record."""
    given = body.given()

    async def command(work: UnitOfWork) -> IncidentOut:
        now = await _one(work.connection, incident_id)
        facts = IncidentFacts(
            given.get("title", now.title),
            given.get("impact", now.impact),
            tuple(await _models(work, given.get("models", now.models))),
            (given["began_at"] or work.now) if "began_at" in given else now.began_at,
        )
        await revise_incident(work, incident_id, facts, reason=given.get("reason", ""))
        return await _one(work.connection, incident_id)

    return await admin.change(command, current=_locked(incident_id))


@operations.post(f"{ONE}/updates", verb="update", summary="Say how an incident stands", roles=OPS)
async def update(admin: Write, incident_id: IncidentIdText, body: IncidentSay) -> IncidentOut:
    """Add what is known now; ``resolved`` ends the incident."""

    async def command(work: UnitOfWork) -> IncidentOut:
        await update_incident(work, incident_id, state=body.state, message=body.message, reason=body.reason)
        return await _one(work.connection, incident_id)

    return await admin.change(command, current=_locked(incident_id))


@operations.patch(f"{ONE}/updates/{{update_id}}", verb="correct", summary="Correct what was said", roles=OPS)
async def correct(
    admin: Edit, incident_id: IncidentIdText, update_id: IncidentUpdateIdText, body: IncidentCorrection
) -> IncidentOut:
    """Put right what an update says. The status page shows it at its own time, and that it was corrected.

    If-Match is the incident's. The latest update says how the incident stands: another state instead of ``resolved``
    opens it again.
    """
    given = body.given()

    async def command(work: UnitOfWork) -> IncidentOut:
        await correct_update(
            work,
            incident_id,
            update_id,
            state=given.get("state"),
            message=given.get("message"),
            reason=given.get("reason", ""),
        )
        return await _one(work.connection, incident_id)

    return await admin.change(command, current=_locked(incident_id))


def _locked(incident_id: IncidentId) -> Current:
    """The incident as it is, while nobody else writes about incidents."""

    async def current(work: UnitOfWork) -> IncidentOut:
        await lock_incidents(work)
        return await _one(work.connection, incident_id)

    return current


async def _models(work: UnitOfWork, names: Sequence[str]) -> list[ModelId]:
    return [(await model_of(work.connection, name)).id for name in names]


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
        updated_at=incident.updated_at,
        updates=[answer_of(IncidentUpdateOut, one) for one in incident.updates],
    )
