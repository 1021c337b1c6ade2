"""Reads how far the endpoints of a vector space were from its reference over time, and when they were quarantined.

A distance is 1 - cosine of a probe text's vector and the reference's. Texts that are drawn anew for each verification
are left out: they are compared with another endpoint, by other thresholds.
"""

from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from providers.probing.agreement import Noise, numerics_of, threshold_of
from router.verification.prober import REFERENCE_STEPS
from store.ids import EndpointId, wire

BUCKETS: Final = 120
EVENTS_MAX: Final = 200
_SPACES = text("""
    SELECT m.space, array_agg(DISTINCT m.id) AS models, array_agg(DISTINCT m.numerics) AS numerics,
        r.source, r.recorded_at, r.noise_worst, r.noise_typical
    FROM models m LEFT JOIN LATERAL (
        SELECT * FROM space_references r WHERE r.space = m.space ORDER BY recorded_at DESC LIMIT 1
    ) r ON true
    WHERE CAST(:space AS text) IS NULL OR m.space = CAST(:space AS text)
    GROUP BY m.space, r.source, r.recorded_at, r.noise_worst, r.noise_typical ORDER BY m.space
""")
_ENDPOINTS = text("""
    SELECT e.id, e.space, e.model_id, p.name AS provider_name, e.state, e.state_reason, last.at, last.verdict,
        last.worst, last.typical
    FROM endpoints e JOIN providers p ON p.id = e.provider_id LEFT JOIN LATERAL (
        SELECT one.at, one.verdict, s.worst, s.typical FROM probes one, LATERAL (
            SELECT max(1 - CAST(step->'agreement'->>'cosine_min' AS float8)) AS worst,
                max(1 - CAST(step->'agreement'->>'cosine_median' AS float8)) AS typical
            FROM jsonb_array_elements(one.report->'steps') step WHERE step->>'name' = ANY(:steps)
        ) s WHERE one.endpoint_id = e.id ORDER BY one.at DESC LIMIT 1
    ) last ON true
    WHERE CAST(:space AS text) IS NULL OR e.space = CAST(:space AS text) ORDER BY e.space, e.priority, e.id
""")
_POINTS = text("""
    SELECT p.endpoint_id, floor(extract(epoch FROM p.at - :since) / :width)::int AS bucket, count(*) AS probes,
        count(*) FILTER (WHERE p.verdict <> 'same_space') AS failed, max(s.worst) AS worst, max(s.typical) AS typical
    FROM probes p, LATERAL (
        SELECT max(1 - CAST(step->'agreement'->>'cosine_min' AS float8)) AS worst,
            max(1 - CAST(step->'agreement'->>'cosine_median' AS float8)) AS typical
        FROM jsonb_array_elements(p.report->'steps') step WHERE step->>'name' = ANY(:steps)
    ) s WHERE p.endpoint_id = ANY(CAST(:endpoints AS uuid[])) AND p.at >= :since AND p.at < :until
    GROUP BY 1, 2 ORDER BY 1, 2
""")
_QUARANTINES = text("""
    SELECT subject, at, reason, after->>'quarantine_cause' AS cause FROM audit
    WHERE subject = ANY(:subjects) AND action = 'endpoint.quarantined' AND at >= :since AND at < :until
    ORDER BY at DESC LIMIT :most
""")


class SpaceView(msgspec.Struct, frozen=True):
    """A vector space: its models, who vouches for it since when, and how far its endpoints may be from that."""

    space: str
    models: tuple[str, ...]
    numerics: str
    reference: str | None
    recorded_at: datetime | None
    threshold_worst: float
    threshold_typical: float


class SpaceEndpoint(msgspec.Struct, frozen=True):
    """An endpoint of a space with its last verification; distances are None where none was measured."""

    id: EndpointId
    space: str
    model: str
    provider_name: str
    state: str
    reason: str
    checked_at: datetime | None
    verdict: str | None
    worst: float | None
    typical: float | None


class DriftPoint(msgspec.Struct, frozen=True):
    """The verifications of one endpoint in a part of the span: how many, and the largest distances of any."""

    endpoint: EndpointId
    bucket: int
    probes: int
    failed: int
    worst: float | None
    typical: float | None


class Quarantine(msgspec.Struct, frozen=True):
    """When and why an endpoint was taken out of traffic."""

    endpoint: EndpointId
    at: datetime
    cause: str | None
    reason: str


class Drift(msgspec.Struct, frozen=True):
    """What happened from ``since`` to ``until``, in :data:`BUCKETS` parts of ``width_s`` seconds."""

    since: datetime
    until: datetime
    width_s: int
    points: tuple[DriftPoint, ...]
    quarantines: tuple[Quarantine, ...]


async def list_spaces(tx: AsyncConnection, space: str | None = None) -> list[SpaceView]:
    """List all vector spaces, or the one of this name, by name."""
    return [_space(row) for row in await tx.execute(_SPACES, {"space": space})]


async def list_space_endpoints(tx: AsyncConnection, space: str | None = None) -> list[SpaceEndpoint]:
    """List the endpoints of all spaces, or of one, with their last verification."""
    rows = await tx.execute(_ENDPOINTS, {"space": space, "steps": list(REFERENCE_STEPS)})
    return [
        SpaceEndpoint(
            EndpointId(row.id),
            row.space,
            row.model_id,
            row.provider_name,
            row.state,
            row.state_reason,
            row.at,
            row.verdict,
            _distance(row.worst),
            _distance(row.typical),
        )
        for row in rows
    ]


async def read_drift(tx: AsyncConnection, endpoints: list[EndpointId], days: int, now: datetime) -> Drift:
    """Read the distances and the quarantines of some endpoints over the last days."""
    width_s = days * 86_400 // BUCKETS
    since = now - timedelta(days=days)
    span = {"since": since, "until": now}
    which = {"endpoints": endpoints, "steps": list(REFERENCE_STEPS), "width": width_s}
    by_subject = {wire(EndpointId, endpoint): endpoint for endpoint in endpoints}
    points = [
        DriftPoint(
            EndpointId(row.endpoint_id),
            min(row.bucket, BUCKETS - 1),
            row.probes,
            row.failed,
            _distance(row.worst),
            _distance(row.typical),
        )
        for row in await tx.execute(_POINTS, {**span, **which})
    ]
    rows = await tx.execute(_QUARANTINES, {**span, "subjects": list(by_subject), "most": EVENTS_MAX})
    quarantines = [Quarantine(by_subject[row.subject], row.at, row.cause, row.reason) for row in rows]
    return Drift(since, now, width_s, tuple(points), tuple(quarantines))


def _space(row: Row[Any]) -> SpaceView:
    """Models of one space have the same numerics, which its name is made of."""
    noise = None if row.noise_worst is None else Noise(row.noise_worst, row.noise_typical)
    numerics = numerics_of(row.numerics[0])
    threshold = threshold_of(numerics, noise)
    stated = (numerics.value, row.source, row.recorded_at)
    return SpaceView(row.space, tuple(sorted(row.models)), *stated, threshold.worst, threshold.typical)


def _distance(value: float | None) -> float | None:
    """Of equal vectors the cosine may be a rounding above 1."""
    return None if value is None else max(0.0, value)
