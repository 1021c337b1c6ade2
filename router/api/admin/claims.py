"""``/admin/v1/claims``: what sources say of models' licenses. A claim is never edited: another one is recorded."""

from datetime import date
from typing import Annotated, ClassVar, Literal

from fastapi import Query
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog import models
from catalog.values import Claim, Model
from router.admin.licenses import record_claim
from router.api.admin.references import model_id_of
from router.api.admin.request import Read, Write
from router.api.fields import ClaimIdText, ModelRef, text_of
from router.api.forms import Body, Page, PageQuery, Resource, answer_of
from router.api.operation import ALL, OPS, V1, Operations
from router.changes.transaction import UnitOfWork
from router.errors import NotFound
from store.ids import ClaimId, ModelId, wire

operations = Operations("claims", f"{V1}/claims", tag="Licenses")


class ClaimOut(Resource):
    """What a source says."""

    columns: ClassVar[tuple[str, ...]] = ("id", "model", "license", "source", "claimed_on", "settled")

    id: ClaimIdText
    model: str
    license: str
    source: str
    evidence: str
    claimed_on: date
    settled: bool = Field(description="Whether the resolution in force has ruled on it; until then it binds.")
    object: Literal["claim"] = "claim"


class ClaimCreate(Body):
    """What a source says of a model's license."""

    model: ModelRef = Field(description="The model, by id or alias.")
    license: Annotated[str, text_of(200)] = Field(description="An SPDX id or LicenseRef-….")
    source: Annotated[str, text_of(300)] = Field(description="Who says so.")
    evidence: Annotated[str, text_of(1000)] = Field(description="Where it can be seen: a URL, a document's number.")
    claimed_on: date | None = Field(None, description="The day on which the source was read; by default today.")


class ClaimQuery(PageQuery):
    """Which claims."""

    model: ModelRef | None = Field(None, description="Those of this model, by id or alias.")


@operations.get("", verb="list", summary="List license claims", roles=ALL)
async def list_(admin: Read, query: Annotated[ClaimQuery, Query()]) -> Page[ClaimOut]:
    """All claims, or a model's, the oldest first."""

    async def ask(connection: AsyncConnection) -> list[ClaimOut]:
        found = None if query.model is None else await model_id_of(connection, query.model)
        return query.cut(await _claims(connection, found), _key)

    return admin.page(query, await admin.read(ask), _key)


@operations.get("/{claim_id}", verb="show", summary="Retrieve a claim", roles=ALL)
async def retrieve(admin: Read, claim_id: ClaimIdText) -> ClaimOut:
    """One claim."""
    return await admin.read(lambda connection: _one(connection, claim_id))


@operations.post("", verb="create", summary="Record a license claim", roles=OPS, status=201)
async def create(admin: Write, body: ClaimCreate) -> ClaimOut:
    """Record what a source says; it binds until it is resolved."""

    async def command(work: UnitOfWork) -> ClaimOut:
        claim_id = await record_claim(
            work,
            await model_id_of(work.connection, body.model),
            license=body.license,
            source=body.source,
            evidence=body.evidence,
            claimed_on=body.claimed_on or work.now.date(),
        )
        return await _one(work.connection, claim_id)

    return await admin.change(command)


async def _one(connection: AsyncConnection, claim_id: ClaimId) -> ClaimOut:
    for claim in await _claims(connection):
        if claim.id == claim_id:
            return claim
    raise NotFound(f"There is no claim {wire(ClaimId, claim_id)}.", param="claim")


async def _claims(connection: AsyncConnection, model_id: ModelId | None = None) -> list[ClaimOut]:
    found = await models.load_models(connection, model_id)
    return [_out(model, claim) for model in found for claim in model.claims]


def _key(claim: ClaimOut) -> str:
    return claim.id.hex


def _out(model: Model, claim: Claim) -> ClaimOut:
    return answer_of(ClaimOut, claim, model=model.id, settled=claim.resolved)
