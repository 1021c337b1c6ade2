"""Closes accounts through the one write path: ends keys and what pays by itself, pays unused credit back.

The jobs process does the rest (:mod:`billing.closing`), then :func:`finish` erases the billing profile.
"""

import msgspec

from billing import accounts, lines
from billing.closing import (
    CENT,
    Closing,
    Leftover,
    find_closing,
    mark_closed,
    read_leftover,
    read_obstacles,
    start_closing,
    write_debt_off,
)
from billing.documents.profiles import erase_profile
from billing.exports.requests import drop_own_exports
from billing.money import NanoUSD, to_usd
from billing.stripe.config import StripeConfig
from billing.stripe.refunds import NotRefundable, RefundOrder, order_refund
from billing.stripe.values import nano_of
from router.admin.accounts import require_account
from router.changes.audit import Actor, Change, record_changes
from router.changes.transaction import UnitOfWork
from router.errors import Conflict, InvalidRequest
from router.identity.key_commands import revoke_key
from router.identity.key_views import list_keys
from router.identity.management_keys import revoke_all_management_keys
from router.identity.people.erase import erase_people
from store.ids import AccountId, wire
from store.postgres import Database

ACTOR = Actor("process:jobs")


class CloseOrder(msgspec.Struct, frozen=True, kw_only=True):
    """How an account is closed. ``forfeit``: credit that cannot be paid back is given up; ``held`` by calls in flight.

    ``write_off``: debt is given up, which an operator alone decides.
    """

    account_id: AccountId
    reason: str
    key: str
    forfeit: bool = False
    write_off: bool = False
    held: NanoUSD = NanoUSD(0)


class Closed(msgspec.Struct, frozen=True):
    """What closing an account does with its money; amounts are nano-USD."""

    closing: Closing
    refunded: NanoUSD
    forfeited: NanoUSD
    written_off: NanoUSD
    keys: int


async def close_account(work: UnitOfWork, config: StripeConfig | None, order: CloseOrder) -> Closed:
    """Close an account for good. Raises ``NotFound``, and ``Conflict`` with all that stands in the way."""
    account_id = order.account_id
    account = await require_account(work, account_id, locked=True)
    if await find_closing(work.connection, account_id) is not None:
        raise Conflict(f"{account.name} is closed.", param="account")
    left = await read_leftover(work.connection, account_id)
    obstacles = await read_obstacles(work.connection, account_id, order.held, work.now)
    if left.debt and not order.write_off:
        obstacles.append(f"it owes {to_usd(left.debt)} USD: a top-up pays it, or an operator writes it off")
    if obstacles:
        raise Conflict(
            "The account cannot be closed: " + "; ".join(obstacles) + ".", details={"obstacles": list(obstacles)}
        )
    refunded = await _refund(work, config, order)
    _require_forfeit(left, refunded, config, order)
    line = await lines.get_line(work.connection, account_id, work.now)
    if line is not None and line.ended_at is None:
        await lines.end_line(work.connection, account_id)
    written_off = await write_debt_off(work.connection, account_id, order.reason) if left.debt else NanoUSD(0)
    keys = [key for key in await list_keys(work.connection, account_id) if key.revoked_at is None]
    for key in keys:
        await revoke_key(work, key.id, is_mailed=False)
    await revoke_all_management_keys(work, account_id)
    await accounts.set_status(work.connection, account_id, "closed")
    closing = await start_closing(work.connection, account_id, refunds=refunded > 0, reason=order.reason, by=work.actor)
    forfeited = NanoUSD(left.purchased + left.given - refunded)
    facts: dict[str, object] = {"refunded_usd": to_usd(refunded), "forfeited_usd": to_usd(forfeited)}
    facts |= {"amount_usd": to_usd(written_off), "keys": len(keys)}
    was: dict[str, object] = {"status": account.status}
    subject = wire(AccountId, account_id)
    work.record_change(Change("account.close", subject, account_id, was, facts, order.reason))
    return Closed(closing, refunded, forfeited, written_off, len(keys))


async def finish(db: Database, account_id: AccountId) -> None:
    """Erase who pays and who the members were, and mark the closing as over, once nothing is left to wait for."""
    async with db.transaction() as tx:
        if await mark_closed(tx, account_id):
            versions = await erase_profile(tx, account_id)
            await drop_own_exports(tx, account_id)
            people = await erase_people(tx, account_id)
            facts: dict[str, object] = {"billing_profile_versions_erased": versions, "people_erased": people}
            change = Change("account.closed", wire(AccountId, account_id), account_id, after=facts)
            await record_changes(tx, ACTOR, [change])


async def _refund(work: UnitOfWork, config: StripeConfig | None, order: CloseOrder) -> NanoUSD:
    """Order the refund of all that can be paid back; how much of the credit that is."""
    if config is None:
        return NanoUSD(0)
    refund = RefundOrder(
        account_id=order.account_id,
        amount=None,
        topup_id=None,
        reason="the account is closed",
        actor=work.actor,
        key=order.key,
    )
    try:
        rows = await order_refund(work.connection, refund)
    except NotRefundable:
        return NanoUSD(0)
    return NanoUSD(sum(nano_of(row.wanted_cents) for row in rows))


def _require_forfeit(left: Leftover, refunded: NanoUSD, config: StripeConfig | None, order: CloseOrder) -> None:
    """What was paid for and cannot be paid back is forfeited only where that is said."""
    lost = NanoUSD(left.purchased - refunded)
    if lost < CENT or order.forfeit:
        return
    why = "no payments are configured here" if config is None else "it was not paid by Stripe, or is disputed"
    raise InvalidRequest(
        f"{to_usd(lost)} USD of unused credit were paid for and cannot be paid back by this: {why}. Pay it back "
        "yourself, such as at the bank, or leave it; then send forfeit, which takes it off the account.",
        param="forfeit",
        details={"forfeited_usd": to_usd(lost)},
    )
