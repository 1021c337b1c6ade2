"""Opens incidents, says how they go on and corrects them, through the one write path.

Each correction is a row of its own, beside what was first written.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
from sqlalchemy import text

from router.changes.audit import Change
from router.changes.transaction import UnitOfWork
from router.errors import Conflict, InvalidRequest, NotFound
from router.statistics.incidents import Impact, Incident, IncidentState, find_incident
from router.tables import Json
from store.ids import IncidentId, IncidentUpdateId, ModelId, new_id, wire

AHEAD_MAX = timedelta(days=90)
_OPEN = text("""
    INSERT INTO incidents (id, title, impact, models, began_at, created_by, created_at)
    VALUES (:id, :title, :impact, :models, :began_at, :actor, :now)
""")
_REVISE = text("""
    INSERT INTO incident_revisions (id, incident_id, title, impact, models, began_at, created_by, created_at)
    VALUES (:id, :incident, :title, :impact, :models, :began_at, :actor, :now)
""")
_SAY = text("""
    INSERT INTO incident_updates (id, incident_id, state, message, created_by, created_at)
    VALUES (:id, :incident, :state, :message, :actor, :now)
""")
_CORRECT = text("""
    INSERT INTO incident_corrections (id, update_id, state, message, created_by, created_at)
    VALUES (:id, :update, :state, :message, :actor, :now)
""")


class IncidentFacts(msgspec.Struct, frozen=True):
    """What an incident is of. ``models`` empty: the whole service."""

    title: str
    impact: Impact
    models: tuple[ModelId, ...]
    began_at: datetime


async def lock_incidents(work: UnitOfWork) -> None:
    """Let one operator write about incidents at a time: there is no row that could be locked."""
    await work.connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('incidents'))"))


async def open_incident(
    work: UnitOfWork,
    *,
    title: str,
    impact: Impact,
    models: Sequence[ModelId],
    message: str,
    began_at: datetime | None,
    reason: str = "",
) -> IncidentId:
    """Open an incident with a first message. Raises ``InvalidRequest`` for one that begins in a far future."""
    facts = IncidentFacts(title, impact, tuple(models), began_at or work.now)
    _check_beginning(work, facts)
    incident_id = IncidentId(new_id(work.now))
    await work.connection.execute(_OPEN, _row(work, facts) | {"id": incident_id})
    await _say(work, incident_id, IncidentState.INVESTIGATING, message)
    after: Json = {**_facts(facts), "message": message}
    work.record_change(Change("incident.open", wire(IncidentId, incident_id), after=after, reason=reason))
    return incident_id


async def revise_incident(work: UnitOfWork, incident_id: IncidentId, facts: IncidentFacts, *, reason: str = "") -> None:
    """Change what an incident is and touches. Raises ``NotFound``, and ``InvalidRequest`` as for a new one."""
    before = await _find(work, incident_id)
    known = IncidentFacts(before.title, before.impact, tuple(map(ModelId, before.models)), before.began_at)
    if facts == known:
        return
    _check_beginning(work, facts)
    await work.connection.execute(_REVISE, _row(work, facts) | {"id": new_id(), "incident": incident_id})
    work.record_change(
        Change(
            "incident.edit",
            wire(IncidentId, incident_id),
            before=_facts(known),
            after=_facts(facts),
            reason=reason,
        )
    )


async def update_incident(
    work: UnitOfWork, incident_id: IncidentId, *, state: IncidentState, message: str, reason: str = ""
) -> None:
    """Say how an incident stands. Raises ``NotFound``, and ``Conflict`` where it is resolved."""
    incident = await _find(work, incident_id)
    if incident.state is IncidentState.RESOLVED:
        raise Conflict("This incident is resolved: open another one, or correct the update that says so.")
    await _say(work, incident_id, state, message)
    before: Json = {"state": incident.state.value}
    after: Json = {"state": state.value, "message": message}
    work.record_change(Change("incident.update", wire(IncidentId, incident_id), None, before, after, reason))


async def correct_update(
    work: UnitOfWork,
    incident_id: IncidentId,
    update_id: IncidentUpdateId,
    *,
    state: IncidentState | None,
    message: str | None,
    reason: str = "",
) -> None:
    """Put right what an update said, at its own time; None: that stays.

    The latest update says how the incident stands, so correcting its ``resolved`` opens the incident again. Raises
    ``NotFound``, and ``InvalidRequest`` for an earlier update that would end the incident.
    """
    incident = await _find(work, incident_id)
    found = next((one for one in incident.updates if one.id == update_id), None)
    if found is None:
        raise NotFound(f"There is no update {wire(IncidentUpdateId, update_id)} of this incident.", param="update_id")
    state, message = state or found.state, message or found.message
    if state is IncidentState.RESOLVED and found is not incident.updates[0]:
        raise InvalidRequest("Only the latest update can say that it is resolved.", param="state")
    values = {"update": update_id, "state": state.value, "message": message}
    await work.connection.execute(_CORRECT, values | {"id": new_id(), "actor": work.actor, "now": work.now})
    before: Json = {"state": found.state.value, "message": found.message}
    after: Json = {"update": wire(IncidentUpdateId, update_id), "state": state.value, "message": message}
    work.record_change(Change("incident.correct", wire(IncidentId, incident_id), None, before, after, reason))


async def _find(work: UnitOfWork, incident_id: IncidentId) -> Incident:
    await lock_incidents(work)
    incident = await find_incident(work.connection, incident_id)
    if incident is None:
        raise NotFound(f"There is no incident {wire(IncidentId, incident_id)}.", param="incident_id")
    return incident


def _check_beginning(work: UnitOfWork, facts: IncidentFacts) -> None:
    if facts.began_at > work.now + AHEAD_MAX:
        raise InvalidRequest("An incident begins at most ninety days ahead.", param="began_at")


def _row(work: UnitOfWork, facts: IncidentFacts) -> dict[str, object]:
    row = {"title": facts.title, "impact": facts.impact.value, "models": list(facts.models)}
    return row | {"began_at": facts.began_at, "actor": work.actor, "now": work.now}


def _facts(facts: IncidentFacts) -> Json:
    models: list[object] = list(facts.models)
    began_at = facts.began_at.isoformat()
    return {"title": facts.title, "impact": facts.impact.value, "models": models, "began_at": began_at}


async def _say(work: UnitOfWork, incident_id: IncidentId, state: IncidentState, message: str) -> None:
    values = {"incident": incident_id, "state": state.value, "message": message}
    # By the process' own order of ids, for two updates may be of one instant.
    await work.connection.execute(_SAY, values | {"id": new_id(), "actor": work.actor, "now": work.now})
