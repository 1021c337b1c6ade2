"""``/admin/v1/claims``, ``resolutions``, ``waivers``, ``decisions``: a model's license record. Append-only."""

from collections.abc import Sequence
from datetime import date

import msgspec
from fastapi import APIRouter, Request, Response
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog import models
from catalog.permit import decide, may_charge
from catalog.values import Claim, Decision, Model, Resolution, Signer, Term, Use, Waiver
from router.administer import record_claim, resolve_license, revoke_waiver, sign_waiver
from router.edge.admin.answering import Page, Resource, listed, one, page, slice_of
from router.edge.admin.asking import V1, Instant, body_of, exchange_of, id_of, query_of, read, rfc3339, utc
from router.edge.admin.changing import Made, change
from router.edge.admin.forms import Nothing
from router.edge.admin.telling import acts, lists, makes, shows
from router.errors import InvalidRequest, NotFound
from router.write import Work
from store.ids import ClaimId, ModelId, ResolutionId, WaiverId, wire

operations = APIRouter()
TAG = "Licenses"
CLAIMS, RESOLUTIONS, WAIVERS = f"{V1}/claims", f"{V1}/resolutions", f"{V1}/waivers"


class ClaimOut(Resource, frozen=True):
    """What a source says. ``settled``: a resolution has ruled on it; until then it binds."""

    id: str
    model: str
    license: str
    source: str
    evidence: str
    claimed_on: str
    settled: bool
    object: str = "claim"


class ClaimCreate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``claimed_on`` is the day on which the source was read; by default today."""

    model: str
    license: str
    source: str
    evidence: str
    claimed_on: date | None = None


class ResolutionOut(Resource, frozen=True):
    """An operator's ruling which license holds."""

    id: str
    model: str
    license: str
    reason: str
    evidence: str
    decided_by: str
    decided_at: str | None
    object: str = "resolution"


class ResolutionCreate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """It settles every claim that is recorded when it is made."""

    model: str
    license: str
    reason: str
    evidence: str


class WaiverOut(Resource, frozen=True):
    """A signed lifting of one term, in force until it expires or is revoked."""

    id: str
    model: str
    term: str
    signer: str
    signed_by: str
    evidence: str
    signed_at: str | None
    expires_at: str | None
    object: str = "waiver"


class WaiverCreate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``signer``: licensor, or operator for our own decision."""

    model: str
    term: Term
    signed_by: str
    evidence: str
    signer: Signer = Signer.OPERATOR
    expires_at: Instant | None = None


class Revoked(msgspec.Struct, frozen=True):
    """What was ended."""

    id: str
    revoked: bool = True
    object: str = "waiver"


class DecisionOut(msgspec.Struct, frozen=True):
    """What may be done with a model, and why not: one for each use, and one for charging."""

    what: str
    allowed: bool
    license: str
    reasons: list[str]
    lifted_by: str
    object: str = "decision"


@operations.get(CLAIMS, **lists("list_claims", "List license claims", TAG, ClaimOut, "model"))
async def list_claims(request: Request) -> Response:
    """What sources say of models' licenses."""
    query = query_of(request, "limit", "cursor", "model")
    part = slice_of(query)
    found = [(model.id, claim) for model in await _models(request, query) for claim in model.claims]
    key = _of_id
    return page(request, listed(found, part, key), part, key, lambda row: _claim(*row))


@operations.get(f"{CLAIMS}/{{claim_id}}", **shows("retrieve_claim", "Retrieve a claim", TAG, ClaimOut))
async def retrieve_claim(request: Request, claim_id: str) -> Response:
    """One claim."""
    query_of(request)
    known = id_of(ClaimId, claim_id, "claim")
    found = [_claim(m.id, claim) for m in await _models(request, {}) for claim in m.claims if claim.id == known]
    return _single(found, f"There is no claim {wire(ClaimId, known)}.", "claim")


