"""Reads incidents: what operators say of a time in which something did not work."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from store.ids import IncidentId, IncidentUpdateId


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
    """What was said of an incident, and how it stood then. ``corrected_at``: when it was put right; None: never."""

    id: IncidentUpdateId
    at: datetime
    state: IncidentState
    message: str
    corrected_at: datetime | None = None


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """An incident, its updates the latest first. ``models`` empty: the whole service.

    ``revised_at``: when its title, impact, models or beginning were changed last; None: they are as it was opened.
    """

    id: IncidentId
    title: str
    impact: Impact
    models: tuple[str, ...]
    began_at: datetime
    updates: tuple[IncidentUpdate, ...]
    revised_at: datetime | None = None

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
        """When something was said of it last, or put right."""
        corrected = (one.corrected_at for one in self.updates)
        return max(at for at in (self.updates[0].at, self.revised_at, *corrected) if at is not None)


# The latest revision of an incident, and the latest correction of each update, stand before what was first written.
_AT = """to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
_READ = f"""
    SELECT i.id, i.title, i.impact, i.models, i.began_at, i.revised_at, i.updates::text AS updates FROM (
        SELECT i.id, coalesce(r.title, i.title) AS title, coalesce(r.impact, i.impact) AS impact,
            coalesce(r.models, i.models) AS models, coalesce(r.began_at, i.began_at) AS began_at,
            r.created_at AS revised_at, (
                SELECT jsonb_agg(jsonb_build_object('id', u.id,
                    'at', {_AT.format("u.created_at")}, 'corrected_at', {_AT.format("c.created_at")},
                    'state', coalesce(c.state, u.state), 'message', coalesce(c.message, u.message)) ORDER BY u.id DESC)
                FROM incident_updates u LEFT JOIN LATERAL (
                    SELECT * FROM incident_corrections WHERE update_id = u.id ORDER BY id DESC LIMIT 1
                ) c ON true
                WHERE u.incident_id = i.id
            ) AS updates
        FROM incidents i LEFT JOIN LATERAL (
            SELECT * FROM incident_revisions WHERE incident_id = i.id ORDER BY id DESC LIMIT 1
        ) r ON true
    ) i WHERE {{condition}} ORDER BY i.id DESC LIMIT :limit
"""  # noqa: S608 - constants
_IS_OPEN = "(i.updates -> 0 ->> 'state' <> 'resolved')"
_PAGE = text(
    _READ.format(
        condition="(CAST(:before AS uuid) IS NULL OR i.id < CAST(:before AS uuid))"
        f" AND (CAST(:is_open AS boolean) IS NULL OR {_IS_OPEN} = CAST(:is_open AS boolean))"
    )
)
_SINCE = text(_READ.format(condition=f"i.began_at >= :since OR {_IS_OPEN}"))
_ONE = text(_READ.format(condition="i.id = CAST(:id AS uuid)"))
_updates = msgspec.json.Decoder(tuple[IncidentUpdate, ...]).decode


async def list_incidents(
    tx: AsyncConnection, *, is_open: bool | None = None, before: IncidentId | None = None, limit: int
) -> list[Incident]:
    """List incidents, the newest first: those that go on, those that were resolved, or all."""
    which = {"is_open": is_open, "before": before, "limit": limit}
    return _incidents((await tx.execute(_PAGE, which)).all())


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
            revised_at=row.revised_at,
        )
        for row in rows
    ]
