"""Moves an attempt and its top-up together, in one transaction, under the account's lock; and switches the rule off."""

from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.stripe.context import StripeContext
from billing.stripe.credit import credit_topup, move_topup
from billing.stripe.recharge_rules import MOVES, TOPUP_STATUS, UNDER_WAY, RechargeStatus
from billing.stripe.recharges import (
    LOCK_ACCOUNT,
    Recharge,
    closed_accounts,
    erase_consents,
    find_recharge,
    mail_done,
    mail_off,
    switch_off,
)
from billing.stripe.topup_rules import Verdict
from billing.stripe.topups import Topup, find_topup
from store.ids import AccountId, TopupId

ACTOR = "process:jobs"
CLOSED = "The account was closed."
NOT_AS_ORDERED = "A payment is not what was ordered; a person looks at it."
_MOVE = text("""
    UPDATE recharges SET status = :status, tries = greatest(tries, :tries), look_at = coalesce(:look_at, look_at),
        problem = :problem, changed_at = now() WHERE topup_id = :topup
""")
_KEEP_URL = text("UPDATE topups SET url = :url WHERE id = :topup")


async def read(context: StripeContext, topup_id: TopupId) -> tuple[Recharge, Topup]:
    """An attempt and its top-up."""
    async with context.db.transaction() as tx:
        return await _read_in(tx, topup_id)


async def move(
    context: StripeContext,
    recharge: Recharge,
    status: RechargeStatus,
    *,
    tries: int = 0,
    look_at: datetime | None = None,
    problem: str = "",
    url: str | None = None,
) -> bool:
    """Move an attempt; False where its state does not allow it any more."""
    async with context.db.transaction() as tx:
        if url is not None:
            await tx.execute(_KEEP_URL, {"topup": recharge.topup_id, "url": url})
        return await move_in(tx, recharge, status, tries=tries, look_at=look_at, problem=problem)


async def move_in(
    tx: AsyncConnection,
    recharge: Recharge,
    status: RechargeStatus,
    *,
    tries: int = 0,
    look_at: datetime | None = None,
    problem: str = "",
) -> bool:
    """The same in a transaction that is open."""
    now_is, topup = await _lock(tx, recharge)
    stays = status is now_is.status and status in UNDER_WAY
    if not stays and status not in MOVES[now_is.status]:
        return False
    await _set(tx, recharge, status, tries=tries, look_at=look_at, problem=problem)
    await move_topup(tx, topup, TOPUP_STATUS[status], problem)
    return True


async def apply(context: StripeContext, recharge: Recharge, verdict: Verdict) -> None:
    """Credit what was paid, once; or leave it to a person, and buy nothing more by itself."""
    async with context.db.transaction() as tx:
        if verdict.payment is None:
            if await move_in(tx, recharge, RechargeStatus.REVIEW, problem=verdict.problem):
                await stop(tx, context, recharge.account_id, NOT_AS_ORDERED)
            return
        now_is, topup = await _lock(tx, recharge)
        if RechargeStatus.PAID in MOVES[now_is.status]:
            await _set(tx, recharge, RechargeStatus.PAID)
            await credit_topup(context, tx, topup, verdict.payment)
            await mail_done(tx, recharge, topup)


async def end(context: StripeContext, recharge: Recharge, status: RechargeStatus, problem: str) -> None:
    """End an attempt that was not paid, and switch the rule off where it failed."""
    async with context.db.transaction() as tx:
        is_moved = await move_in(tx, recharge, status, problem=problem)
        if is_moved and status is RechargeStatus.FAILED:
            await stop(tx, context, recharge.account_id, problem)


async def stop(tx: AsyncConnection, context: StripeContext, account_id: AccountId, reason: str) -> None:
    """Switch auto-recharge off and say so: to the customer, in the account and in the audit. Once; off stays off."""
    off = await switch_off(tx, account_id, actor=ACTOR, reason=reason)
    if off is not None:
        await context.record_change(tx, "recharge.off", account_id, {"version": str(off.version)}, reason)
        await mail_off(tx, off)


async def stop_closed(context: StripeContext) -> None:
    """Switch it off for accounts that were closed, and erase who had consented. There is nobody to tell."""
    async with context.db.transaction() as tx:
        closed = await closed_accounts(tx)
    for account_id in closed:
        async with context.db.transaction() as tx:
            off = await switch_off(tx, account_id, actor=ACTOR, reason=CLOSED)
            await erase_consents(tx, account_id)
            if off is not None:
                await context.record_change(tx, "recharge.off", account_id, {"version": str(off.version)}, CLOSED)


async def _lock(tx: AsyncConnection, recharge: Recharge) -> tuple[Recharge, Topup]:
    """The attempt as it is now, which nobody else changes until the commit."""
    await tx.execute(LOCK_ACCOUNT, {"account": recharge.account_id})
    return await _read_in(tx, recharge.topup_id, locked=True)


async def _read_in(tx: AsyncConnection, topup_id: TopupId, *, locked: bool = False) -> tuple[Recharge, Topup]:
    topup = await find_topup(tx, "id", topup_id, locked=locked)
    recharge = await find_recharge(tx, "topup", topup_id)
    assert topup is not None, "top-ups are never deleted; this is a bug"
    assert recharge is not None, "attempts are never deleted; this is a bug"
    return recharge, topup


async def _set(
    tx: AsyncConnection,
    recharge: Recharge,
    status: RechargeStatus,
    *,
    tries: int = 0,
    look_at: datetime | None = None,
    problem: str = "",
) -> None:
    facts = {"topup": recharge.topup_id, "status": status.value, "tries": tries}
    await tx.execute(_MOVE, {**facts, "look_at": look_at, "problem": problem})