@operations.post(CLAIMS, **makes("create_claim", "Record a license claim", TAG, ClaimOut, ClaimCreate))
async def create_claim(request: Request) -> Response:
    """Record what a source says; it binds until it is resolved."""
    body = body_of(request, ClaimCreate)

    async def command(work: Work) -> Made:
        claim_id = await record_claim(
            work,
            ModelId(body.model),
            license=_text(body.license, "license"),
            source=_text(body.source, "source"),
            evidence=_text(body.evidence, "evidence"),
            claimed_on=body.claimed_on or work.now.date(),
        )
        model = await models.get(work.connection, body.model)
        shown = _claim(model.id, next(claim for claim in model.claims if claim.id == claim_id))
        return Made(shown, 201, f"{CLAIMS}/{shown.id}")

    return await change(request, command)


@operations.get(RESOLUTIONS, **lists("list_resolutions", "List resolutions", TAG, ResolutionOut, "model"))
async def list_resolutions(request: Request) -> Response:
    """The rulings that hold, one for a model."""
    query = query_of(request, "limit", "cursor", "model")
    part = slice_of(query)
    found = [(model.id, model.resolution) for model in await _models(request, query) if model.resolution]
    return page(request, listed(found, part, _of_id), part, _of_id, lambda row: _resolution(*row))


@operations.get(
    f"{RESOLUTIONS}/{{resolution_id}}", **shows("retrieve_resolution", "Retrieve a resolution", TAG, ResolutionOut)
)
async def retrieve_resolution(request: Request, resolution_id: str) -> Response:
    """One ruling that holds."""
    query_of(request)
    known = id_of(ResolutionId, resolution_id, "resolution")
    rulings = [(m.id, m.resolution) for m in await _models(request, {}) if m.resolution is not None]
    found = [_resolution(model, ruled) for model, ruled in rulings if ruled.id == known]
    return _single(found, f"There is no resolution {wire(ResolutionId, known)} in force.", "resolution")


@operations.post(RESOLUTIONS, **makes("create_resolution", "Resolve a license", TAG, ResolutionOut, ResolutionCreate))
async def create_resolution(request: Request) -> Response:
    """Rule which license holds, with evidence."""
    body = body_of(request, ResolutionCreate)

    async def command(work: Work) -> Made:
        await resolve_license(
            work,
            ModelId(body.model),
            license=_text(body.license, "license"),
            reason=_text(body.reason, "reason"),
            evidence=_text(body.evidence, "evidence"),
        )
        model = await models.get(work.connection, body.model)
        assert model.resolution is not None, "a resolution was recorded a moment ago; this is a bug"
        shown = _resolution(model.id, model.resolution)
        return Made(shown, 201, f"{RESOLUTIONS}/{shown.id}")

    return await change(request, command)


@operations.get(WAIVERS, **lists("list_waivers", "List waivers", TAG, WaiverOut, "model"))
async def list_waivers(request: Request) -> Response:
    """Waivers that are not revoked."""
    query = query_of(request, "limit", "cursor", "model")
    part = slice_of(query)
    found = [(model.id, waiver) for model in await _models(request, query) for waiver in model.waivers]
    return page(request, listed(found, part, _of_id), part, _of_id, lambda row: _waiver(*row))


@operations.get(f"{WAIVERS}/{{waiver_id}}", **shows("retrieve_waiver", "Retrieve a waiver", TAG, WaiverOut))
async def retrieve_waiver(request: Request, waiver_id: str) -> Response:
    """One waiver that is not revoked."""
    query_of(request)
    known = id_of(WaiverId, waiver_id, "waiver")
    found = [_waiver(m.id, waiver) for m in await _models(request, {}) for waiver in m.waivers if waiver.id == known]
    return _single(found, f"There is no waiver {wire(WaiverId, known)} in force.", "waiver")


