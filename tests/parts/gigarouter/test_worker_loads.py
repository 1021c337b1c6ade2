"""What the in-house workers say of their queues reaches health; what they do not say changes nothing."""

import asyncio
import json

from typing_extensions import override

from gigarouter import worker_loads
from providers.protocol import Provider
from providers.wire import Pool
from router.registry.indexes import EndpointIndex
from router.routing.health import Health
from store.ids import EndpointId, ProviderId
from tests.builders.providers import build_provider
from tests.builders.values import an_endpoint
from tests.harness.fake_upstream import Reply, Upstream

LOAD = {
    "interactive_queue_tokens": 640.0,
    "batch_queue_tokens": 10.0,
    "interactive_wait_s": 1.25,
    "batch_wait_s": 9.0,
    "tokens_per_s": 512.0,
}


class Recorder(Health):
    """Health that remembers what it was told of loads."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[EndpointId, float, int]] = []

    @override
    def record_load(self, endpoint: EndpointId, wait_s: float, queue_tokens: int = 0, now: float = 0.0) -> None:
        self.told.append((endpoint, wait_s, queue_tokens))


def a_reply(status: str, code: int = 200) -> Reply:
    return Reply(status=code, body=json.dumps({"status": status, **LOAD}).encode())


def test_every_second_each_worker_is_asked_once_and_its_endpoints_are_told() -> None:
    async def scenario() -> None:
        pool, health = Pool(), Recorder()
        async with Upstream() as ready, Upstream() as draining, Upstream() as other:
            ready.load, draining.load = a_reply("ready"), a_reply("draining", 503)
            kinds = {
                "worker": [ready.worker_url, draining.worker_url, "http://127.0.0.1:1"],
                "openai": [other.base_url],
            }
            providers: dict[ProviderId, Provider] = {}
            endpoints = []
            for kind, urls in kinds.items():
                for url in urls:
                    endpoint = an_endpoint()
                    providers[endpoint.provider_id] = build_provider(kind, url, pool=pool)
                    endpoints.append(endpoint)
            async with asyncio.TaskGroup() as group:
                task = group.create_task(worker_loads.run(providers, EndpointIndex(endpoints), health))
                began = asyncio.get_running_loop().time()
                async with asyncio.timeout(60):
                    while len(ready.polls) < 3:  # noqa: ASYNC110 - no event tells
                        await asyncio.sleep(0.01)
                took_s = asyncio.get_running_loop().time() - began
                task.cancel()
            # Never more often, however slow the machine is.
            assert took_s > 1.9 * worker_loads.EVERY_S
            assert set(health.told) == {(endpoints[0].id, 1.25, 640)}
            assert draining.polls
            assert (ready.calls, other.calls, other.polls) == ([], [], [])
        await pool.close()

    asyncio.run(scenario())
