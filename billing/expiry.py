"""Grants whose time is over are booked away; what is left of them is held first, so that no call in flight loses it."""

import asyncio
from datetime import datetime, timedelta

from billing.admission import Admission
from billing.credits import Grant, due_grants, expire
from billing.money import NanoUSD, Price
from billing.projection import Ended, Projection
from billing.values import Denied, Limits, Payer, Quote
from store.ids import KeyId, ModelId, PriceId, RequestId, new_id
from store.postgres import Database

# No key of a customer's: the hold of an expiry has limits that nothing reaches.
_UNLIMITED = Limits(requests_per_minute=1_000_000_000, tokens_per_minute=1_000_000_000, concurrency=1_000_000_000)
_HELD_FOR_S = 10.0


async def expire_due(db: Database, admission: Admission, projection: Projection, now: datetime) -> int:
    """Expire every grant that is due and free; returns how many. One whose credit is held waits for the next turn."""
    async with db.transaction() as tx:
        due = await due_grants(tx, now)
    expired = 0
    for one in due:
        expired += await _expire_one(db, admission, projection, one, now)
    return expired


async def _expire_one(db: Database, admission: Admission, projection: Projection, one: Grant, now: datetime) -> bool:
    payer = Payer(one.account_id, KeyId(one.id), _UNLIMITED)
    quote = Quote(1, one.remaining, Price(PriceId(new_id()), ModelId(""), 0, now - timedelta(days=1)), exact=True)
    until = asyncio.get_running_loop().time() + _HELD_FOR_S
    hold = await admission.admit(RequestId(new_id()), payer, quote, now, until, _no_recount)
    if isinstance(hold, Denied):
        return False
    try:
        async with db.transaction() as tx:
            taken, version = await expire(tx, one)
    except BaseException:
        admission.release(hold)
        raise
    projection.ended([Ended(one.account_id, (hold.id,), version, NanoUSD(-taken))])
    return taken > 0


async def _no_recount() -> None:
    return None
