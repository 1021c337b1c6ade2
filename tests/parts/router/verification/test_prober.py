"""What a provider grants us holds for probes, too, and an endpoint with a small grant can go live all the same."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import msgspec
import pytest
from typing_extensions import override

from providers.probing.probe_texts import probe_set
from router.dispatch import provider_quota
from router.dispatch.provider_quota import ProviderQuota
from router.values import EndpointState
from router.verification import prober
from router.verification.prober import time_limit_s
from store.ids import new_id
from store.redis_client import RedisClient
from tests.builders.spaces import Desk
from tests.builders.values import ENDPOINT
from tests.builders.verification import REASON, WIDTH, a_model
from tests.harness.fake_upstream import Received, Reply, Upstream

GRANTED = 3
WINDOW_S = 0.6


class Timed(Upstream):
    """Knows when each call came."""

    def __init__(self) -> None:
        super().__init__(WIDTH)
        self.came: list[float] = []

    @override
    def _bytes(self, received: Received, reply: Reply) -> bytes:
        self.came.append(time.monotonic())
        return super()._bytes(received, reply)


def most_in_a_window(came: list[float], window_s: float) -> int:
    return max(sum(first <= moment < first + window_s for moment in came) for first in came)


def on(url: str, redis_url: str, story: Callable[[Desk, RedisClient], Awaitable[None]]) -> None:
    async def connected(run_id: str) -> None:
        pass

    async def run() -> None:
        desk, redis = Desk(url), RedisClient(redis_url, provider_quota.SCRIPTS, connected)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(redis.run())
            assert await redis.opened(5)
            await story(desk, redis)
            task.cancel()
        await desk.close()

    asyncio.run(run())


def test_probes_and_customers_together_stay_within_the_grant(database_url: str, redis_url: str) -> None:
    async def story(desk: Desk, redis: RedisClient) -> None:
        with Timed().in_thread() as upstream:
            endpoint = await desk.a_draft(
                await a_model(desk), "vendor", upstream.base_url, requests_per_minute=GRANTED, concurrency=1
            )
            quota = ProviderQuota(redis, WINDOW_S)
            # A customer's call, which counts.
            view = (await desk.view(endpoint)).endpoint
            lease = await quota.take(view, new_id().hex, requests=1, tokens=1, slots=1, limit_s=5)
            quota.give(lease, 1, 1)
            upstream.came.append(time.monotonic())
            report = await desk.verify(endpoint, as_reference=REASON, quota=quota)
            assert report.state is EndpointState.LIVE
            assert report.calls <= 12
            # What was taken in time may arrive a little late.
            assert most_in_a_window(upstream.came, WINDOW_S * 0.8) <= GRANTED

    on(database_url, redis_url, story)


def test_a_process_that_cannot_ask_the_others_keeps_its_own_calls_within_it(
    database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prober, "WINDOW_S", WINDOW_S)

    async def story(desk: Desk, _hot: RedisClient) -> None:
        with Timed().in_thread() as upstream:
            model = await a_model(desk)
            endpoint = await desk.a_draft(model, "vendor", upstream.base_url, requests_per_minute=GRANTED)
            assert (await desk.verify(endpoint, as_reference=REASON)).state is EndpointState.LIVE
            assert most_in_a_window(upstream.came, WINDOW_S * 0.8) <= GRANTED

    on(database_url, redis_url, story)


def test_a_usual_grant_takes_forty_calls_at_most(database_url: str, redis_url: str) -> None:
    async def story(desk: Desk, redis: RedisClient) -> None:
        with Timed().in_thread() as upstream:
            endpoint = await desk.a_draft(await a_model(desk), "vendor", upstream.base_url, requests_per_minute=60)
            report = await desk.verify(endpoint, as_reference=REASON, quota=ProviderQuota(redis, WINDOW_S))
            assert report.state is EndpointState.LIVE
            assert 12 < report.calls <= 40

    on(database_url, redis_url, story)


@pytest.mark.parametrize(
    ("grant", "seconds"),
    [
        ({}, 300),
        ({"requests_per_minute": 1000}, 304.8),
        ({"requests_per_minute": 60}, 380),  # Forty calls in twice the time that they need.
        ({"requests_per_minute": 59}, 324.4),  # Twelve calls.
        ({"requests_per_minute": 3}, 780),
        ({"requests_per_minute": 1}, 1740),
        ({"tokens_per_minute": 1_000}, 1800),
        ({"requests_per_minute": 1, "tokens_per_minute": 1}, 1800),
    ],
)
def test_a_small_grant_is_given_the_time_that_it_takes_and_half_an_hour_at_most(
    grant: dict[str, int], seconds: float
) -> None:
    endpoint = msgspec.structs.replace(ENDPOINT, **grant)
    assert time_limit_s(endpoint, probe_set(512)) == pytest.approx(seconds, abs=0.1)
