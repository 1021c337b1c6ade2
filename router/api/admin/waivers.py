"""``/admin/v1/waivers``: signed liftings of one license term each. Those that ended can still be shown."""

from collections.abc import Callable
from datetime import datetime

import msgspec
from fastapi import APIRouter, Request, Response

from catalog import record
from catalog.record import RecordStatus, WaiverRecord
from catalog.values import Signer, Term
from router.admin.licenses import revoke_waiver, sign_waiver
from router.api.admin.bodies import Nothing
from router.api.admin.license_records import TAG, entries, entry, words
from router.api.admin.mutation import Made, change
from router.api.admin.operation import acts, lists, makes, shows
from router.api.admin.parsing import V1, Instant, body_of, exchange_of, id_of, rfc3339, utc
from router.api.admin.responses import Resource
from router.api.operation import OperationRoute
from router.changes.transaction import UnitOfWork
from store.ids import ModelId, WaiverId, wire

operations = APIRouter(route_class=OperationRoute)
PATH = f"{V1}/waivers"
STATUSES = (RecordStatus.IN_FORCE, RecordStatus.EXPIRED, RecordStatus.REVOKED)


class WaiverOut(Resource, frozen=True):
    """A signed lifting of one term, from ``signed_at`` until it expires or is revoked.

    ``status``: in_force, expired or revoked.
    """

    volatile = frozenset({"status"})

    id: str
    model: str
    status: str
    term: str
    signer: str
    signed_by: str
    evidence: str
    signed_at: str | None
    expires_at: str | None
    revoked_at: str | None
    revoked_by: str | None
    object: str = "waiver"


class WaiverCreate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``signer``: licensor, or operator for our own decision."""

    model: str
    term: Term
    signed_by: str
    evidence: str
    signer: Signer = Signer.OPERATOR
    expires_at: Instant | None = None


@operations.get(PATH, **lists("list_waivers", "List waivers", TAG, WaiverOut, "model", "status"))
async def list_(request: Request) -> Response:
    """All waivers, the oldest first; those of a model, those that are in_force, expired or revoked."""
    return await entries(request, record.waivers, _shown_at(exchange_of(request).now), STATUSES)


@operations.get(f"{PATH}/{{waiver_id}}", **shows("retrieve_waiver", "Retrieve a waiver", TAG, WaiverOut))
async def retrieve(request: Request, waiver_id: str) -> Response:
    """One waiver, in force or not."""
    return await entry(request, WaiverId, waiver_id, record.waivers, _shown_at(exchange_of(request).now))


@operations.post(PATH, **makes("create_waiver", "Sign a waiver", TAG, WaiverOut, WaiverCreate))
async def create(request: Request) -> Response:
    """Record a signed lifting of one term."""
    body = body_of(request, WaiverCreate)

    async def command(work: UnitOfWork) -> Made:
        waiver_id = await sign_waiver(
            work,
            ModelId(body.model),
            term=body.term,
            signer=body.signer,
            signed_by=words(body.signed_by, "signed_by", 200),
            evidence=words(body.evidence, "evidence"),
            expires_at=utc(body.expires_at),
        )
        return Made(await _one(work, waiver_id), 201, f"{PATH}/{wire(WaiverId, waiver_id)}")

    return await change(request, command)


@operations.post(f"{PATH}/{{waiver_id}}/revoke", **acts("revoke_waiver", "End a waiver", TAG, WaiverOut, Nothing))
async def revoke(request: Request, waiver_id: str) -> Response:
    """The term holds again; the waiver stays in the record."""
    known = WaiverId(id_of(WaiverId, waiver_id, "waiver"))
    body_of(request, Nothing)

    async def command(work: UnitOfWork) -> Made:
        await revoke_waiver(work, known)
        return Made(await _one(work, known))

    return await change(request, command)


async def _one(work: UnitOfWork, known: WaiverId) -> WaiverOut:
    show = _shown_at(work.now)
    return next(show(row) for row in await record.waivers(work.connection) if row.id == known)


def _shown_at(now: datetime) -> Callable[[WaiverRecord], WaiverOut]:
    def show(row: WaiverRecord) -> WaiverOut:
        waiver = row.waiver
        return WaiverOut(
            id=wire(WaiverId, waiver.id),
            model=row.model_id,
            status=row.status(now).value,
            term=waiver.term.value,
            signer=waiver.signer.value,
            signed_by=waiver.signed_by,
            evidence=waiver.evidence,
            signed_at=rfc3339(waiver.signed_at),
            expires_at=rfc3339(waiver.expires_at),
            revoked_at=rfc3339(row.revoked_at),
            revoked_by=row.revoked_by,
        )

    return show
