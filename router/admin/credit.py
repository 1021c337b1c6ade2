"""Gives accounts credit through the one write path; how it is booked stays in :mod:`billing.credits`."""

from datetime import datetime

from sqlalchemy.exc import IntegrityError

from billing import credits
from billing.credits import Grant, GrantKind
from billing.ledger import CreditTooLarge
from billing.money import MAX_AMOUNT, NanoUSD, to_usd
from router.admin.accounts import require_open_account
from router.changes.audit import Change
from router.changes.transaction import UnitOfWork, violated_constraint
from router.errors import Conflict, InvalidRequest
from router.tables import Json
from store.ids import AccountId, GrantId, wire


async def give_credit(
    work: UnitOfWork,
    account_id: AccountId,
    amount: NanoUSD,
    kind: GrantKind,
    *,
    source: str,
    expires_at: datetime | None = None,
    note: str = "",
    granted_at: datetime | None = None,
) -> Grant:
    """Give an account credit. ``source`` names the fact behind it, and one fact is granted once.

    ``granted_at``: when it was given, where that was earlier, in a month that is open.

    Raises ``NotFound``, ``InvalidRequest``, and ``Conflict`` for a source that was granted before.
    """
    await require_open_account(work, account_id)
    if kind is GrantKind.LINE:
        raise InvalidRequest("A credit line is not given as a grant by hand.", param="kind")
    if not 0 < amount <= MAX_AMOUNT:
        raise InvalidRequest(f"A grant is between 0.000000001 and {to_usd(MAX_AMOUNT)} USD.", param="amount")
    if expires_at is not None and expires_at <= work.now:
        raise InvalidRequest("The credit would be expired already.", param="expires_at")
    try:
        grant_id = await credits.grant(
            work.connection,
            account_id,
            amount,
            kind,
            source_ref=source,
            expires_at=expires_at,
            note=note,
            granted_at=granted_at,
        )
    except (CreditTooLarge, IntegrityError) as error:
        raise _refused_grant(error, source) from error
    given = next(g for g in await credits.list_grants(work.connection, account_id) if g.id == grant_id)
    facts: Json = {"amount_usd": to_usd(amount), "kind": kind.value, "source": source}
    facts["expires_at"] = expires_at.isoformat() if expires_at else None
    work.record_change(Change("credit.grant", wire(GrantId, grant_id), account_id, after=facts, reason=note))
    return given


def _refused_grant(error: CreditTooLarge | IntegrityError, source: str) -> Conflict:
    if isinstance(error, CreditTooLarge) or violated_constraint(error) == "credit_fits_redis":
        return Conflict("An account can hold at most 9,000,000.00 USD of credit.")
    return Conflict(f"Credit was granted for {source!r} before; one source is granted once.")
