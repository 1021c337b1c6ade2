"""What a provider grants us at an endpoint, kept by whole calls on a real Redis: no more is sent, and none is lost."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Unpack

import msgspec
import numpy as np
import pytest
from typing_extensions import override

from providers.outcomes import ConnectFailed, Failure, PassedOver, TimedOut
from providers.protocol import Attempt, Vectors
from router import errors
from router.dispatch import provider_quota
from router.dispatch.dispatch import Delivery, dispatch
from router.dispatch.provider_quota import Lease, ProviderQuota
from router.dispatch.state import DispatchState
from router.routing.health import Health
from router.values import RawCall, Route, Trace
from store.ids import RequestId, new_id
from store.redis_client import RedisClient
from tests.builders.values import NOW, EndpointFields, a_hold, a_model, a_request, an_endpoint


class Granting:
    """A provider that answers at once, or fails; it notes when it was asked, and for how many inputs."""

    def __init__(self) -> None:
        self.requests: list[tuple[float, int]] = []
        self.fails: Failure | None = None
        self.hangs = False

    async def embed(self, attempt: Attempt, deadline_s: float) -> Vectors:
        if self.fails is not None:
            raise self.fails
        if self.hangs:
            await asyncio.sleep(deadline_s)
            raise TimedOut
        self.requests.append((asyncio.get_running_loop().time(), attempt.inputs))
        matrix = np.zeros((attempt.inputs, 8), dtype=np.float32)
        matrix[:, 0] = 1
        return Vectors(matrix, attempt.inputs)

    async def count(self, attempt: Attempt, deadline_s: float) -> int | None:
        return None

    async def list_models(self, deadline_s: float) -> None:
        return None

    async def close(self) -> None:
        pass


class Paced:
    """One provider behind one endpoint with a grant; a "minute" is ``window_s``."""

    def __init__(self, redis: RedisClient, window_s: float, granted: EndpointFields) -> None:
        self.provider, self.health = Granting(), Health()
        self.endpoint = an_endpoint("upstream", **granted)
        self.quota = ProviderQuota(redis, window_s)
        self.dispatch_state = DispatchState(
            providers={self.endpoint.provider_id: self.provider}, health=self.health, quota=self.quota
        )

    async def send(self, inputs: int, *, within_s: float = 5.0, tokens: int = 10) -> Delivery:
        began = asyncio.get_running_loop().time()
        call = RawCall(RequestId(new_id()), b"", None, None, NOW, began + within_s, trace=Trace(began=began))
        request, route = a_request(*["x"] * inputs), Route((self.endpoint,))
        return await dispatch(a_hold(tokens_max=tokens), request, a_model(), self.dispatch_state, call, route)


@contextlib.asynccontextmanager
async def paced(redis_url: str, window_s: float = 60.0, **granted: Unpack[EndpointFields]) -> AsyncIterator[Paced]:
    async def connected(run_id: str) -> None:
        pass

    redis = RedisClient(redis_url, provider_quota.SCRIPTS, connected)
    running = asyncio.ensure_future(redis.run())
    try:
        assert await redis.wait_connected(5)
        yield Paced(redis, window_s, granted)
    finally:
        running.cancel()


@pytest.mark.parametrize(
    ("granted", "tokens"),
    [({"max_batch": 1, "requests_per_minute": 10}, 100), ({"max_batch": 100, "tokens_per_minute": 40}, 400)],
)
def test_more_than_a_minutes_grant_is_not_sent_where_the_call_has_no_more_time(
    redis_url: str, granted: EndpointFields, tokens: int
) -> None:
    async def scenario() -> None:
        async with paced(redis_url, **granted) as world:
            with pytest.raises(errors.AboveProviderQuota, match=r"over \d+ s at the least, and a call has 5 s"):
                await world.send(100, tokens=tokens)
            assert world.provider.requests == []
            assert world.health.exclusion_reason(world.endpoint.id, asyncio.get_running_loop().time()) is None
            await world.send(10, tokens=40)

    asyncio.run(scenario())


def test_more_than_a_minutes_grant_is_sent_minute_by_minute_where_there_is_time(redis_url: str) -> None:
    async def scenario() -> None:
        async with paced(redis_url, window_s=0.6, max_batch=1, requests_per_minute=10) as world:
            delivery = await world.send(25, within_s=30.0)
            assert delivery.matrix.shape == (25, 8)
            moments = [at for at, _ in world.provider.requests]
            assert len(moments) == 25
            assert all(later - sooner > 0.59 for sooner, later in zip(moments, moments[10:], strict=False))
            # What it waited for our own count is nothing that is held against the endpoint.
            assert world.health.stats(world.endpoint.id, 4, moments[-1]).latency_s is None

    asyncio.run(scenario())


def test_a_large_input_is_cut_so_that_no_request_has_more_than_a_minutes_tokens(redis_url: str) -> None:
    async def scenario() -> None:
        async with paced(redis_url, window_s=0.3, tokens_per_minute=40) as world:
            await world.send(60, within_s=30.0, tokens=240)
            assert sum(inputs for _, inputs in world.provider.requests) == 60
            assert max(inputs for _, inputs in world.provider.requests) <= 40

    asyncio.run(scenario())


@pytest.mark.parametrize("unsent", [ConnectFailed(), PassedOver("it is switched off")])
def test_what_was_taken_for_a_request_that_was_never_sent_is_free_again(redis_url: str, unsent: Failure) -> None:
    async def scenario() -> None:
        async with paced(redis_url, requests_per_minute=4, tokens_per_minute=40) as world:
            world.provider.fails = unsent
            for _ in range(4):
                with pytest.raises(errors.Refusal):
                    await world.send(1)
            world.provider.fails = None
            for _ in range(4):
                await world.send(1)

    asyncio.run(scenario())


def test_a_call_that_may_not_try_a_resting_endpoint_takes_nothing_of_its_grant(redis_url: str) -> None:
    async def scenario() -> None:
        async with paced(redis_url, requests_per_minute=1) as world:
            for _ in range(5):
                world.health.record_failure(world.endpoint.id, 0.0, "it broke")
            assert world.health.start(world.endpoint.id, asyncio.get_running_loop().time())
            with pytest.raises(errors.ProvidersBusy):
                await world.send(1)
            world.health.forget(world.endpoint.id)
            await world.send(1)

    asyncio.run(scenario())


def test_who_hangs_up_while_the_grant_is_asked_for_gives_it_back(redis_url: str) -> None:
    async def scenario() -> None:
        async with paced(redis_url, requests_per_minute=2, concurrency=2) as world:
            for _ in range(2):
                call = asyncio.ensure_future(world.send(1))
                await asyncio.sleep(0)
                call.cancel()
                await asyncio.wait([call])
            assert world.provider.requests == []
            await asyncio.sleep(0.1)
            await world.send(1)
            await world.send(1)

    asyncio.run(scenario())


def test_the_time_that_a_call_waited_for_its_grant_is_not_held_against_the_endpoint(redis_url: str) -> None:
    class SlowQuota(ProviderQuota):
        @override
        async def acquire(self, *what: Any, **more: Any) -> Lease:
            await asyncio.sleep(0.4)
            return await super().acquire(*what, **more)

    async def scenario() -> None:
        async with paced(redis_url, concurrency=5) as world:
            world.dispatch_state = msgspec.structs.replace(world.dispatch_state, quota=SlowQuota(world.quota._redis))
            world.provider.hangs = True
            with pytest.raises(errors.DeadlinePassed):
                await world.send(1, within_s=0.5)
            seen = world.health.stats(world.endpoint.id, 0, asyncio.get_running_loop().time())
            assert (seen.success_rate, seen.latency_s) == (1, None)

    asyncio.run(scenario())
