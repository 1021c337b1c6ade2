"""``/admin/v1/resolutions``: rulings which license holds. The newest of a model does; those before it can be shown."""

from typing import Annotated, ClassVar, Literal

from fastapi import Query
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog import record
from catalog.record import RecordStatus, ResolutionRecord
from router.admin.licenses import resolve_license
from router.api.admin.references import model_id_of
from router.api.admin.request import Read, Write
from router.api.fields import ClaimIdText, Instant, ModelRef, ResolutionIdText, text_of
from router.api.forms import Body, Page, PageQuery, Resource, answer_of
from router.api.operation import ALL, OPS, V1, Operations
from router.changes.transaction import UnitOfWork
from router.errors import NotFound
from store.ids import ResolutionId, wire

operations = Operations("resolutions", f"{V1}/resolutions", tag="Licenses")


class ResolutionOut(Resource):
    """An operator's ruling which license holds."""

    columns: ClassVar[tuple[str, ...]] = ("id", "model", "status", "license", "decided_by", "decided_at", "replaced_at")

    id: ResolutionIdText
    model: str
    status: RecordStatus = Field(description="in_force, or replaced by a later one.")
    license: str
    reason: str
    evidence: str
    settles: tuple[ClaimIdText, ...] = Field(description="The claims that were recorded then.")
    decided_by: str
    decided_at: Instant
    replaced_at: Instant | None
    object: Literal["resolution"] = "resolution"


class ResolutionCreate(Body):
    """It settles every claim that is recorded when it is made, and replaces the resolution before it."""

    model: ModelRef = Field(description="The model, by id or alias.")
    license: Annotated[str, text_of(200)] = Field(description="The license that holds: an SPDX id or LicenseRef-….")
    reason: Annotated[str, text_of(2000)] = Field(description="Why this one.")
    evidence: Annotated[str, text_of(1000)] = Field(description="Where it can be seen: a URL, a document's number.")


class ResolutionQuery(PageQuery):
    """Which resolutions."""

    model: ModelRef | None = Field(None, description="Those of this model, by id or alias.")
    status: Literal["in_force", "replaced"] | None = Field(None, description="Those that hold, or that did.")


@operations.get("", verb="list", summary="List resolutions", roles=ALL)
async def list_(admin: Read, query: Annotated[ResolutionQuery, Query()]) -> Page[ResolutionOut]:
    """All resolutions, the oldest first; those of a model, those that are in_force or replaced."""

    async def ask(connection: AsyncConnection) -> list[ResolutionOut]:
        model = None if query.model is None else await model_id_of(connection, query.model)
        found = [_out(row) for row in await record.resolutions(connection, model)]
        return query.cut([row for row in found if query.status in (None, row.status)], _key)

    return admin.page(query, await admin.read(ask), _key)


@operations.get("/{resolution_id}", verb="show", summary="Retrieve a resolution", roles=ALL)
async def retrieve(admin: Read, resolution_id: ResolutionIdText) -> ResolutionOut:
    """One resolution, in force or replaced."""
    return await admin.read(lambda connection: _one(connection, resolution_id))


@operations.post("", verb="create", summary="Resolve a license", roles=OPS, status=201)
async def create(admin: Write, body: ResolutionCreate) -> ResolutionOut:
    """Rule which license holds, with evidence."""

    async def command(work: UnitOfWork) -> ResolutionOut:
        resolution_id = await resolve_license(
            work,
            await model_id_of(work.connection, body.model),
            license=body.license,
            reason=body.reason,
            evidence=body.evidence,
        )
        return await _one(work.connection, resolution_id)

    return await admin.change(command)


async def _one(connection: AsyncConnection, resolution_id: ResolutionId) -> ResolutionOut:
    for row in await record.resolutions(connection):
        if row.id == resolution_id:
            return _out(row)
    raise NotFound(f"There is no resolution {wire(ResolutionId, resolution_id)}.", param="resolution")


def _key(row: ResolutionOut) -> str:
    return row.id.hex


def _out(row: ResolutionRecord) -> ResolutionOut:
    return answer_of(
        ResolutionOut,
        row.resolution,
        model=row.model_id,
        status=row.status,
        settles=row.settles,
        replaced_at=row.replaced_at,
    )
