"""Builds a fleet of real upstream servers on loopback for tests of dispatch: each behind an endpoint of its own."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Unpack

from providers.protocol import Provider
from router.dispatch.dispatch import Delivery, dispatch
from router.dispatch.provider_quota import ProviderQuota
from router.dispatch.retry_budget import HEDGES_PER_CALL
from router.dispatch.state import DispatchState
from router.routing.health import Health
from router.values import EmbedRequest, Lane, RawCall, Route, Trace
from store.ids import ProviderId, RequestId, new_id
from store.redis_client import RedisClient
from tests.builders.providers import a_provider
from tests.builders.values import NOW, EndpointFields, a_hold, a_model, a_request, an_endpoint
from tests.harness.fake_upstream import Upstream

MODEL = a_model()


async def _connected(run_id: str) -> None:
    """Never reached: no endpoint of a fleet has a limit that Redis would count."""


class Fleet:
    """Some upstream servers, each behind an endpoint of its own."""

    def __init__(self, upstreams: list[Upstream], providers: list[Provider], fields: EndpointFields) -> None:
        self.upstreams = upstreams
        self.health = Health()
        fields.setdefault("priority", 1)
        fields.setdefault("cost_nano_per_mtok", 2_000_000)
        self.endpoints = [an_endpoint(f"p{number}", **fields) for number in range(len(providers))]
        by_id: dict[ProviderId, Provider] = {
            endpoint.provider_id: provider for endpoint, provider in zip(self.endpoints, providers, strict=True)
        }
        self.dispatch_state = DispatchState(
            providers=by_id, health=self.health, quota=ProviderQuota(RedisClient("unix:///none", (), _connected))
        )
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
        """Of the last call: the provider, why it was tried, how the attempt ended."""
        return [(one.endpoint.provider_name, one.why, one.outcome) for one in self.trace.attempts]

    def request_counts(self) -> list[int]:
        """How many requests each server has got."""
        return [len(upstream.calls) for upstream in self.upstreams]

    async def warm_up(self) -> None:
        """Send as many quick calls as earn a hedge and show what is usual at the first endpoint."""
        for _ in range(round(1 / HEDGES_PER_CALL) + 1):
            await self.send(a_request("short"))
        for upstream in self.upstreams:
            upstream.calls.clear()


@contextlib.asynccontextmanager
async def a_fleet(number: int, kind: str = "openai", **fields: Unpack[EndpointFields]) -> AsyncIterator[Fleet]:
    """``fields`` are those of each endpoint."""
    async with contextlib.AsyncExitStack() as stack:
        upstreams = [await stack.enter_async_context(Upstream()) for _ in range(number)]
        urls = [one.base_url if kind == "openai" else one.worker_url for one in upstreams]
        yield Fleet(upstreams, [await stack.enter_async_context(a_provider(kind, url)) for url in urls], fields)


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(scenario())
