"""``/admin/v1/resolutions``: rulings which license holds. The newest of a model does; those before it can be shown."""

import msgspec
from fastapi import APIRouter, Request, Response

from catalog import record
from catalog.record import RecordStatus, ResolutionRecord
from router.admin.licenses import resolve_license
from router.api.admin.license_records import TAG, entries, entry, words
from router.api.admin.mutation import Made, change
from router.api.admin.operation import lists, makes, shows
from router.api.admin.parsing import V1, body_of, rfc3339
from router.api.admin.responses import Resource
from router.api.operation import OperationRoute
from router.changes.transaction import UnitOfWork
from store.ids import ClaimId, ModelId, ResolutionId, wire

operations = APIRouter(route_class=OperationRoute)
PATH = f"{V1}/resolutions"
STATUSES = (RecordStatus.IN_FORCE, RecordStatus.REPLACED)


class ResolutionOut(Resource, frozen=True):
    """An operator's ruling which license holds. ``settles`` are the claims that were recorded then.

    ``status``: in_force, or replaced by a later one at ``replaced_at``.
    """

    id: str
    model: str
    status: str
    license: str
    reason: str
    evidence: str
    settles: list[str]
    decided_by: str
    decided_at: str | None
    replaced_at: str | None
    object: str = "resolution"


class ResolutionCreate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """It settles every claim that is recorded when it is made, and replaces the resolution before it."""

    model: str
    license: str
    reason: str
    evidence: str


@operations.get(PATH, **lists("list_resolutions", "List resolutions", TAG, ResolutionOut, "model", "status"))
async def list_(request: Request) -> Response:
    """All resolutions, the oldest first; those of a model, those that are in_force or replaced."""
    return await entries(request, record.resolutions, _out, STATUSES)


@operations.get(
    f"{PATH}/{{resolution_id}}", **shows("retrieve_resolution", "Retrieve a resolution", TAG, ResolutionOut)
)
async def retrieve(request: Request, resolution_id: str) -> Response:
    """One resolution, in force or replaced."""
    return await entry(request, ResolutionId, resolution_id, record.resolutions, _out)


@operations.post(PATH, **makes("create_resolution", "Resolve a license", TAG, ResolutionOut, ResolutionCreate))
async def create(request: Request) -> Response:
    """Rule which license holds, with evidence."""
    body = body_of(request, ResolutionCreate)

    async def command(work: UnitOfWork) -> Made:
        resolution_id = await resolve_license(
            work,
            ModelId(body.model),
            license=words(body.license, "license", 200),
            reason=words(body.reason, "reason", 2000),
            evidence=words(body.evidence, "evidence"),
        )
        recorded = await record.resolutions(work.connection, body.model)
        shown = next(_out(row) for row in recorded if row.id == resolution_id)
        return Made(shown, 201, f"{PATH}/{shown.id}")

    return await change(request, command)


def _out(row: ResolutionRecord) -> ResolutionOut:
    ruled = row.resolution
    return ResolutionOut(
        id=wire(ResolutionId, ruled.id),
        model=row.model_id,
        status=row.status.value,
        license=ruled.license,
        reason=ruled.reason,
        evidence=ruled.evidence,
        settles=[wire(ClaimId, claim) for claim in row.settles],
        decided_by=ruled.decided_by,
        decided_at=rfc3339(ruled.decided_at),
        replaced_at=rfc3339(row.replaced_at),
    )
