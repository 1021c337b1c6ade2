"""What operators do with other parts' things, through the one write path: accounts, credit, prices, models, licenses.

The rules stay in their parts; here they meet, and each change leaves its audit row.
"""

from datetime import date, datetime
from typing import Literal

import msgspec
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from billing import accounts, credits, prices
from billing.accounts import Account
from billing.credits import Grant, GrantKind
from billing.ledger import CreditTooLarge
from billing.money import MAX_AMOUNT, NanoUSD, Price, price_at, to_usd
from catalog import licenses, lifecycle, models, record
from catalog.permit import may_charge
from catalog.record import Acceptance
from catalog.seed import Summary, import_seed
from catalog.values import Model, Signer, Status, Term
from router.changes.audit import Change
from router.changes.transaction import UnitOfWork
from router.errors import Conflict, InvalidRequest, NotFound
from router.registry.endpoints import list_endpoints
from router.registry.providers import list_providers
from router.tables import Json
from router.values import EndpointState
from store.ids import AccountId, ClaimId, GrantId, ModelId, PriceId, ResolutionId, WaiverId, wire

PRICE_MAX = 9_000_000_000_000


async def open_account(work: UnitOfWork, name: str) -> Account:
    """A new account without credit. Raises ``InvalidRequest``."""
    if not 1 <= len(name) <= 200:
        raise InvalidRequest("An account has a name of 1 to 200 characters.", param="name")
    account = await require_account(work, await accounts.create_account(work.connection, name))
    work.changed(Change("account.open", wire(AccountId, account.id), account.id, after={"name": name}))
    return account


async def rename_account(work: UnitOfWork, account_id: AccountId, name: str) -> Account:
    """Give an account another name. Raises ``NotFound``, ``InvalidRequest``."""
    if not 1 <= len(name) <= 200:
        raise InvalidRequest("An account has a name of 1 to 200 characters.", param="name")
    before = await require_account(work, account_id, locked=True)
    await accounts.rename_account(work.connection, account_id, name)
    was: Json = {"name": before.name}
    work.changed(Change("account.rename", wire(AccountId, account_id), account_id, was, {"name": name}))
    return msgspec.structs.replace(before, name=name)


async def require_account(work: UnitOfWork, account_id: AccountId, *, locked: bool = False) -> Account:
    """The account. Raises ``NotFound``."""
    account = await accounts.get_account(work.connection, account_id, locked=locked)
    if account is None:
        raise NotFound(f"There is no account {wire(AccountId, account_id)}.", param="account")
    return account


async def set_account_status(
    work: UnitOfWork, account_id: AccountId, status: Literal["active", "suspended"]
) -> Account:
    """Suspend an account, whose keys stop within a second, or let it go on. Raises ``NotFound``."""
    before = await require_account(work, account_id, locked=True)
    await accounts.set_status(work.connection, account_id, status)
    action = "account.suspend" if status == "suspended" else "account.resume"
    was: Json = {"status": before.status}
    work.changed(Change(action, wire(AccountId, account_id), account_id, was, {"status": status}))
    return msgspec.structs.replace(before, status=status)


async def give_credit(
    work: UnitOfWork,
    account_id: AccountId,
    amount: NanoUSD,
    kind: GrantKind,
    *,
    source: str,
    expires_at: datetime | None = None,
    note: str = "",
) -> Grant:
    """Give an account credit. ``source`` names the fact behind it, and one fact is granted once.

    Raises ``NotFound``, ``InvalidRequest``, and ``Conflict`` for a source that was granted before.
    """
    await require_account(work, account_id)
    if not 0 < amount <= MAX_AMOUNT:
        raise InvalidRequest(f"A grant is between 0.000000001 and {to_usd(MAX_AMOUNT)} USD.", param="amount")
    if expires_at is not None and expires_at <= work.now:
        raise InvalidRequest("The credit would be expired already.", param="expires_at")
    try:
        grant_id = await credits.grant(
            work.connection, account_id, amount, kind, source_ref=source, expires_at=expires_at, note=note
        )
    except (CreditTooLarge, IntegrityError) as error:
        raise _refused_grant(error, source) from error
    given = next(g for g in await credits.list_grants(work.connection, account_id) if g.id == grant_id)
    facts: Json = {"amount_usd": to_usd(amount), "kind": kind.value, "source": source}
    facts["expires_at"] = expires_at.isoformat() if expires_at else None
    work.changed(Change("credit.grant", wire(GrantId, grant_id), account_id, after=facts, reason=note))
    return given


