"""Finds holds that Redis has lost while their calls run: an account's key that was rolled back looks whole by itself.

Every second each process looks for its live holds in Redis. One that is missing starts the next generation, in which
every process asserts its live holds again.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress

from hiredis import ReplyError

from billing.generation import Generation
from billing.projection import Projection, account_key
from store.ids import AccountId, RequestId
from store.postgres import STORE_FAULTS
from store.redis_client import RedisUnavailable

EVERY_S = 1.0


async def watch(projection: Projection, generation: Generation) -> None:
    """Look for lost holds until cancelled."""
    seen: set[RequestId] = set()
    while True:
        await asyncio.sleep(EVERY_S)
        # What was alive a second ago and still is was admitted before, so Redis must know it.
        known, seen = seen & projection.live.keys(), set(projection.live)
        with suppress(*STORE_FAULTS, RedisUnavailable, ReplyError):
            await find_lost(projection, generation, known)


async def find_lost(projection: Projection, generation: Generation, known: Iterable[RequestId]) -> None:
    """Start the next generation where one of these live holds is not in Redis. Raises the stores' own faults."""
    if projection.redis is None or not generation.is_ready:
        return
    number, now_ms = generation.number, generation.clock.now().timestamp() * 1000
    by_account: dict[AccountId, list[RequestId]] = defaultdict(list)
    for request_id in known:
        hold = projection.live[request_id]
        # The reaper may have ended one that is overdue.
        if hold.due_ms > now_ms:
            by_account[hold.account_id].append(request_id)
    for account_id, request_ids in by_account.items():
        names = [f"h:{request_id.hex}" for request_id in request_ids]
        values = await projection.redis.command("HMGET", account_key(account_id), *names)
        missing = [request_id for request_id, value in zip(request_ids, values, strict=True) if value is None]
        is_lost = any(request_id in projection.live for request_id in missing)
        if is_lost and generation.is_ready and generation.number == number:
            await generation.start_next(number, f"account {account_id.hex} lost a hold that is alive")
            return
