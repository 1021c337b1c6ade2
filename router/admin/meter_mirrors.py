"""Switches the mirror of an account's usage at Stripe's meters on and off, through the audit. It is off by default."""

from billing.stripe import mirrors
from billing.stripe.config import StripeConfig
from billing.stripe.mirrors import Mirror
from router.admin.accounts import require_account, require_open_account
from router.admin.payments import require_stripe
from router.changes.audit import Change
from router.changes.transaction import UnitOfWork
from router.errors import Conflict, NotFound
from store.ids import AccountId, wire


async def switch_mirror(work: UnitOfWork, config: StripeConfig | None, account_id: AccountId, *, is_on: bool) -> Mirror:
    """Switch it on, from today (UTC) on, or off.

    Raises ``PaymentsNotConfigured``, ``NotFound``, and ``Conflict`` where it is so already.
    """
    require_stripe(config)
    account = await (require_open_account if is_on else require_account)(work, account_id)
    before = await mirrors.find_mirror(work.connection, account_id)
    if before is None and not is_on:
        raise NotFound(f"{account.name} was never mirrored at Stripe.", param="account")
    if not await mirrors.switch(work.connection, account_id, work.now.date(), work.actor, is_on=is_on):
        raise Conflict(f"The mirror of {account.name} at Stripe is {'on' if is_on else 'off'}.")
    found = await mirrors.find_mirror(work.connection, account_id)
    assert found is not None, "it was written a moment ago; this is a bug"
    was: dict[str, object] = {"is_on": before.is_on} if before else {}
    facts: dict[str, object] = {"is_on": is_on, "since": str(found.since)}
    work.record_change(Change("meter_mirror.switch", wire(AccountId, account_id), account_id, was, facts))
    return found
