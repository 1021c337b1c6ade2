"""Finds a second endpoint of a model that says, at the time of a verification, what drawn texts' vectors should be."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from providers.protocol import Provider
from router.errors import Refusal
from router.registry.endpoints import other_serving_endpoints
from router.registry.indexes import ProviderRecord
from router.registry.providers import load_provider_record
from router.values import Endpoint
from router.verification.compare import ComparisonTask
from router.verification.prober import COUNTING_KINDS, Prober
from router.verification.report import Occasion
from store.postgres import Database

SpeakingTo = Callable[[ProviderRecord], AbstractAsyncContextManager[Provider]]


@asynccontextmanager
async def open_peer(db: Database, task: ComparisonTask, speaking_to: SpeakingTo | None) -> AsyncIterator[Prober | None]:
    """A prober of the second endpoint, None where there is none that may be asked.

    A worker of ours is asked by everybody; another vendor's endpoint, which has earned its traffic, by one that has
    not: of two vendors that serve and differ, nobody could tell which is wrong. An endpoint that is to replace the
    reference is not held to what the others say.
    """
    async with AsyncExitStack() as stack:
        found = None if speaking_to is None or task.replace else await _find(db, task)
        if found is None or speaking_to is None:
            yield None
            return
        endpoint, record = found
        try:
            provider = await stack.enter_async_context(speaking_to(record))
        except Refusal:
            yield None
            return
        yield Prober(provider, endpoint, task.model, task.probes, task.quota)


async def _find(db: Database, task: ComparisonTask) -> tuple[Endpoint, ProviderRecord] | None:
    own = task.endpoint
    is_ours = own.provider_kind in COUNTING_KINDS
    takes_vendors = not is_ours and task.occasion is not Occasion.PERIODIC
    async with db.transaction() as connection:
        others = [one for one in await other_serving_endpoints(connection, own) if one.model_id == own.model_id]
        others = [one for one in others if one.provider_id != own.provider_id]
        others.sort(key=lambda one: (one.provider_kind not in COUNTING_KINDS, one.id))
        for endpoint in others:
            if endpoint.provider_kind in COUNTING_KINDS or takes_vendors:
                record = await load_provider_record(connection, endpoint.provider_id)
                if record.enabled:
                    return endpoint, record
    return None