def _refused_grant(error: CreditTooLarge | IntegrityError, source: str) -> Conflict:
    if isinstance(error, CreditTooLarge) or "credit_fits_redis" in str(error.orig):
        return Conflict("An account can hold at most 9,000,000.00 USD of credit.")
    return Conflict(f"Credit was granted for {source!r} before; one source is granted once.")


async def set_price(
    work: UnitOfWork,
    model_id: ModelId,
    nano_per_mtok: int,
    effective_at: datetime | None = None,
    *,
    batch_nano_per_mtok: int | None = None,
    note: str = "",
) -> Price:
    """A model's price from an instant on, by default from now. A served model that may not be charged for stays free.

    ``batch_nano_per_mtok`` is the batch lane's, by default the same.

    Raises ``ModelUnknown``, ``InvalidRequest``, ``Conflict``.
    """
    model = await models.get(work.connection, model_id)
    starts_at = effective_at or work.now
    if not 0 <= nano_per_mtok <= PRICE_MAX:
        raise InvalidRequest("A price is between 0.00 and 9000.00 USD per million tokens.", param="price")
    if batch_nano_per_mtok is not None and not 0 <= batch_nano_per_mtok <= nano_per_mtok:
        raise InvalidRequest("A batch price is between 0.00 and the price itself.", param="batch_price")
    if starts_at < work.now:
        raise InvalidRequest("A price starts now or later: calls that were made keep theirs.", param="effective_at")
    charging = may_charge(model, work.now)
    if nano_per_mtok > 0 and model.status in (Status.LIVE, Status.DEPRECATED) and not charging.allowed:
        raise Conflict(f"{model_id} is served free of charge: {charging.reasons[0]} {charging.lifted_by}")
    before = price_at(await _prices_of(work, model_id), starts_at)
    try:
        price_id = await prices.set_price(
            work.connection, model_id, nano_per_mtok, starts_at, batch_nano_per_mtok=batch_nano_per_mtok, note=note
        )
    except IntegrityError as error:
        raise Conflict(f"{model_id} has a price that starts at this very instant.") from error
    was: Json | None = {"usd_per_mtok": to_usd(before.nano_per_mtok)} if before else None
    now: Json = {"usd_per_mtok": to_usd(nano_per_mtok), "effective_at": starts_at.isoformat(), "model": model_id}
    if batch_nano_per_mtok is not None:
        now["batch_usd_per_mtok"] = to_usd(batch_nano_per_mtok)
    work.changed(Change("price.set", wire(PriceId, price_id), None, was, now, reason=note))
    return Price(price_id, model_id, nano_per_mtok, starts_at, batch_nano_per_mtok)


async def _prices_of(work: UnitOfWork, model_id: ModelId) -> list[Price]:
    return [price for price in await prices.list_prices(work.connection) if price.model_id == model_id]


async def launch_model(work: UnitOfWork, model_id: ModelId, *, reason: str = "") -> Model:
    """Put a model live. Raises ``LaunchRefused`` with a sentence for each thing that is missing."""
    before = await models.get(work.connection, model_id)
    facts = await _launch_facts(work.connection, model_id, work.now)
    await lifecycle.launch(
        work.connection,
        model_id,
        work.actor,
        has_price=facts.has_price,
        has_live_endpoint=facts.has_live_endpoint,
        now=work.now,
        is_free=facts.is_free,
        reason=reason,
    )
    return await _moved(work, before, "model.launch", reason)


