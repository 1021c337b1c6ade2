"""``/admin/v1/claims``: what sources say of models' licenses. A claim is never edited: another one is recorded."""

from datetime import date

import msgspec
from fastapi import APIRouter, Request, Response
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog import models
from catalog.values import Claim
from router.admin.licenses import record_claim
from router.api.admin.license_records import TAG, entries, entry, words
from router.api.admin.mutation import Made, change
from router.api.admin.operation import lists, makes, shows
from router.api.admin.parsing import V1, body_of
from router.api.admin.responses import Resource
from router.api.operation import OperationRoute
from router.changes.transaction import UnitOfWork
from store.ids import ClaimId, ModelId, wire

operations = APIRouter(route_class=OperationRoute)
PATH = f"{V1}/claims"


class ClaimOut(Resource, frozen=True):
    """What a source says. ``settled``: the resolution in force has ruled on it; until then it binds."""

    id: str
    model: str
    license: str
    source: str
    evidence: str
    claimed_on: date
    settled: bool
    object: str = "claim"


class ClaimCreate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``claimed_on`` is the day on which the source was read; by default today."""

    model: str
    license: str
    source: str
    evidence: str
    claimed_on: date | None = None


@operations.get(PATH, **lists("list_claims", "List license claims", TAG, ClaimOut, "model"))
async def list_(request: Request) -> Response:
    """All claims, or a model's, the oldest first."""
    return await entries(request, _claims, _out)


@operations.get(f"{PATH}/{{claim_id}}", **shows("retrieve_claim", "Retrieve a claim", TAG, ClaimOut))
async def retrieve(request: Request, claim_id: str) -> Response:
    """One claim."""
    return await entry(request, ClaimId, claim_id, _claims, _out)


@operations.post(PATH, **makes("create_claim", "Record a license claim", TAG, ClaimOut, ClaimCreate))
async def create(request: Request) -> Response:
    """Record what a source says; it binds until it is resolved."""
    body = body_of(request, ClaimCreate)

    async def command(work: UnitOfWork) -> Made:
        claim_id = await record_claim(
            work,
            ModelId(body.model),
            license=words(body.license, "license", 200),
            source=words(body.source, "source", 300),
            evidence=words(body.evidence, "evidence"),
            claimed_on=body.claimed_on or work.now.date(),
        )
        recorded = await _claims(work.connection, body.model)
        return Made(next(_out(row) for row in recorded if row.id == claim_id), 201, f"{PATH}/{wire(ClaimId, claim_id)}")

    return await change(request, command)


class _Claimed(msgspec.Struct, frozen=True):
    id: ClaimId
    model_id: ModelId
    claim: Claim


async def _claims(connection: AsyncConnection, model_id: str | None) -> list[_Claimed]:
    found = await models.load_models(connection, model_id)
    return [_Claimed(claim.id, model.id, claim) for model in found for claim in model.claims]


def _out(row: _Claimed) -> ClaimOut:
    claim = row.claim
    facts = (claim.license, claim.source, claim.evidence, claim.claimed_on, claim.resolved)
    return ClaimOut(wire(ClaimId, row.id), row.model_id, *facts)
