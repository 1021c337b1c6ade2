"""Reads incidents: what operators say of a time in which something did not work."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from store.ids import IncidentId


class Impact(StrEnum):
    """How much does not work."""

    MAINTENANCE = "maintenance"
    DEGRADED = "degraded"
    OUTAGE = "outage"


class IncidentState(StrEnum):
    """How an incident stands."""

    INVESTIGATING = "investigating"
    IDENTIFIED = "identified"
    MONITORING = "monitoring"
    RESOLVED = "resolved"


class IncidentUpdate(msgspec.Struct, frozen=True):
    """What was said of an incident, and how it stood then."""

    at: datetime
    state: IncidentState
    message: str


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """An incident, its updates the latest first. ``models`` empty: the whole service."""

    id: IncidentId
    title: str
    impact: Impact
    models: tuple[str, ...]
    began_at: datetime
    updates: tuple[IncidentUpdate, ...]

    @property
    def state(self) -> IncidentState:
        """How it stands now."""
        return self.updates[0].state

    @property
    def ended_at(self) -> datetime | None:
        """When it was resolved; None while it goes on."""
        return self.updates[0].at if self.state is IncidentState.RESOLVED else None

    @property
    def updated_at(self) -> datetime:
        """When something was said of it last."""
        return self.updates[0].at


_READ = """
    SELECT i.id, i.title, i.impact, i.models, i.began_at, (
        SELECT jsonb_agg(jsonb_build_object('state', u.state, 'message', u.message, 'at',
            to_char(u.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')) ORDER BY u.id DESC)
        FROM incident_updates u WHERE u.incident_id = i.id
    )::text AS updates
    FROM incidents i WHERE {condition} ORDER BY i.id DESC LIMIT :limit
"""
_PAGE = text(_READ.format(condition="CAST(:before AS uuid) IS NULL OR i.id < CAST(:before AS uuid)"))
_SINCE = text(
    _READ.format(
        condition="i.began_at >= :since OR (SELECT u.state FROM incident_updates u WHERE u.incident_id = i.id"
        " ORDER BY u.id DESC LIMIT 1) <> 'resolved'"
    )
)
_ONE = text(_READ.format(condition="i.id = CAST(:id AS uuid)"))
_updates = msgspec.json.Decoder(tuple[IncidentUpdate, ...]).decode


async def list_incidents(tx: AsyncConnection, *, before: IncidentId | None = None, limit: int) -> list[Incident]:
    """List incidents, the newest first."""
    return _incidents((await tx.execute(_PAGE, {"before": before, "limit": limit})).all())


async def recent_incidents(tx: AsyncConnection, since: datetime, *, limit: int = 100) -> list[Incident]:
    """List incidents that began since an instant, or go on, the newest first."""
    return _incidents((await tx.execute(_SINCE, {"since": since, "limit": limit})).all())


async def find_incident(tx: AsyncConnection, incident_id: IncidentId) -> Incident | None:
    """Find one incident."""
    return next(iter(_incidents((await tx.execute(_ONE, {"id": incident_id, "limit": 1})).all())), None)


def _incidents(rows: Sequence[Row[Any]]) -> list[Incident]:
    return [
        Incident(
            id=IncidentId(row.id),
            title=row.title,
            impact=Impact(row.impact),
            models=tuple(row.models),
            began_at=row.began_at,
            updates=_updates(row.updates),
        )
        for row in rows
    ]
