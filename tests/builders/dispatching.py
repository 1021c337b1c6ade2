"""A world of real upstream servers on loopback for tests of dispatch: each behind an endpoint of its own."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import msgspec

from providers.kinds import build
from providers.protocol import Provider
from providers.wire import Pool, networks
from router.dispatch.dispatch import Delivery, dispatch
from router.dispatch.provider_quota import ProviderQuota
from router.dispatch.retry_budget import HEDGES_PER_CALL
from router.dispatch.state import DispatchState
from router.routing.health import Health
from router.values import EmbedRequest, Endpoint, Lane, RawCall, Route, Trace
from store.ids import EndpointId, ProviderId, RequestId, new_id
from tests.builders.values import ENDPOINT, NOW, a_hold, a_model, a_request
from tests.harness.fake_upstream import Upstream

MODEL = a_model()


class World:
    """Some upstream servers, each behind an endpoint of its own."""

    def __init__(self, upstreams: list[Upstream], pool: Pool, kind: str, granted: dict[str, Any]) -> None:
        self.upstreams = upstreams
        self.health = Health()
        providers: dict[ProviderId, Provider] = {}
        self.endpoints: list[Endpoint] = []
        for number, upstream in enumerate(upstreams):
            provider_id = ProviderId(new_id())
            providers[provider_id] = build(
                kind,
                base_url=upstream.base_url if kind == "openai" else upstream.worker_url,
                credential=None,
                options={},
                allowed_networks=networks(["127.0.0.0/8"]),
                pool=pool,
            )
            changes = {"provider_id": provider_id, "provider_name": f"p{number}", "cost_nano_per_mtok": 2_000_000}
            self.endpoints.append(msgspec.structs.replace(ENDPOINT, id=EndpointId(new_id()), **changes, **granted))
        self.dispatch_state = DispatchState(providers=providers, health=self.health, quota=ProviderQuota(None))  # type: ignore[arg-type]
        self.trace = Trace()

    async def send(
        self,
        request: EmbedRequest,
        *,
        within_s: float = 20.0,
        lane: Lane = Lane.INTERACTIVE,
        route: Route | None = None,
    ) -> Delivery:
        self.trace = Trace(began=asyncio.get_running_loop().time())
        call = RawCall(
            RequestId(new_id()), b"", None, None, NOW, self.trace.began + within_s, lane=lane, trace=self.trace
        )
        hold = a_hold(tokens_max=10_000)
        return await dispatch(hold, request, MODEL, self.dispatch_state, call, route or Route(tuple(self.endpoints)))

    @property
    def attempts(self) -> list[tuple[str, str, str]]:
        return [(one.endpoint.provider_name, one.why, one.outcome) for one in self.trace.attempts]

    def call_counts(self) -> list[int]:
        return [len(upstream.calls) for upstream in self.upstreams]


@contextlib.asynccontextmanager
async def a_world(number: int, kind: str = "openai", **granted: Any) -> AsyncIterator[World]:
    pool = Pool()
    async with contextlib.AsyncExitStack() as stack:
        upstreams = [await stack.enter_async_context(Upstream()) for _ in range(number)]
        yield World(upstreams, pool, kind, granted)
        await pool.close()


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(scenario())


async def warmed_up(world: World) -> None:
    """As many quick calls as earn a hedge and tell what is usual at the first endpoint."""
    for _ in range(round(1 / HEDGES_PER_CALL) + 1):
        await world.send(a_request("short"))
    for upstream in world.upstreams:
        upstream.calls.clear()
