"""Makes what a newcomer needs on the first `up`: catalogue, account with free credit, key, a model that answers.

Each piece is looked for before it is made, so that the next start finishes one that was killed half-way, and what an
operator has changed since stays as it is.
"""

import asyncio
import time
from datetime import timedelta
from functools import partial

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.accounts import find_account
from billing.credits import GrantKind
from billing.money import NanoUSD, to_usd
from catalog import models
from catalog.values import Model, Status
from gigarouter.data_folder import DataFolder
from gigarouter.supervise import fetch
from providers.kinds import build
from providers.wire import Pool, networks
from router.admin.accounts import open_account
from router.admin.credit import give_credit
from router.admin.launch import bring_shipped, launch_model
from router.admin.prices import set_price
from router.changes.audit import Actor, record_changes
from router.changes.transaction import UnitOfWork, transact
from router.errors import Conflict
from router.identity.key_commands import create_key
from router.identity.key_views import KeySpec
from router.identity.keys import digest_of
from router.registry.endpoints import list_endpoints, needs_one_pass, register_endpoint
from router.registry.indexes import ProviderRecord
from router.registry.providers import edit_provider, find_provider, load_provider_records, register_provider
from router.registry.specs import EndpointSpec, ProviderSpec
from router.tables import KeyRow
from router.values import Endpoint, EndpointState
from router.verification.report import Occasion, SpaceVerdict, VerificationReport
from router.verification.verify import verify_endpoint
from store.ids import AccountId, ModelId
from store.postgres import Database

ACTOR = Actor("process:up")
ACCOUNT = "demo"
CREDIT = NanoUSD(5_000_000_000)
CREDIT_LASTS = timedelta(days=365)
MODEL = ModelId("sentence-transformers/all-MiniLM-L6-v2")
PROVIDER = "in-house"
KEY_FILE = "demo-key"
VERIFICATIONS_MAX = 3
# What the seed estimates for it.
PRICE_NANO_PER_MTOK = 8_000_000


class Demo(msgspec.Struct, frozen=True):
    """What `up` prints. The key is a secret."""

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
            work = UnitOfWork(connection, ACTOR, db.clock.now())
            await bring_shipped(work)
            if work.changes:
                await record_changes(connection, ACTOR, work.changes)
            key = await _known_key(connection, folder)
            is_registered = worker_url is None or await _is_registered(connection, worker_url)
        if key is None:
            key = folder.write(KEY_FILE, await transact(db, ACTOR, _open_account))
        if worker_url is not None and not is_registered:
            await transact(db, ACTOR, lambda work: _register_worker(work, worker_url))
        return Demo(key=key)
    finally:
        await db.close()


def launch_demo(database_url: str, worker_url: str) -> str:
    """Verify the worker's endpoint, as the space's reference, and launch the model, once the worker answers.

    What operators have decided meanwhile stays. Returns a sentence where the worker did not pass, else an empty one.
    """
    return asyncio.run(_launch_demo(database_url, worker_url))


