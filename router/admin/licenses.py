"""Records claims, resolutions, waivers and acceptances of licenses through the one write path.

What they mean stays in :mod:`catalog.licenses` and :mod:`catalog.permit`.
"""

from datetime import date, datetime

from catalog import licenses, record
from catalog.record import Acceptance
from catalog.values import Signer, Term
from router.admin.accounts import require_account
from router.changes.audit import Change
from router.changes.transaction import UnitOfWork
from router.errors import Conflict, InvalidRequest, NotFound
from router.tables import Json
from store.ids import AccountId, ClaimId, ModelId, ResolutionId, WaiverId, wire


async def record_claim(
    work: UnitOfWork, model_id: ModelId, *, license: str, source: str, evidence: str, claimed_on: date
) -> ClaimId:
    """Record what a source says a model's license is. Raises ``ModelUnknown``, ``Conflict`` where it is recorded."""
    facts: Json = {"license": license, "source": source, "evidence": evidence, "claimed_on": claimed_on.isoformat()}
    claim_id = await licenses.record_claim(
        work.connection,
        model_id,
        license=license,
        source=source,
        evidence=evidence,
        claimed_on=claimed_on,
        recorded_by=work.actor,
    )
    if claim_id is None:
        raise Conflict(f"It is recorded already that {source} says {license} of {model_id}.")
    work.record_change(Change("license.claim", model_id, after={"claim": wire(ClaimId, claim_id), **facts}))
    return claim_id


async def resolve_license(
    work: UnitOfWork, model_id: ModelId, *, license: str, reason: str, evidence: str
) -> ResolutionId:
    """Rule which license holds, with evidence. Raises ``LicenseUnknown``, ``ModelUnknown``."""
    resolution_id = await licenses.resolve(
        work.connection,
        model_id,
        license=license,
        reason=reason,
        evidence=evidence,
        decided_by=work.actor,
        now=work.now,
    )
    after: Json = {"license": license, "evidence": evidence}
    work.record_change(Change("license.resolve", model_id, after=after, reason=reason))
    return resolution_id


async def sign_waiver(
    work: UnitOfWork,
    model_id: ModelId,
    *,
    term: Term,
    signer: Signer,
    signed_by: str,
    evidence: str,
    expires_at: datetime | None = None,
) -> WaiverId:
    """Record a signed lifting of one term. Raises ``ModelUnknown``, ``InvalidRequest``."""
    if expires_at is not None and expires_at <= work.now:
        raise InvalidRequest("The waiver would be expired already.", param="expires_at")
    waiver_id = await licenses.sign_waiver(
        work.connection,
        model_id,
        term=term,
        signer=signer,
        signed_by=signed_by,
        evidence=evidence,
        now=work.now,
        expires_at=expires_at,
    )
    after: Json = {"waiver": wire(WaiverId, waiver_id), "term": term.value, "signer": signer.value}
    after |= {"signed_by": signed_by, "evidence": evidence}
    work.record_change(Change("license.waive", model_id, after=after))
    return waiver_id


async def revoke_waiver(work: UnitOfWork, waiver_id: WaiverId) -> None:
    """End a waiver. Raises ``NotFound``."""
    subject = wire(WaiverId, waiver_id)
    if not await licenses.revoke_waiver(work.connection, waiver_id, revoked_by=work.actor, now=work.now):
        raise NotFound(f"There is no waiver {subject} in force.", param="waiver")
    work.record_change(Change("license.revoke_waiver", subject))


async def accept_license(work: UnitOfWork, account_id: AccountId, license: str, *, accepted_by: str) -> Acceptance:
    """Record an account's yes to a license text as it is now; one that is recorded already stays as it is.

    Raises ``NotFound``, ``LicenseUnknown``.
    """
    await require_account(work, account_id)
    token = await licenses.accept(work.connection, account_id, license, accepted_by=accepted_by, now=work.now)
    after: Json = {"text": token, "accepted_by": accepted_by}
    work.record_change(Change("license.accept", wire(AccountId, account_id), account_id, after=after))
    known = await record.acceptances(work.connection, account_id=account_id)
    return next(acceptance for acceptance in known if acceptance.text == token)
