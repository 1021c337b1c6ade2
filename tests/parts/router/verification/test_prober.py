"""What a provider grants us holds for probes, too, and an endpoint with a small grant can go live all the same."""

import asyncio
import time
from collections.abc import Awaitable, Callable

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
from tests.builders.spaces import SpaceLab
from tests.builders.values import an_endpoint
from tests.harness.fake_upstream import Received, Reply, Upstream
from tests.harness.verified_upstreams import REASON, WIDTH

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


def on(url: str, redis_url: str, story: Callable[[SpaceLab, RedisClient], Awaitable[None]]) -> None:
    async def connected(run_id: str) -> None:
        pass

    async def run() -> None:
        lab, redis = SpaceLab(url), RedisClient(redis_url, provider_quota.SCRIPTS, connected)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(redis.run())
            assert await redis.wait_connected(5)
            await story(lab, redis)
            task.cancel()
        await lab.close()

    asyncio.run(run())


def test_probes_and_customers_together_stay_within_the_grant(database_url: str, redis_url: str) -> None:
    async def story(lab: SpaceLab, redis: RedisClient) -> None:
        with Timed().in_thread() as upstream:
            endpoint = await lab.a_draft(
                await lab.a_model(), "vendor", upstream.base_url, requests_per_minute=GRANTED, concurrency=1
            )
            quota = ProviderQuota(redis, WINDOW_S)
            # A customer's call, which counts.
            view = (await lab.view(endpoint)).endpoint
            lease = await quota.acquire(view, new_id().hex, requests=1, tokens=1, slots=1, limit_s=5)
            quota.release(lease, 1, 1)
            upstream.came.append(time.monotonic())
            report = await lab.verify(endpoint, as_reference=REASON, quota=quota)
            assert report.state is EndpointState.LIVE
            assert report.calls <= 12
            # What was taken in time may arrive a little late.
            assert most_in_a_window(upstream.came, WINDOW_S * 0.8) <= GRANTED

    on(database_url, redis_url, story)


def test_a_process_that_cannot_ask_the_others_keeps_its_own_calls_within_it(
    database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prober, "WINDOW_S", WINDOW_S)

    async def story(lab: SpaceLab, _redis: RedisClient) -> None:
        with Timed().in_thread() as upstream:
            model = await lab.a_model()
            endpoint = await lab.a_draft(model, "vendor", upstream.base_url, requests_per_minute=GRANTED)
            assert (await lab.verify(endpoint, as_reference=REASON)).state is EndpointState.LIVE
            assert most_in_a_window(upstream.came, WINDOW_S * 0.8) <= GRANTED

    on(database_url, redis_url, story)


def test_a_usual_grant_takes_forty_calls_at_most(database_url: str, redis_url: str) -> None:
    async def story(lab: SpaceLab, redis: RedisClient) -> None:
        with Timed().in_thread() as upstream:
            endpoint = await lab.a_draft(await lab.a_model(), "vendor", upstream.base_url, requests_per_minute=60)
            report = await lab.verify(endpoint, as_reference=REASON, quota=ProviderQuota(redis, WINDOW_S))
            assert report.state is EndpointState.LIVE
            assert 12 < report.calls <= 40

    on(database_url, redis_url, story)


@pytest.mark.parametrize(
    ("requests", "tokens", "seconds"),
    [
        (None, None, 300),
        (1000, None, 307.2),
        (60, None, 420),  # Sixty calls in twice the time that they need.
        (59, None, 328.5),  # Fourteen calls.
        (3, None, 860),
        (1, None, 1800),
        (None, 1_000, 1800),
        (1, 1, 1800),
    ],
)
def test_a_small_grant_is_given_the_time_that_it_takes_and_half_an_hour_at_most(
    requests: int | None, tokens: int | None, seconds: float
) -> None:
    endpoint = an_endpoint(requests_per_minute=requests, tokens_per_minute=tokens)
    assert time_limit_s(endpoint, probe_set(512)) == pytest.approx(seconds, abs=0.1)
