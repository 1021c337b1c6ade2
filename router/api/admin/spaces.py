"""``/admin/v1/spaces``: vector spaces, who vouches for them, and how far their endpoints drifted over time."""

from datetime import timedelta
from typing import Annotated, ClassVar, Literal

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncConnection

from router.api.admin.request import Read
from router.api.fields import EndpointIdText, Instant
from router.api.forms import Answer, Page, PageQuery, answer_of
from router.api.operation import ALL, V1, Operations
from router.errors import NotFound
from router.request.body import printable_excerpt
from router.values import EndpointState
from router.verification.drift import (
    BUCKETS,
    Drift,
    SpaceEndpoint,
    SpaceView,
    list_space_endpoints,
    list_spaces,
    read_drift,
)

operations = Operations("spaces", f"{V1}/spaces")


class SpaceOut(Answer):
    """A vector space. Distances are 1 - cosine of the worst probe text; null: none was measured."""

    columns: ClassVar[tuple[str, ...]] = (
        *("space", "models", "endpoints", "live", "quarantined"),
        *("threshold_worst", "worst", "recorded_at"),
    )

    space: str
    models: tuple[str, ...]
    numerics: str = Field(description="The class of numbers whose thresholds hold.")
    endpoints: int
    live: int
    quarantined: int
    reference: str | None = Field(description="Who vouches for it; null: nobody yet.")
    recorded_at: Instant | None = Field(description="Since when.")
    threshold_worst: float = Field(description="The largest distance that the worst probe text may have.")
    threshold_typical: float = Field(description="The same of the middle one.")
    worst: float | None = Field(description="The largest distance in the last verifications of its endpoints.")


class SpaceEndpointOut(Answer):
    """An endpoint of the space, with its last verification."""

    id: EndpointIdText
    model: str
    provider_name: str
    state: EndpointState
    reason: str
    checked_at: Instant | None
    verdict: str | None
    worst: float | None
    typical: float | None


class DriftPointOut(Answer):
    """The verifications of an endpoint in one part of the span; distances are the largest of them."""

    endpoint: EndpointIdText
    at: Instant = Field(description="When the part begins.")
    probes: int
    failed: int
    worst: float | None
    typical: float | None


class QuarantineOut(Answer):
    """When and why an endpoint was taken out of traffic."""

    endpoint: EndpointIdText
    at: Instant
    cause: str | None
    reason: str


class SpaceDriftOut(SpaceOut):
    """A space with its endpoints, and how far they were from its reference, part by part."""

    since: Instant
    until: Instant
    width_s: int = Field(description="How long a part of the span is, in seconds.")
    served: tuple[SpaceEndpointOut, ...] = Field(description="Its endpoints.")
    points: tuple[DriftPointOut, ...]
    quarantines: tuple[QuarantineOut, ...] = Field(description="The newest first.")
    object: Literal["space"] = "space"


class DriftQuery(BaseModel):
    """Over which time, and of which endpoint."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    days: int = Field(30, ge=1, le=90, description="So many days until now, in 120 parts.")
    endpoint: EndpointIdText | None = Field(None, description="Of this endpoint alone; by default of all.")


@operations.get("", verb="list", summary="List vector spaces", roles=ALL)
async def list_(admin: Read, query: Annotated[PageQuery, Query()]) -> Page[SpaceOut]:
    """All vector spaces by name, with how far their endpoints were from the reference when they were last verified."""

    async def ask(connection: AsyncConnection) -> list[SpaceOut]:
        endpoints = await list_space_endpoints(connection)
        cut = query.cut(await list_spaces(connection), lambda space: space.space)
        return [_out(space, [one for one in endpoints if one.space == space.space]) for space in cut]

    return admin.page(query, await admin.read(ask), lambda row: row.space)


@operations.get("/{space:path}", verb="show", summary="Retrieve a vector space with its drift", roles=ALL)
async def retrieve(admin: Read, space: str, query: Annotated[DriftQuery, Query()]) -> SpaceDriftOut:
    """A vector space, the distances of its endpoints' probes over time with the thresholds, and its quarantines."""

    async def ask(connection: AsyncConnection) -> SpaceDriftOut:
        found = await list_spaces(connection, space)
        endpoints = await list_space_endpoints(connection, space)
        wanted = [one for one in endpoints if query.endpoint in (None, one.id)]
        if not found or (query.endpoint is not None and not wanted):
            raise NotFound(f"There is no vector space {printable_excerpt(space)} with it.", param="space")
        drift = await read_drift(connection, [one.id for one in wanted], query.days, admin.exchange.now)
        return _with_drift(found[0], endpoints, wanted, drift)

    return await admin.read(ask)


def _out(space: SpaceView, endpoints: list[SpaceEndpoint]) -> SpaceOut:
    states = [one.state for one in endpoints]
    measured = [one.worst for one in endpoints if one.worst is not None]
    return answer_of(
        SpaceOut,
        space,
        endpoints=len(endpoints),
        live=states.count(EndpointState.LIVE.value),
        quarantined=states.count(EndpointState.QUARANTINED.value),
        worst=max(measured, default=None),
    )


def _with_drift(
    space: SpaceView, endpoints: list[SpaceEndpoint], wanted: list[SpaceEndpoint], drift: Drift
) -> SpaceDriftOut:
    width = timedelta(seconds=drift.width_s)
    assert width * BUCKETS <= drift.until - drift.since, "the parts are within the span; this is a bug"
    return SpaceDriftOut(
        **_out(space, endpoints).model_dump(),
        since=drift.since,
        until=drift.until,
        width_s=drift.width_s,
        served=tuple(answer_of(SpaceEndpointOut, one, state=EndpointState(one.state)) for one in wanted),
        points=tuple(answer_of(DriftPointOut, one, at=drift.since + one.bucket * width) for one in drift.points),
        quarantines=tuple(answer_of(QuarantineOut, one) for one in drift.quarantines),
    )
