"""Providers that are switched off, and those whose credential is changed, while calls are on their way to them."""

import asyncio

import msgspec
import pytest

from gigarouter.provider_set import ProviderSet
from providers.wire import Pool, networks
from router import errors
from router.dispatch.dispatch import dispatch
from router.dispatch.provider_quota import ProviderQuota
from router.dispatch.state import DispatchState
from router.registry.indexes import ProviderIndex, ProviderRecord
from router.routing.health import Health
from router.values import RawCall, Route, Trace
from store.ids import ProviderId, RequestId, new_id
from tests.builders.values import NOW, a_hold, a_model, a_request, an_endpoint
from tests.harness.fake_upstream import Upstream


def test_a_provider_that_is_switched_off_is_passed_over_and_back_at_once_when_it_is_switched_on() -> None:
    async def scenario() -> None:
        async with Upstream() as upstream:
            pool, health, loop = Pool(), Health(), asyncio.get_running_loop()
            record = ProviderRecord(ProviderId(new_id()), "p", "openai", upstream.base_url)
            endpoint = an_endpoint(provider_id=record.id)
            index = ProviderIndex([record])
            providers = ProviderSet(index, None, networks(["127.0.0.0/8"]), pool)
            state = DispatchState(providers=providers, health=health, quota=ProviderQuota(None))  # type: ignore[arg-type]

            async def send() -> None:
                began = loop.time()
                call = RawCall(RequestId(new_id()), b"", None, None, NOW, began + 5, trace=Trace(began=began))
                await dispatch(a_hold(tokens_max=10), a_request("x"), a_model(), state, call, Route((endpoint,)))

            await send()
            # The call's route was made before: it may still come here.
            index.replace([msgspec.structs.replace(record, enabled=False)])
            providers.refresh()
            with pytest.raises(errors.ProvidersBusy):
                await send()
            assert (health.pending_quarantines, dict(state.counts.credentials_refused)) == ({}, {})
            index.replace([record])
            providers.refresh()
            assert health.exclusion_reason(endpoint.id, loop.time()) is None
            await send()
            await providers.close()
            await pool.close()

    asyncio.run(scenario())
