"""``/admin/v1/waivers``: signed liftings of one license term each. Those that ended can still be shown."""

from datetime import datetime
from typing import Annotated, ClassVar, Literal

from fastapi import Query
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog import record
from catalog.record import RecordStatus, WaiverRecord
from catalog.values import Signer, Term
from router.admin.licenses import revoke_waiver, sign_waiver
from router.api.admin.references import model_id_of
from router.api.admin.request import Read, Write
from router.api.fields import Instant, ModelRef, WaiverIdText, text_of
from router.api.forms import Body, Page, PageQuery, Resource, answer_of
from router.api.operation import ALL, MONEY, V1, Operations
from router.changes.transaction import UnitOfWork
from router.errors import NotFound
from store.ids import WaiverId, wire

operations = Operations("waivers", f"{V1}/waivers", tag="Licenses")


class WaiverOut(Resource):
    """A signed lifting of one term, from ``signed_at`` until it expires or is revoked."""

    volatile: ClassVar[frozenset[str]] = frozenset({"status"})
    columns: ClassVar[tuple[str, ...]] = ("id", "model", "status", "term", "signed_by", "signed_at", "expires_at")

    id: WaiverIdText
    model: str
    status: RecordStatus = Field(description="in_force, expired or revoked.")
    term: Term
    signer: Signer
    signed_by: str
    evidence: str
    signed_at: Instant
    expires_at: Instant | None
    revoked_at: Instant | None
    revoked_by: str | None
    object: Literal["waiver"] = "waiver"


class WaiverCreate(Body):
    """A signed lifting of one term of a model's license."""

    model: ModelRef = Field(description="The model, by id or alias.")
    term: Term = Field(description="The term that is lifted.")
    signed_by: Annotated[str, text_of(200)] = Field(description="Whose signature it is.")
    evidence: Annotated[str, text_of(1000)] = Field(description="Where it can be seen: a URL, a document's number.")
    signer: Signer = Field(Signer.OPERATOR, description="licensor, or operator for our own decision.")
    expires_at: Instant | None = Field(None, description="When it ends; null: never.")


class WaiverQuery(PageQuery):
    """Which waivers."""

    model: ModelRef | None = Field(None, description="Those of this model, by id or alias.")
    status: Literal["in_force", "expired", "revoked"] | None = Field(
        None, description="Those that hold, or those that ended so."
    )


@operations.get("", verb="list", summary="List waivers", roles=ALL)
async def list_(admin: Read, query: Annotated[WaiverQuery, Query()]) -> Page[WaiverOut]:
    """All waivers, the oldest first; those of a model, those that are in_force, expired or revoked."""

    async def ask(connection: AsyncConnection) -> list[WaiverOut]:
        model = None if query.model is None else await model_id_of(connection, query.model)
        found = [_out(row, admin.exchange.now) for row in await record.waivers(connection, model)]
        return query.cut([row for row in found if query.status in (None, row.status)], _key)

    return admin.page(query, await admin.read(ask), _key)


@operations.get("/{waiver_id}", verb="show", summary="Retrieve a waiver", roles=ALL)
async def retrieve(admin: Read, waiver_id: WaiverIdText) -> WaiverOut:
    """One waiver, in force or not."""
    return await admin.read(lambda connection: _one(connection, waiver_id, admin.exchange.now))


@operations.post("", verb="create", summary="Sign a waiver", roles=MONEY, status=201)
async def create(admin: Write, body: WaiverCreate) -> WaiverOut:
    """Record a signed lifting of one term."""

    async def command(work: UnitOfWork) -> WaiverOut:
        waiver_id = await sign_waiver(
            work,
            await model_id_of(work.connection, body.model),
            term=body.term,
            signer=body.signer,
            signed_by=body.signed_by,
            evidence=body.evidence,
            expires_at=body.expires_at,
        )
        return await _one(work.connection, waiver_id, work.now)

    return await admin.change(command)


@operations.post("/{waiver_id}/revoke", verb="revoke", summary="End a waiver", roles=MONEY)
async def revoke(admin: Write, waiver_id: WaiverIdText) -> WaiverOut:
    """The term holds again; the waiver stays in the record."""

    async def command(work: UnitOfWork) -> WaiverOut:
        await revoke_waiver(work, waiver_id)
        return await _one(work.connection, waiver_id, work.now)

    return await admin.change(command)


async def _one(connection: AsyncConnection, waiver_id: WaiverId, now: datetime) -> WaiverOut:
    for row in await record.waivers(connection):
        if row.id == waiver_id:
            return _out(row, now)
    raise NotFound(f"There is no waiver {wire(WaiverId, waiver_id)}.", param="waiver")


def _key(row: WaiverOut) -> str:
    return row.id.hex


def _out(row: WaiverRecord, now: datetime) -> WaiverOut:
    return answer_of(
        WaiverOut,
        row.waiver,
        model=row.model_id,
        status=row.status(now),
        revoked_at=row.revoked_at,
        revoked_by=row.revoked_by,
    )
