"""Builds what a process runs on, on one page: from its settings to the connected and running collaborators."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from random import Random
from typing import Any, Literal

from billing import lost_holds
from billing.admission import Admission
from billing.charging import Charging
from billing.generation import Generation
from billing.projection import SCRIPTS, Projection
from billing.stripe.mode import require_one_mode
from gigarouter import worker_loads
from gigarouter.provider_set import ProviderSet
from gigarouter.schema import require_migrated
from gigarouter.settings import Settings, export
from gigarouter.stripe_settings import stripe_config
from gigarouter.telemetry.redact import scrub
from providers.litellm.kind import ENVIRONMENT
from providers.wire import Networks, Pool, networks
from router.context import RouterContext
from router.dispatch import provider_quota
from router.dispatch.state import DispatchState
from router.dispatch.traffic_comparison import ComparisonBounds, TrafficComparison
from router.errors import StoreUnavailable
from router.explain.receipts import ReceiptBuffer
from router.registry import quarantine as quarantines
from router.registry.encryption import CredentialCipher
from router.registry.refresh import Refresher
from router.request.outcome_room import OutcomeBounds
from router.routing.health import Health
from store.checks import check_postgres, check_redis
from store.clock import Clock
from store.faults import CannotStart
from store.ids import EndpointId, ProviderId, parse
from store.postgres import STORE_FAULTS, Database
from store.redis_client import RedisClient


async def require_fit(settings: Settings) -> None:
    """Check what must hold before the first call: secrets, servers that keep money, the right schema.

    Raises :class:`store.faults.CannotStart` with a sentence for the first thing that does not hold.
    """
    settings.require_secret_keys()
    database_url, redis_url = settings.require_database_url(), settings.require_redis_url()
    await check_postgres(database_url)
    await check_redis(redis_url)
    await require_migrated(database_url)
    if (config := stripe_config(settings)) is not None:
        db = Database(database_url)
        try:
            await require_one_mode(db, config.livemode)
        finally:
            await db.close()


@asynccontextmanager
async def process(
    settings: Settings, kind: Literal["serve", "jobs"], clock: Clock | None = None
) -> AsyncIterator[RouterContext]:
    """Run one process's collaborators until the block ends. Raises CannotStart where Postgres cannot be read."""
    export(ENVIRONMENT)
    # The clock is the machine's; this process learns Postgres' time before it reads anything else.
    db, refresher = await _read_database(settings, clock)
    generation = Generation(db, kind)
    projection = Projection(db, generation)
    redis = RedisClient(settings.require_redis_url(), (*SCRIPTS, *provider_quota.SCRIPTS), generation.on_connect)
    projection.redis = redis
    charging = Charging(db, projection, generation, settings.durability)
    pool, cipher = Pool(), CredentialCipher(settings.require_secret_keys())
    providers = ProviderSet(refresher.providers, cipher, _allowed(settings), pool)
    receipts, health = ReceiptBuffer(db, _scrubbed), Health(Random().random)  # noqa: S311 - spreads rests
    _subscribe(refresher, providers, health, generation, projection)
    dispatch_state = DispatchState(providers=providers, health=health, quota=provider_quota.ProviderQuota(redis))
    context = RouterContext(
        db=db,
        keys=refresher.keys,
        operators=refresher.operators,
        catch_up=refresher.catch_up,
        catalog=refresher.catalog,
        prices=refresher.prices,
        endpoints=refresher.endpoints,
        providers=providers,
        find_provider=providers.with_record,
        cipher=cipher,
        check_provider=providers.check,
        health=health,
        dispatch_state=dispatch_state,
        generation=generation,
        projection=projection,
        admission=Admission(projection, generation),
        charging=charging,
        receipts=receipts,
        comparison=_comparison(settings, dispatch_state, db),
        exports=settings.exports_folder(),
        stripe=stripe_config(settings),
        webhook_networks=networks([str(network) for network in settings.webhook_private_networks]),
        second_person=settings.second_person_limits(),
        free_credit=settings.free_credit(),
        call_deadline_s=settings.call_deadline_s,
        body_bytes_max=settings.body_bytes_max,
        outcome_bounds=_bounds(settings),
    )
    _wake(context, refresher)
    runs = (redis.run, generation.run, projection.run, charging.run, receipts.run, refresher.run, providers.run)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(run()) for run in runs + _watches(context, providers, refresher)]
        try:
            yield context
            await charging.drain()
            await projection.flush()
            await receipts.drain()
        finally:
            for task in tasks:
                task.cancel()
    await _shut_down(generation, providers, pool, db)