@operations.post(WAIVERS, **makes("create_waiver", "Sign a waiver", TAG, WaiverOut, WaiverCreate))
async def create_waiver(request: Request) -> Response:
    """Record a signed lifting of one term."""
    body = body_of(request, WaiverCreate)

    async def command(work: Work) -> Made:
        waiver_id = await sign_waiver(
            work,
            ModelId(body.model),
            term=body.term,
            signer=body.signer,
            signed_by=_text(body.signed_by, "signed_by"),
            evidence=_text(body.evidence, "evidence"),
            expires_at=utc(body.expires_at),
        )
        model = await models.get(work.connection, body.model)
        shown = _waiver(model.id, next(waiver for waiver in model.waivers if waiver.id == waiver_id))
        return Made(shown, 201, f"{WAIVERS}/{shown.id}")

    return await change(request, command)


@operations.post(f"{WAIVERS}/{{waiver_id}}/revoke", **acts("revoke_waiver", "End a waiver", TAG, Revoked, Nothing))
async def revoke(request: Request, waiver_id: str) -> Response:
    """The term holds again."""
    known = WaiverId(id_of(WaiverId, waiver_id, "waiver"))
    body_of(request, Nothing)

    async def command(work: Work) -> Made:
        await revoke_waiver(work, known)
        return Made(Revoked(wire(WaiverId, known)))

    return await change(request, command)


@operations.get(f"{V1}/decisions", **lists("list_decisions", "What may be done", TAG, DecisionOut, "model"))
async def list_decisions(request: Request) -> Response:
    """For each use, and for charging: allowed or not, why, and what would lift it. Needs ``model``."""
    query = query_of(request, "limit", "cursor", "model")
    if "model" not in query:
        raise InvalidRequest("'model' says of which model.", param="model")
    now = exchange_of(request).now
    model = await read(request, lambda connection: models.get(connection, query["model"]))
    decided = [(use.value, decide(model, use, frozenset(), now)) for use in Use]
    return one(Page([_decision(*row) for row in [*decided, ("charging", may_charge(model, now))]]))


async def _models(request: Request, query: dict[str, str]) -> list[Model]:
    async def ask(connection: AsyncConnection) -> list[Model]:
        if "model" in query:
            return [await models.get(connection, query["model"])]
        return await models.load_models(connection)

    return await read(request, ask)


def _single(found: Sequence[Resource], otherwise: str, param: str) -> Response:
    if not found:
        raise NotFound(otherwise, param=param)
    return one(found[0])


def _text(text: str, param: str) -> str:
    if not 1 <= len(text.strip()) <= 2_000:
        raise InvalidRequest(f"'{param}' has 1 to 2000 characters.", param=param)
    return text


def _of_id(row: tuple[ModelId, Claim | Resolution | Waiver]) -> str:
    return row[1].id.hex


def _claim(model: ModelId, claim: Claim) -> ClaimOut:
    return ClaimOut(
        wire(ClaimId, claim.id),
        model,
        claim.license,
        claim.source,
        claim.evidence,
        claim.claimed_on.isoformat(),
        claim.resolved,
    )


def _resolution(model: ModelId, ruled: Resolution) -> ResolutionOut:
    identity, at = wire(ResolutionId, ruled.id), rfc3339(ruled.decided_at)
    return ResolutionOut(identity, model, ruled.license, ruled.reason, ruled.evidence, ruled.decided_by, at)


def _waiver(model: ModelId, waiver: Waiver) -> WaiverOut:
    return WaiverOut(
        wire(WaiverId, waiver.id),
        model,
        waiver.term.value,
        waiver.signer.value,
        waiver.signed_by,
        waiver.evidence,
        rfc3339(waiver.signed_at),
        rfc3339(waiver.expires_at),
    )


def _decision(what: str, decision: Decision) -> DecisionOut:
    return DecisionOut(what, decision.allowed, decision.license, list(decision.reasons), decision.lifted_by)
