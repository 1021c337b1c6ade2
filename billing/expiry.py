"""Expires grants: holds what is left of each, so that no call in flight loses it, then books it away.

As a charge, an expiry belongs to the lease that its hold was made under.
"""

import asyncio
from datetime import datetime, timedelta

from billing.admission import Admission
from billing.credits import Grant, due_grants, expire
from billing.generation import Generation, locks_lease
from billing.money import NanoUSD, Price
from billing.projection import EndedHolds, Projection
from billing.values import Denied, Limits, Payer, Quote
from store.ids import KeyId, ModelId, PriceId, RequestId, new_id
from store.postgres import Database

# The hold of an expiry belongs to no customer's key, so its limits are out of reach.
_UNLIMITED = Limits(requests_per_minute=1_000_000_000, tokens_per_minute=1_000_000_000, concurrency=1_000_000_000)
_HOLD_S = 10.0


async def expire_due(
    db: Database, admission: Admission, projection: Projection, generation: Generation, now: datetime
) -> int:
    """Expire every due grant whose credit is free; returns how many. Others wait for the next turn of the job."""
    async with db.transaction() as tx:
        due = await due_grants(tx, now)
    expired = 0
    for grant in due:
        expired += await _expire_grant(db, admission, projection, generation, grant, now)
    return expired


async def _expire_grant(
    db: Database, admission: Admission, projection: Projection, generation: Generation, grant: Grant, now: datetime
) -> bool:
    payer = Payer(grant.account_id, KeyId(grant.id), _UNLIMITED)
    quote = Quote(1, grant.remaining, Price(PriceId(new_id()), ModelId(""), 0, now - timedelta(days=1)), exact=True)
    until = asyncio.get_running_loop().time() + _HOLD_S
    hold = await admission.admit(RequestId(new_id()), payer, quote, now, until, _no_recount)
    if isinstance(hold, Denied):
        return False
    try:
        async with db.transaction() as tx:
            if not await locks_lease(tx, generation.lease_of(hold.process_id)):
                admission.release(hold)
                return False
            amount, version = await expire(tx, grant)
    except BaseException:
        admission.release(hold)
        raise
    projection.end_holds([EndedHolds(grant.account_id, (hold.id,), version, NanoUSD(-amount))])
    return amount > 0


async def _no_recount() -> None:
    return None
