"""Builds what the pages run on: PostgreSQL, once to read and once to write, the operations, and no Redis.

The catalogue, prices and keys are in memory as in `serve`, and follow Postgres by notification. Redis is that of a
process which has not reached it: what calls in flight hold counts as nothing, and nothing here admits a call.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from random import Random
from urllib.parse import urlsplit

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.admission import Admission
from billing.charging import Charging
from billing.generation import Generation
from billing.projection import Projection
from gigarouter.local_admin import local_context
from gigarouter.ports import reachable
from gigarouter.settings import Settings
from gigarouter.stripe_settings import stripe_config
from gigarouter.trial_calls import trial_calls
from gigarouter.web_settings import web_url
from providers.wire import networks
from router.api.app import Audience, create_pages_app, operations_for
from router.api.in_process import InProcess
from router.context import PlanningContext, RouterContext
from router.dispatch.provider_quota import ProviderQuota
from router.dispatch.state import DispatchState
from router.dispatch.traffic_comparison import ComparisonBounds, TrafficComparison
from router.errors import StoreUnavailable
from router.explain.receipts import ReceiptBuffer
from router.identity.people.passkeys import RelyingParty
from router.registry.encryption import CredentialCipher
from router.registry.refresh import Refresher
from router.routing.health import Health
from store.faults import CannotStart
from store.postgres import STORE_FAULTS, Database
from store.redis_client import RedisClient
from web.context import FindViewer, WebContext
from web.origins import Origins, loopback_urls
from web.people import PeopleContext
from web.sign_in.viewer import FindViewer as FindSession

# Never connected: what needs Redis is refused as where it is away.
NO_REDIS = "redis://127.0.0.1:1/0"
CHECKOUT = "https://checkout.stripe.com"
READS, WRITES = 10, 5
FOLLOWS_WITHIN_S = 5.0


@asynccontextmanager
async def pages(settings: Settings, find: FindViewer | None = None) -> AsyncIterator[WebContext]:
    """Run the collaborators of the pages until the block ends. Raises CannotStart where Postgres cannot be read."""
    url = settings.require_database_url()
    writes = Database(url, pool_size=WRITES)
    reads = Database(url, pool_size=READS, clock=writes.clock, read_only=True, statement_s=settings.web_statement_s)
    # Its statements may be long: a hundred thousand keys.
    refresher = Refresher(writes)
    try:
        await writes.observe_time()
        await refresher.load()
    except (StoreUnavailable, *STORE_FAULTS) as gone:
        raise CannotStart("PostgreSQL went away while keys, catalogue and prices were read from it.") from gone
    context = _router_context(settings, writes, refresher)
    reading = msgspec.structs.replace(context, db=reads)
    made = partial(
        WebContext,
        reads=reading,
        writes=context,
        reading=_operations(settings, reading),
        writing=_operations(settings, context),
        find_viewer=find or FindSession(writes),
        people=PeopleContext(writes, _party(settings), settings.free_credit(), settings.sign_in_services()),
        origins=_origins(settings),
        clock=writes.clock,
        api_url=settings.api_url or f"http://{reachable(settings.host)}:{settings.port}",
        checkout_origins=() if context.stripe is None else (CHECKOUT,),
        has_workshop=settings.web_workshop,
        mail_folder=None if settings.smtp_url else settings.mail_dir,
        reloads_templates=settings.web_reload,
    )
    async with trial_calls(settings.web_api_url, settings.call_deadline_s) as send, asyncio.TaskGroup() as group:
        follow = group.create_task(refresher.run())
        # A page is not older than what was changed before the process said that it is ready.
        await refresher.catch_up(FOLLOWS_WITHIN_S)
        try:
            yield made(send_call=send)
        finally:
            follow.cancel()
    await reads.close()
    await writes.close()


def _origins(settings: Settings) -> Origins:
    further = () if settings.web_url is not None else loopback_urls(settings.web_host, settings.web_port)
    return Origins.of(web_url(settings), further, tuple(settings.web_proxies))


def _party(settings: Settings) -> RelyingParty:
    """The pages' host as passkeys know it: a name, never a number, which browsers take no passkeys for."""
    url = web_url(settings)
    return RelyingParty(urlsplit(url).hostname or "localhost", "gigarouter", url)


def _operations(settings: Settings, context: RouterContext) -> InProcess:
    async def known(connection: AsyncConnection) -> PlanningContext:
        # What is in memory follows Postgres, so that a route is explained without reading the whole catalogue.
        del connection
        return context

    admin = msgspec.structs.replace(local_context(settings, context.db), known=known)
    return InProcess(create_pages_app(context, admin), operations_for(Audience.EVERYONE))


def _router_context(settings: Settings, db: Database, refresher: Refresher) -> RouterContext:
    generation = Generation(db, "web")
    projection = Projection(db, generation)
    health = Health()
    quota = ProviderQuota(RedisClient(NO_REDIS, (), _ignore))
    state = DispatchState(providers={}, health=health, quota=quota)
    cipher = CredentialCipher(settings.require_secret_keys())
    return RouterContext(
        db=db,
        keys=refresher.keys,
        operators=refresher.operators,
        catch_up=refresher.catch_up,
        catalog=refresher.catalog,
        prices=refresher.prices,
        endpoints=refresher.endpoints,
        providers={},
        find_provider=lambda _: None,
        cipher=cipher,
        check_provider=local_context(settings, db).check_provider,
        health=health,
        dispatch_state=state,
        generation=generation,
        projection=projection,
        admission=Admission(projection, generation),
        charging=Charging(db, projection, generation, settings.durability),
        receipts=ReceiptBuffer(db),
        comparison=TrafficComparison(ComparisonBounds(0.0, 1), state, db, Random().random),  # noqa: S311 - compares none
        exports=settings.exports_folder(),
        has_redis=False,
        stripe=stripe_config(settings),
        webhook_networks=networks([str(network) for network in settings.webhook_private_networks]),
        second_person=settings.second_person_limits(),
        free_credit=settings.free_credit(),
        call_deadline_s=settings.call_deadline_s,
        body_bytes_max=settings.body_bytes_max,
    )


async def _ignore(run_id: str) -> None:
    """Nothing follows a Redis that is never reached."""
