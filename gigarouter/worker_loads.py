"""Polls the in-house workers once a second for their load, and reports it to health, from which routing reads it.

Each worker gets one request at a time, and none on a call's path. A worker that does not answer is not reported: the
calls that are sent to it find that out.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

from providers.outcomes import Failure
from providers.protocol import Provider
from providers.worker_client.kind import Load, WorkerProvider
from router.registry.refresh import EndpointIndex
from router.routing.health import Health
from store.ids import ProviderId

EVERY_S: Final = 1.0
ANSWER_S: Final = 1.0


async def run(providers: Mapping[ProviderId, Provider], endpoints: EndpointIndex, health: Health) -> None:
    """Poll and report until cancelled."""
    while True:
        await asyncio.sleep(EVERY_S)
        workers = [(id_, provider) for id_, provider in providers.items() if isinstance(provider, WorkerProvider)]
        if not workers:
            continue
        loads = await asyncio.gather(*(_load(worker) for _, worker in workers))
        now = asyncio.get_running_loop().time()
        for (provider_id, _), load in zip(workers, loads, strict=True):
            # One that drains or still loads its model says so to the calls that are sent to it.
            if load is not None and load.status == "ready":
                for endpoint in endpoints.of_provider(provider_id):
                    wait_s, tokens = load.interactive_wait_s, int(load.interactive_queue_tokens)
                    health.record_load(endpoint.id, wait_s, tokens, now)


async def _load(worker: WorkerProvider) -> Load | None:
    try:
        return await worker.load(ANSWER_S)
    except Failure:
        return None
