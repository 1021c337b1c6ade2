"""What a provider grants us, against an exact oracle: its clock is Redis' own, so no verdict may differ.

The oracle knows every moment at which something was taken. In no window, wherever it begins, is there more than was
granted; and nothing is refused that would have fitted into the window and the slice by which we are careful.
"""

import asyncio
import json
import random
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from providers.outcomes import PassedOver
from router.dispatch import provider_quota
from router.dispatch.provider_quota import ACQUIRE, Lease, ProviderQuota
from router.values import Endpoint
from store.ids import EndpointId, new_id
from store.redis_client import RedisClient
from tests.builders.values import an_endpoint
from tests.harness.quota_hammer import WINDOW_US

ROOT = Path(__file__).parents[2]
SLICE_US = WINDOW_US // 60

Story = Callable[[RedisClient], Awaitable[None]]


def with_redis(redis_url: str, story: Story) -> None:
    async def connected(run_id: str) -> None:
        pass

    async def run() -> None:
        redis = RedisClient(redis_url, provider_quota.SCRIPTS, connected)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(redis.run())
            assert await redis.wait_connected(5)
            await story(redis)
            task.cancel()

    asyncio.run(run())


async def acquire(
    quota: ProviderQuota, endpoint: Endpoint, *, tokens: int = 1, slots: int = 1, limit_s: float = 5.0
) -> Lease:
    return await quota.acquire(endpoint, new_id().hex, requests=1, tokens=tokens, slots=slots, limit_s=limit_s)


@pytest.mark.parametrize("seed", range(4))
def test_no_window_ever_has_more_than_was_granted(redis_url: str, seed: int) -> None:
    rng = random.Random(seed)
    limits = {"requests": rng.choice([3, 20, 60]), "tokens": rng.choice([50, 400])}
    keys = provider_quota._keys(EndpointId(new_id()))
    taken: list[tuple[int, int, int]] = []

    async def story(redis: RedisClient) -> None:
        decided = {b"ok": 0, b"window": 0}
        for number in range(400):
            requested = (rng.randint(1, 2), rng.randint(1, 40))
            arguments: list[str | bytes | int] = [*requested, 1, limits["requests"], limits["tokens"], "", f"{number}"]
            reply = await redis.call(ACQUIRE, keys, [*arguments, 1_000_000, WINDOW_US])
            decided[reply[0]] += 1
            now = int(reply[-1])
            in_window = [one for one in taken if one[0] > now - WINDOW_US]
            nearly = [one for one in taken if one[0] >= now - WINDOW_US - SLICE_US]
            if reply[0] == b"ok":
                taken.append((now, *requested))
                in_window.append(taken[-1])
                assert sum(one[1] for one in in_window) <= limits["requests"]
                assert sum(one[2] for one in in_window) <= limits["tokens"]
            else:
                too_many = sum(one[1] for one in nearly) + requested[0] > limits["requests"]
                too_much = sum(one[2] for one in nearly) + requested[1] > limits["tokens"]
                assert too_many or too_much, "refused though it would have fitted"
                # The wait that is told is enough, and not a slice too long.
                later = now + int(reply[1])
                still = [one for one in taken if one[0] // SLICE_US >= later // SLICE_US - 60]
                assert sum(one[1] for one in still) + requested[0] <= limits["requests"]
                assert sum(one[2] for one in still) + requested[1] <= limits["tokens"]
            await asyncio.sleep(rng.choice([0, 0, 0.001, 0.004, 0.02]))
        assert min(decided.values()) > 0

    with_redis(redis_url, story)


def test_no_more_attempts_at_once_than_granted_and_a_free_slot_is_free_at_once(redis_url: str) -> None:
    async def story(redis: RedisClient) -> None:
        quota, endpoint = ProviderQuota(redis), an_endpoint(concurrency=5)
        first = await acquire(quota, endpoint)
        # A call in many parts takes what is free, and works with that.
        rest = await acquire(quota, endpoint, slots=8)
        assert (first.slots, rest.slots) == (1, 4)
        with pytest.raises(PassedOver) as full:
            await acquire(quota, endpoint)
        assert 0 < (full.value.retry_after_s or 0) <= 1
        quota.release(first, 1, 1)
        assert (await acquire(quota, endpoint)).slots == 1
        quota.release(rest, 1, 1)
        assert (await acquire(quota, endpoint, slots=8)).slots == 4

    with_redis(redis_url, story)


def test_a_lease_that_nobody_gives_back_ends_by_itself(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider_quota, "LEASE_GRACE_S", 0.0)

    async def story(redis: RedisClient) -> None:
        quota, endpoint = ProviderQuota(redis), an_endpoint(concurrency=2)
        await acquire(quota, endpoint, limit_s=0.3)
        await acquire(quota, endpoint, limit_s=5.0)
        with pytest.raises(PassedOver):
            await acquire(quota, endpoint, limit_s=0.3)
        await asyncio.sleep(0.35)
        await acquire(quota, endpoint)
        with pytest.raises(PassedOver):
            await acquire(quota, endpoint)

    with_redis(redis_url, story)


def test_tokens_that_were_not_used_can_be_used_by_others(redis_url: str) -> None:
    async def story(redis: RedisClient) -> None:
        quota, endpoint = ProviderQuota(redis), an_endpoint(tokens_per_minute=100)
        lease = await acquire(quota, endpoint, tokens=90)
        with pytest.raises(PassedOver) as refused:
            await acquire(quota, endpoint, tokens=90)
        assert 55 < (refused.value.retry_after_s or 0) <= 62
        quota.release(lease, used_tokens=10, sent=1)
        await acquire(quota, endpoint, tokens=90)
        # What is larger than a minute's grant takes all of it, when that is there.
        oversized = an_endpoint(tokens_per_minute=100)
        await acquire(quota, oversized, tokens=5000)
        with pytest.raises(PassedOver):
            await acquire(quota, oversized, tokens=1)

    with_redis(redis_url, story)


def test_without_redis_nothing_is_sent_to_an_endpoint_that_has_a_limit(redis_url: str) -> None:
    async def story(redis: RedisClient) -> None:
        for connection in redis._connections.values():
            connection.drop()
        with pytest.raises(PassedOver):
            await acquire(ProviderQuota(redis), an_endpoint(requests_per_minute=1000))

    with_redis(redis_url, story)


PROCESS = """
import asyncio, json, sys
from tests.harness.quota_hammer import hammer
print(json.dumps(asyncio.run(hammer(*json.loads(sys.argv[1])))))
"""


def test_several_processes_together_never_take_more_than_was_granted(redis_url: str) -> None:
    arguments = json.dumps([redis_url, new_id().hex, 40, 1000])
    running = [
        subprocess.Popen([sys.executable, "-c", PROCESS, arguments], cwd=ROOT, stdout=subprocess.PIPE) for _ in range(3)
    ]
    each = [json.loads(process.communicate(timeout=60)[0]) for process in running]
    taken = sorted(moment for one in each for moment in one)
    assert all(each), "every process got something"
    for index, moment in enumerate(taken):
        assert sum(other > moment - WINDOW_US for other in taken[: index + 1]) <= 40
    assert len(taken) > 40
