"""Expires grants: tells customers 60, 30 and 7 days before, then takes back what is left of each one that is due."""

from datetime import datetime, timedelta

from sqlalchemy import text

from billing.admission import Admission
from billing.credits import due_grants
from billing.debt import count_debts, unpaid_debts
from billing.generation import Generation
from billing.money import NanoUSD, to_usd
from billing.projection import Projection
from billing.take_back import Reason, TakeBack, take_back
from mail import enqueue
from mail.kinds import CreditExpiring
from store.ids import AccountId, GrantId, new_id, wire
from store.postgres import Database

# So many days before credit expires its owner is told, once each.
NOTICE_DAYS = (60, 30, 7)
# What is lent is no credit of the account's own.
_EXPIRING = text("""
    SELECT id, account_id, kind, remaining_nano, granted_at, expires_at FROM grants
    WHERE remaining_nano > 0 AND kind <> 'line' AND expires_at > :now AND expires_at <= :until ORDER BY expires_at, id
""")


def notice_due(granted_at: datetime, expires_at: datetime, now: datetime) -> int | None:
    """Which of the notices is due, as its days; None where none is.

    Of several that were missed it is the nearest. One that would have been due before the credit was given is none: a
    gift of 40 days is told of 30 and 7 days before it ends.
    """
    reached = [days for days in NOTICE_DAYS if expires_at - timedelta(days=days) <= now]
    nearest = min(reached, default=None)
    if nearest is None or granted_at > expires_at - timedelta(days=nearest):
        return None
    return nearest


async def notify_expiring(db: Database, now: datetime) -> None:
    """Have everybody told whose credit expires within 60, 30 and 7 days; each grant once for each."""
    async with db.transaction() as tx:
        until = now + timedelta(days=max(NOTICE_DAYS))
        rows = (await tx.execute(_EXPIRING, {"now": now, "until": until})).all()
    for row in rows:
        days = notice_due(row.granted_at, row.expires_at, now)
        if days is None:
            continue
        notice = CreditExpiring(
            amount_usd=to_usd(NanoUSD(row.remaining_nano)),
            credit=row.kind,
            at=row.expires_at,
            days=-((now - row.expires_at) // timedelta(days=1)),
        )
        async with db.transaction() as tx:
            source = f"expiry:{wire(GrantId, row.id)}:{days}"
            await enqueue(tx, notice, AccountId(row.account_id), dedupe=source)


async def expire_due(
    db: Database,
    admission: Admission,
    projection: Projection,
    generation: Generation,
    now: datetime,
    *,
    wait_s: float = 1.0,
) -> int:
    """Expire every due grant; returns how many ended. What calls in flight hold is taken at the job's next turn."""
    async with db.transaction() as tx:
        due = await due_grants(tx, now)
    expired = 0
    for grant in due:
        wanted = TakeBack(
            account_id=grant.account_id,
            reason=Reason.EXPIRY,
            source=f"expiry:{grant.id}",
            amount=grant.amount,
            grants=(grant.id,),
        )
        expired += (await take_back(db, admission, projection, generation, wanted, wait_s=wait_s)).waiting == 0
    return expired


async def pay_debts(db: Database, admission: Admission, projection: Projection, generation: Generation) -> int:
    """Count debts that were never counted, and pay them where an older release gave credit to an account in debt."""
    async with db.transaction() as tx:
        await count_debts(tx)
        unpaid = await unpaid_debts(tx)
    for account_id, amount in unpaid.items():
        wanted = TakeBack(account_id=account_id, reason=Reason.DEBT, source=f"debt:{new_id()}", amount=amount)
        await take_back(db, admission, projection, generation, wanted, wait_s=1.0)
    return len(unpaid)
