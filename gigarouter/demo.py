"""What a newcomer needs, made on the first `up`: catalogue, account with free credit, key, a model that answers.

Each piece is looked for before it is made, so that a start which was killed half-way is finished by the next one, and
what an operator has changed since stays as it is.
"""

import asyncio
from datetime import timedelta

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.accounts import find_account
from billing.credits import GrantKind
from billing.money import NanoUSD, to_usd
from catalog import models, seed
from catalog.values import Status
from gigarouter.data_folder import DataFolder
from providers.kinds import build
from providers.outcomes import Failure
from providers.protocol import Attempt
from providers.wire import Pool, networks
from router import administer, endpoints
from router.audit import Actor
from router.endpoints import EndpointSpec, list_endpoints, move_endpoint, register_endpoint
from router.keyring import KeySpec, create_key
from router.keys import digest_of
from router.registered import ProviderSpec, edit_provider, find_provider, register_provider
from router.tables import KeyRow
from router.values import EndpointState
from router.write import Work, transact
from store.ids import AccountId, ModelId
from store.postgres import Database

ACTOR = Actor("process:up")
ACCOUNT = "demo"
CREDIT = NanoUSD(5_000_000_000)
CREDIT_LASTS = timedelta(days=365)
MODEL = ModelId("sentence-transformers/all-MiniLM-L6-v2")
PROVIDER = "in-house"
KEY_FILE = "demo-key"
# What the seed estimates for it.
PRICE_NANO_PER_MTOK = 8_000_000


class Demo(msgspec.Struct, frozen=True):
    """What to print: the key is a secret."""

    key: str
    account: str = ACCOUNT
    credit: str = f"${to_usd(CREDIT)}"
    model: str = MODEL


def prepare(database_url: str, folder: DataFolder, worker_url: str | None) -> Demo:
    """Find or make all of it; the key's text is kept in the data folder. Blocking: call it before any event loop."""
    return asyncio.run(_prepare(database_url, folder, worker_url))


async def _prepare(database_url: str, folder: DataFolder, worker_url: str | None) -> Demo:
    db = Database(database_url, pool_size=1)
    try:
        async with db.transaction() as connection:
            await seed.import_seed(connection)
            key = await _kept_key(connection, folder)
            is_served = worker_url is None or await _is_served(connection, worker_url)
        if key is None:
            key = folder.keep(KEY_FILE, await transact(db, ACTOR, _open_account))
        if worker_url is not None and not is_served:
            await transact(db, ACTOR, lambda work: _serve_model(work, worker_url))
        return Demo(key=key)
    finally:
        await db.close()


def pin_space(database_url: str, worker_url: str) -> None:
    """The demo endpoint is pinned to the vector space that the worker names, once: other weights are then refused."""
    asyncio.run(_pin_space(database_url, worker_url))


async def _space_of(worker_url: str) -> str | None:
    pool = Pool()
    worker = build(
        "worker",
        base_url=worker_url,
        credential=None,
        options={},
        allowed_networks=networks(["127.0.0.0/8"]),
        pool=pool,
    )
    try:
        attempt = Attempt(request_id="up", upstream_model=MODEL, texts=["Hello, world"])
        return (await worker.embed(attempt, 10.0)).space
    except Failure:
        return None  # The next start asks again.
    finally:
        await pool.close()


async def _pin_space(database_url: str, worker_url: str) -> None:
    async def pin(work: Work) -> None:
        for view in unpinned:
            await endpoints.pin_space(work, view.endpoint.id, str(space))

    db = Database(database_url, pool_size=1)
    try:
        async with db.transaction() as connection:
            views = await list_endpoints(connection, MODEL)
        unpinned = [v for v in views if v.endpoint.provider_name == PROVIDER and v.endpoint.upstream_space is None]
        if unpinned and (space := await _space_of(worker_url)):
            await transact(db, ACTOR, pin)
    finally:
        await db.close()


async def _kept_key(connection: AsyncConnection, folder: DataFolder) -> str | None:
    """The key in the folder, if the database knows it."""
    key = folder.kept(KEY_FILE)
    if key is None:
        return None
    known = await connection.scalar(select(KeyRow.id).where(KeyRow.digest == digest_of(key)))
    return key if known is not None else None


async def _open_account(work: Work) -> str:
    """The account with its credit, unless it is there; a new key of it, in text."""
    account = await find_account(work.connection, ACCOUNT)
    if account is None:
        account = await administer.open_account(work, ACCOUNT)
        expires_at = work.now + CREDIT_LASTS
        await administer.give_credit(
            work,
            account.id,
            CREDIT,
            GrantKind.PROMOTIONAL,
            source="up:demo",
            expires_at=expires_at,
            note="Free credit.",
        )
    shown = await create_key(work, AccountId(account.id), KeySpec(name="demo"))
    return shown.text


async def _is_served(connection: AsyncConnection, worker_url: str) -> bool:
    """Whether the demo model was put live once, and its provider is where the worker listens now."""
    provider = await find_provider(connection, PROVIDER)
    model = await models.get(connection, MODEL)
    return provider is not None and provider.spec.base_url == worker_url and model.status is not Status.COMING_SOON


async def _serve_model(work: Work, worker_url: str) -> None:
    """Our worker as a provider, one live endpoint, a price, and the model put live."""
    provider = await find_provider(work.connection, PROVIDER)
    if provider is None:
        spec = ProviderSpec(base_url=worker_url)
        provider = await register_provider(work, None, name=PROVIDER, kind="worker", spec=spec)
    elif provider.spec.base_url != worker_url:
        spec = msgspec.structs.replace(provider.spec, base_url=worker_url)
        await edit_provider(work, None, provider.id, spec)
    model = await models.get(work.connection, MODEL)
    if model.status is not Status.COMING_SOON:
        return
    if not await list_endpoints(work.connection, MODEL):
        endpoint = await register_endpoint(work, model, provider.id, EndpointSpec(upstream_model=MODEL))
        await move_endpoint(work, endpoint.id, EndpointState.PROBING)
        await move_endpoint(work, endpoint.id, EndpointState.LIVE, reason="the demo worker of `up`")
    await administer.set_price(work, MODEL, PRICE_NANO_PER_MTOK, note="The demo's price.")
    await administer.launch_model(work, MODEL, reason="the demo model of `up`")