class _LaunchFacts(msgspec.Struct, frozen=True):
    has_price: bool
    has_live_endpoint: bool
    is_free: bool


async def _launch_facts(connection: AsyncConnection, model_id: ModelId, now: datetime) -> _LaunchFacts:
    known = [price for price in await prices.list_prices(connection) if price.model_id == model_id]
    current = price_at(known, now)
    # One at a provider that is switched off gets no traffic, whatever its state.
    enabled = {view.id for view in await list_providers(connection) if view.spec.enabled}
    endpoints = [view.endpoint for view in await list_endpoints(connection, model_id)]
    live = [one for one in endpoints if one.state is EndpointState.LIVE and one.provider_id in enabled]
    # A price that waits for its day counts too, else a model without a right to charge would start to.
    coming = [price for price in known if price.effective_at > now]
    is_free = all(price.nano_per_mtok == 0 for price in [*coming, *([current] if current else [])])
    return _LaunchFacts(current is not None, bool(live), is_free)


async def missing_for_launch(connection: AsyncConnection, model: Model, now: datetime) -> tuple[str, ...]:
    """A sentence for each thing that a model lacks to go live."""
    facts = await _launch_facts(connection, model.id, now)
    return lifecycle.missing_for_launch(
        model,
        has_price=facts.has_price,
        has_live_endpoint=facts.has_live_endpoint,
        now=now,
        is_free=facts.is_free,
    )


async def move_model(work: UnitOfWork, model_id: ModelId, to: Status, *, reason: str) -> Model:
    """Deprecate, retire or announce again. Raises ``MoveRefused``, ``ModelUnknown``."""
    before = await models.get(work.connection, model_id)
    await lifecycle.move(work.connection, model_id, to, work.actor, reason=reason, now=work.now)
    return await _moved(work, before, f"model.{to.value}", reason)


async def _moved(work: UnitOfWork, before: Model, action: str, reason: str) -> Model:
    after = await models.get(work.connection, before.id)
    was: Json = {"status": before.status.value}
    work.changed(Change(action, before.id, None, was, {"status": after.status.value}, reason=reason))
    return after


async def import_catalog(work: UnitOfWork) -> Summary:
    """Bring the catalogue that this release ships up to date; what operators changed stays."""
    summary = await import_seed(work.connection)
    after: Json = {name: len(getattr(summary, name)) for name in ("added", "updated", "unchanged", "kept")}
    work.changed(Change("catalog.import", "catalog", after=after))
    return summary


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
    work.changed(Change("license.claim", model_id, after={"claim": wire(ClaimId, claim_id), **facts}))
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
    work.changed(Change("license.resolve", model_id, after=after, reason=reason))
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
    work.changed(Change("license.waive", model_id, after=after))
    return waiver_id


async def revoke_waiver(work: UnitOfWork, waiver_id: WaiverId) -> None:
    """End a waiver. Raises ``NotFound``."""
    subject = wire(WaiverId, waiver_id)
    if not await licenses.revoke_waiver(work.connection, waiver_id, revoked_by=work.actor, now=work.now):
        raise NotFound(f"There is no waiver {subject} in force.", param="waiver")
    work.changed(Change("license.revoke_waiver", subject))


async def accept_license(work: UnitOfWork, account_id: AccountId, license: str, *, accepted_by: str) -> Acceptance:
    """Record an account's yes to a license text as it is now; one that is recorded already stays as it is.

    Raises ``NotFound``, ``LicenseUnknown``.
    """
    await require_account(work, account_id)
    token = await licenses.accept(work.connection, account_id, license, accepted_by=accepted_by, now=work.now)
    after: Json = {"text": token, "accepted_by": accepted_by}
    work.changed(Change("license.accept", wire(AccountId, account_id), account_id, after=after))
    known = await record.acceptances(work.connection, account_id=account_id)
    return next(acceptance for acceptance in known if acceptance.text == token)
