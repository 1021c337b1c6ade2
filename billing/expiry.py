"""Expires grants: takes back what is left of each one that is due."""

from datetime import datetime

from billing.admission import Admission
from billing.credits import due_grants
from billing.debt import count_debts, unpaid_debts
from billing.generation import Generation
from billing.projection import Projection
from billing.take_back import Reason, TakeBack, take_back
from store.ids import new_id
from store.postgres import Database


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
