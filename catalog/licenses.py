"""Writes the license record of a model: claims, resolutions, waivers, and accounts' acceptances of license texts.

The record is only added to, never changed or deleted; a waiver alone can be revoked. :mod:`catalog.permit` decides what
the record means.
"""

from datetime import date, datetime

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog.errors import LicenseUnknown
from catalog.models import lock
from catalog.tables import LicenseAcceptanceRow, LicenseClaimRow, LicenseResolutionRow, LicenseWaiverRow
from catalog.terms import acceptance_token, find, normalize
from catalog.values import Signer, Term
from store.ids import AcceptanceId, AccountId, ClaimId, ModelId, ResolutionId, WaiverId, new_id


async def record_claim(
    db: AsyncConnection,
    model_id: ModelId,
    *,
    license: str,
    source: str,
    evidence: str,
    claimed_on: date,
    recorded_by: str,
) -> ClaimId | None:
    """Record what a source says; None where it is recorded already. The claim binds from now until it is resolved.

    A license without known terms is recorded too: it makes the model refuse every use, which is its point.
    ``claimed_on`` is the day on which the source was read. Raises ``ModelUnknown``.
    """
    # Locked, so that a resolution in the same moment either settles this claim or leaves it to bind.
    await lock(db, model_id)
    claim = insert(LicenseClaimRow).values(
        id=new_id(),
        model_id=model_id,
        license=normalize(license),
        source=source,
        evidence=evidence,
        claimed_on=claimed_on,
        recorded_by=recorded_by,
    )
    added = await db.scalar(
        claim.on_conflict_do_nothing(index_elements=["model_id", "license", "source"]).returning(LicenseClaimRow.id)
    )
    return None if added is None else ClaimId(added)


async def resolve(
    db: AsyncConnection, model_id: ModelId, *, license: str, reason: str, evidence: str, decided_by: str, now: datetime
) -> ResolutionId:
    """Rule which license holds, settling every claim recorded now. Raises ``LicenseUnknown``, ``ModelUnknown``."""
    normalized = normalize(license)
    if find(normalized) is None:
        raise LicenseUnknown(license)
    await lock(db, model_id)
    settles = list(await db.scalars(select(LicenseClaimRow.id).where(LicenseClaimRow.model_id == model_id)))
    resolution_id = ResolutionId(new_id())
    await db.execute(
        insert(LicenseResolutionRow).values(
            id=resolution_id,
            model_id=model_id,
            license=normalized,
            settles=settles,
            reason=reason,
            evidence=evidence,
            decided_by=decided_by,
            decided_at=now,
        )
    )
    return resolution_id


async def sign_waiver(
    db: AsyncConnection,
    model_id: ModelId,
    *,
    term: Term,
    signer: Signer,
    signed_by: str,
    evidence: str,
    now: datetime,
    expires_at: datetime | None = None,
) -> WaiverId:
    """Record a signed lifting of one term. Raises ``ModelUnknown``."""
    await lock(db, model_id)
    waiver_id = WaiverId(new_id())
    await db.execute(
        insert(LicenseWaiverRow).values(
            id=waiver_id,
            model_id=model_id,
            term=term,
            signer=signer,
            signed_by=signed_by,
            evidence=evidence,
            signed_at=now,
            expires_at=expires_at,
        )
    )
    return waiver_id


async def revoke_waiver(db: AsyncConnection, waiver_id: WaiverId, *, revoked_by: str, now: datetime) -> bool:
    """End a waiver; False where there is none to end."""
    result = await db.execute(
        update(LicenseWaiverRow)
        .where(LicenseWaiverRow.id == waiver_id, LicenseWaiverRow.revoked_at.is_(None))
        .values(revoked_at=now, revoked_by=revoked_by)
    )
    return result.rowcount == 1


async def accept(db: AsyncConnection, account_id: AccountId, license: str, *, accepted_by: str, now: datetime) -> str:
    """Record that an account accepts the present text of a license; returns the token that its keys then carry.

    Raises ``LicenseUnknown`` also for a license that needs no acceptance.
    """
    terms = find(normalize(license))
    if terms is None or terms.acceptance is None:
        raise LicenseUnknown(license)
    acceptance = insert(LicenseAcceptanceRow).values(
        id=AcceptanceId(new_id()),
        account_id=account_id,
        license=terms.id,
        text_version=terms.acceptance,
        accepted_by=accepted_by,
        accepted_at=now,
    )
    await db.execute(acceptance.on_conflict_do_nothing(index_elements=["account_id", "license", "text_version"]))
    return acceptance_token(terms.id, terms.acceptance)


async def accepted_tokens(db: AsyncConnection, account_id: AccountId | None = None) -> dict[AccountId, frozenset[str]]:
    """The license texts that accounts accepted, as tokens: of one account, or of all that accepted any."""
    query = select(LicenseAcceptanceRow.account_id, LicenseAcceptanceRow.license, LicenseAcceptanceRow.text_version)
    if account_id is not None:
        query = query.where(LicenseAcceptanceRow.account_id == account_id)
    accepted: dict[AccountId, set[str]] = {}
    for account, license_id, text_version in await db.execute(query):
        accepted.setdefault(AccountId(account), set()).add(acceptance_token(license_id, text_version))
    return {account: frozenset(tokens) for account, tokens in accepted.items()}