def wait_until_listed(host: str, port: int, key: str, *, within_s: float = 5.0) -> None:
    """Wait until the API lists the model as live, which takes a moment; after ``within_s`` it learns that by itself."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        body = fetch(host, port, f"/v1/models/{MODEL}", {"authorization": f"Bearer {key}"})
        if body is not None and msgspec.json.decode(body, type=_Listed).status == Status.LIVE:
            return
        time.sleep(0.02)


class _Listed(msgspec.Struct):
    status: str


async def _launch_demo(database_url: str, worker_url: str) -> str:
    db = Database(database_url, pool_size=1)
    try:
        async with db.transaction() as connection:
            model = await models.get(connection, MODEL)
            views = await list_endpoints(connection, MODEL)
            records = {record.id: record for record in await load_provider_records(connection)}
        demo = [view for view in views if view.endpoint.provider_name == PROVIDER]
        is_new = model.status is Status.COMING_SOON
        # The worker may listen elsewhere than at the last start: its endpoint then waits for its verification.
        if not demo or not (is_new or needs_one_pass(demo[0])):
            return ""
        endpoint = demo[0].endpoint
        if endpoint.state is not EndpointState.LIVE:
            try:
                report = await _verify_patiently(db, records[endpoint.provider_id], worker_url, endpoint, model)
            except Conflict:
                return ""  # The jobs process or an operator was faster.
            if not report.passed:
                reason = report.reason.rstrip(".")
                return f"The worker is not used and the model is not live: {reason}. It is tried again."
        if not is_new:
            return ""
        launch = partial(launch_model, model_id=MODEL, reason="the demo model of `up`")
        await transact(db, ACTOR, launch)
        return ""
    finally:
        await db.close()


async def _verify_patiently(
    db: Database, record: ProviderRecord, worker_url: str, endpoint: Endpoint, model: Model
) -> VerificationReport:
    """A worker that is late on a busy machine is tried again: that says nothing of its vectors. Raises ``Conflict``."""
    report = await _verify(db, record, worker_url, endpoint, model)
    for _ in range(VERIFICATIONS_MAX - 1):
        if report.verdict is not SpaceVerdict.NO_ANSWER:
            break
        report = await _verify(db, record, worker_url, endpoint, model)
    return report


async def _verify(
    db: Database, record: ProviderRecord, worker_url: str, endpoint: Endpoint, model: Model
) -> VerificationReport:
    record = msgspec.structs.replace(record, base_url=worker_url)
    pool, allowed = Pool(), networks(["127.0.0.0/8"])
    worker = build("worker", base_url=worker_url, credential=None, options={}, allowed_networks=allowed, pool=pool)
    try:
        return await verify_endpoint(db, record, worker, endpoint, model, ACTOR, Occasion.REGISTRATION)
    finally:
        await pool.close()


async def _known_key(connection: AsyncConnection, folder: DataFolder) -> str | None:
    """The key in the folder, if the database knows it."""
    key = folder.read(KEY_FILE)
    if key is None:
        return None
    key_id = await connection.scalar(select(KeyRow.id).where(KeyRow.digest == digest_of(key)))
    return key if key_id is not None else None


async def _open_account(work: UnitOfWork) -> str:
    """Open the account with its credit, unless it exists. Returns the text of a new key."""
    account = await find_account(work.connection, ACCOUNT)
    if account is None:
        account = await open_account(work, ACCOUNT)
        expires_at = work.now + CREDIT_LASTS
        await give_credit(
            work,
            account.id,
            CREDIT,
            GrantKind.PROMOTIONAL,
            source="up:demo",
            expires_at=expires_at,
            note="Free credit.",
        )
    created = await create_key(work, AccountId(account.id), KeySpec(name="demo"), is_mailed=False)
    return created.text


async def _is_registered(connection: AsyncConnection, worker_url: str) -> bool:
    """Whether the demo model has an endpoint, and its provider is where the worker listens now."""
    provider = await find_provider(connection, PROVIDER)
    endpoints = await list_endpoints(connection, MODEL)
    return provider is not None and provider.spec.base_url == worker_url and bool(endpoints)


async def _register_worker(work: UnitOfWork, worker_url: str) -> None:
    """Register our worker as a provider, with one draft endpoint and a price."""
    provider = await find_provider(work.connection, PROVIDER)
    if provider is None:
        spec = ProviderSpec(base_url=worker_url)
        provider = await register_provider(work, None, name=PROVIDER, kind="worker", spec=spec)
    elif provider.spec.base_url != worker_url:
        spec = msgspec.structs.replace(provider.spec, base_url=worker_url)
        await edit_provider(work, None, provider.id, spec)
    if not await list_endpoints(work.connection, MODEL):
        model = await models.get(work.connection, MODEL)
        await register_endpoint(work, model, provider.id, EndpointSpec(upstream_model=MODEL))
        await set_price(work, MODEL, PRICE_NANO_PER_MTOK, note="The demo's price.")
