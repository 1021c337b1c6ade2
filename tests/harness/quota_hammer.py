"""Takes a provider's quota as often as it can, in a process that a test starts."""

import asyncio
from typing import Any

from router.dispatch import provider_quota
from router.dispatch.provider_quota import ACQUIRE
from store.redis_client import RedisClient

WINDOW_US = 600_000


async def hammer(redis_url: str, endpoint_hex: str, requests: int, asked: int) -> list[int]:
    """One process of several: takes as often as it can; the moments at which it got something."""
    taken: list[int] = []

    async def connected(run_id: str) -> None:
        pass

    redis = RedisClient(redis_url, provider_quota.SCRIPTS, connected)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(redis.run())
        assert await redis.wait_connected(5)
        keys = [f"gr:pace:{{{endpoint_hex}}}", f"gr:pace:{{{endpoint_hex}}}:leases"]
        for number in range(asked):
            reply: Any = await redis.call(ACQUIRE, keys, [1, 1, 1, requests, "", "", f"{number}", 1_000_000, WINDOW_US])
            if reply[0] == b"ok":
                taken.append(int(reply[-1]))
            await asyncio.sleep(0.001)
        task.cancel()
    return taken