def _scrubbed(text: str) -> str:
    return str(scrub(text))


def _bounds(settings: Settings) -> OutcomeBounds:
    return OutcomeBounds(settings.idempotency_bytes_max, settings.idempotency_free_bytes_max)


def _allowed(settings: Settings) -> Networks:
    return networks([str(network) for network in settings.allowed_private_networks])


def _wake(context: RouterContext, refresher: Refresher) -> None:
    """Who waits for a top-up's page, and the jobs that Stripe's events make, are woken by notification."""
    refresher.on_change("topups", context.topup_changes.notify)
    refresher.on_change("portal_links", context.portal_changes.notify)
    refresher.on_change("stripe_work", lambda _: context.stripe_work.notify(""))


def _watches(
    context: RouterContext, providers: ProviderSet, refresher: Refresher
) -> tuple[Callable[[], Coroutine[Any, Any, None]], ...]:
    """What looks after holds and endpoints beside the calls."""
    holds = partial(lost_holds.watch, context.projection, context.generation)
    quarantine = partial(quarantines.run, context.db, context.health)
    loads = partial(worker_loads.run, providers, refresher.endpoints, context.health)
    return holds, quarantine, loads, context.comparison.run


def _comparison(settings: Settings, state: DispatchState, db: Database) -> TrafficComparison:
    bounds = ComparisonBounds(settings.compare_share, settings.compare_tokens_per_hour)
    return TrafficComparison(bounds, state, db, Random().random)  # noqa: S311 - a share of traffic


async def _read_database(settings: Settings, clock: Clock | None) -> tuple[Database, Refresher]:
    """Learn Postgres' time, then read keys, catalogue and prices."""
    db = Database(settings.require_database_url(), clock=clock)
    refresher = Refresher(db)
    try:
        await db.observe_time()
        await refresher.load()
    except (StoreUnavailable, *STORE_FAULTS) as gone:
        raise CannotStart("PostgreSQL went away while keys, catalogue and prices were read from it.") from gone
    return db, refresher


def _subscribe(
    refresher: Refresher, providers: ProviderSet, health: Health, generation: Generation, projection: Projection
) -> None:
    refresher.on_change("providers", lambda _: providers.refresh())
    refresher.on_change("providers", partial(_provider_changed, health, refresher))
    refresher.on_change("endpoints", partial(_endpoint_changed, health))
    refresher.on_change("hot_generation", partial(_generation_changed, generation))
    refresher.on_change("credit", projection.on_credit_change)


async def _shut_down(generation: Generation, providers: ProviderSet, pool: Pool, db: Database) -> None:
    try:
        async with asyncio.timeout(2):
            await generation.leave()
    except STORE_FAULTS:
        pass  # The other processes then wait until this one's heartbeat is stale.
    await providers.close()
    await pool.close()
    await db.close()


def _endpoint_changed(health: Health, endpoint: str) -> None:
    if endpoint:
        health.forget(EndpointId(parse(EndpointId, endpoint)))


def _provider_changed(health: Health, refresher: Refresher, provider: str) -> None:
    """Forget the health of a provider's endpoints: faults under an old credential or URL say nothing of the new."""
    if provider:
        for endpoint in refresher.endpoints.of_provider(ProviderId(parse(ProviderId, provider))):
            health.forget(endpoint.id)


def _generation_changed(generation: Generation, number: str) -> None:
    if number:
        generation.observe(int(number))
