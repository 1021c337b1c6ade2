"""Opens incidents and says how they go on, through the one write path; nothing that was said is changed."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import text

from router.changes.audit import Change
from router.changes.transaction import UnitOfWork
from router.errors import Conflict, InvalidRequest, NotFound
from router.statistics.incidents import Impact, IncidentState, find_incident
from router.tables import Json
from store.ids import IncidentId, ModelId, new_id, wire

AHEAD_MAX = timedelta(days=90)
_OPEN = text("""
    INSERT INTO incidents (id, title, impact, models, began_at, created_by, created_at)
    VALUES (:id, :title, :impact, :models, :began_at, :actor, :now)
""")
_SAY = text("""
    INSERT INTO incident_updates (id, incident_id, state, message, created_by, created_at)
    VALUES (:id, :incident, :state, :message, :actor, :now)
""")


async def open_incident(
    work: UnitOfWork, *, title: str, impact: Impact, models: Sequence[ModelId], message: str, began_at: datetime | None
) -> IncidentId:
    """Open an incident with a first message. Raises ``InvalidRequest`` for one that begins in a far future."""
    began = began_at or work.now
    if began > work.now + AHEAD_MAX:
        raise InvalidRequest("An incident begins at most ninety days ahead.", param="began_at")
    incident_id = IncidentId(new_id(work.now))
    facts: Json = {"title": title, "impact": impact.value, "models": list(models)}
    values = facts | {"id": incident_id, "began_at": began, "actor": work.actor, "now": work.now}
    await work.connection.execute(_OPEN, values)
    await _say(work, incident_id, IncidentState.INVESTIGATING, message)
    after: Json = {**facts, "began_at": began.isoformat(), "message": message}
    work.record_change(Change("incident.open", wire(IncidentId, incident_id), after=after))
    return incident_id


async def update_incident(work: UnitOfWork, incident_id: IncidentId, *, state: IncidentState, message: str) -> None:
    """Say how an incident stands. Raises ``NotFound``, and ``Conflict`` where it is resolved."""
    await work.connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('incidents'))"))
    incident = await find_incident(work.connection, incident_id)
    if incident is None:
        raise NotFound(f"There is no incident {wire(IncidentId, incident_id)}.", param="incident_id")
    if incident.state is IncidentState.RESOLVED:
        raise Conflict("This incident is resolved: open another one.")
    await _say(work, incident_id, state, message)
    after: Json = {"state": state.value, "message": message}
    work.record_change(
        Change("incident.update", wire(IncidentId, incident_id), before={"state": incident.state.value}, after=after)
    )


async def _say(work: UnitOfWork, incident_id: IncidentId, state: IncidentState, message: str) -> None:
    values = {"incident": incident_id, "state": state.value, "message": message}
    # By the process' own order of ids, for two updates may be of one instant.
    await work.connection.execute(_SAY, values | {"id": new_id(), "actor": work.actor, "now": work.now})
