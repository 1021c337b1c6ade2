"""What a serve process knows follows Postgres within a second, and it knows when it no longer does."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest
from sqlalchemy import text

import router.registry.refresh
from billing.accounts import create_account, set_status
from catalog import models
from catalog.licenses import accept
from catalog.seed import import_seed
from router.changes.audit import Actor
from router.changes.transaction import UnitOfWork, transact
from router.errors import KeyPaused, KeyUnknown, StoreUnavailable
from router.identity.authenticate import authenticate
from router.identity.key_commands import IssuedKey, create_key, end_old_secrets, pause_key, revoke_key, rotate_key
from router.identity.key_views import KeySpec
from router.identity.keys import digest_of, new_key
from router.registry.endpoints import move_endpoint, register_endpoint
from router.registry.providers import edit_provider, register_provider
from router.registry.refresh import Refresher
from router.registry.specs import EndpointSpec, ProviderSpec
from router.values import EndpointState
from store.embedded import Embedded
from store.ids import AccountId, ProviderId, new_id
from store.postgres import Database

pytestmark = pytest.mark.anyio
OPS = Actor("cli:ops")
ACCEPTABLE = "LicenseRef-Gemma"
MODEL = "sentence-transformers/all-MiniLM-L6-v2"
URL = "https://api.alpha.example/v1"


class World:
    """One database with an account, and a serve process's refresher on it."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.account_id = AccountId(new_id())
        self.refresher = Refresher(db)

    async def open_account(self) -> None:
        async with self.db.transaction() as tx:
            await create_account(tx, "acme", account_id=self.account_id)

    async def a_key(self) -> IssuedKey:
        spec = KeySpec(name="test")
        return await transact(self.db, OPS, lambda work: create_key(work, self.account_id, spec))

    def call(self, shown: IssuedKey) -> None:
        authenticate(f"Bearer {shown.text}", self.refresher.keys, datetime.now(UTC))

    def is_known(self, shown: IssuedKey) -> bool:
        try:
            self.call(shown)
        except KeyUnknown:
            return False
        return True


@asynccontextmanager
async def running(refresher: Refresher) -> AsyncIterator[None]:
    await refresher.load()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(refresher.run())
        try:
            yield
        finally:
            task.cancel()


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    db = Database(database_url)
    world = World(db)
    await world.open_account()
    yield world
    await db.close()


async def within(seconds: float, condition: Callable[[], bool]) -> float:
    """How long until the condition holds; fails the test after ``seconds``."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while not condition():
        assert loop.time() - began < seconds, "it took too long"
        await asyncio.sleep(0.005)
    return loop.time() - began


async def test_a_new_key_works_and_a_revoked_one_stops_within_a_second(world: World) -> None:
    async with running(world.refresher):
        key = await world.a_key()
        await within(1.0, lambda: world.is_known(key))
        await transact(world.db, OPS, lambda work: revoke_key(work, key.view.id))
        await within(1.0, lambda: not world.is_known(key))
    assert len(world.refresher.keys) == 0


async def test_a_hundred_revocations_at_once_all_arrive_within_a_second(world: World) -> None:
    keys = [await world.a_key() for _ in range(100)]
    async with running(world.refresher):
        assert all(world.is_known(key) for key in keys)
        async with world.db.transaction() as tx:
            await tx.execute(text("UPDATE keys SET revoked_at = now()"))
        await within(1.0, lambda: not any(world.is_known(key) for key in keys))


async def test_a_paused_key_and_a_suspended_account_stop_and_come_back(world: World) -> None:
    def pauses() -> bool:
        try:
            world.call(key)
        except KeyPaused:
            return True
        return False

    async with running(world.refresher):
        key = await world.a_key()
        await within(1.0, lambda: world.is_known(key))
        await transact(world.db, OPS, lambda work: pause_key(work, key.view.id))
        await within(1.0, pauses)
        await transact(world.db, OPS, lambda work: pause_key(work, key.view.id, paused=False))
        await within(1.0, lambda: not pauses())
        async with world.db.transaction() as tx:
            await set_status(tx, world.account_id, "suspended")
        await within(1.0, pauses)


async def test_after_a_rotation_both_secrets_work_until_the_overlap_ends(world: World) -> None:
    async with running(world.refresher):
        old = await world.a_key()
        new = await transact(world.db, OPS, lambda work: rotate_key(work, old.view.id, timedelta(hours=1)))
        await within(1.0, lambda: world.is_known(new) and world.is_known(old))
        keys = world.refresher.keys
        later = datetime.now(UTC) + timedelta(seconds=5)
        assert (
            authenticate(f"Bearer {old.text}", keys, later).key.id
            == authenticate(f"Bearer {new.text}", keys, later).key.id
        )
        last = await transact(world.db, OPS, lambda work: rotate_key(work, old.view.id, timedelta()))
        await within(1.0, lambda: world.is_known(last) and not world.is_known(new))
        assert world.is_known(old), "its overlap was said to last an hour"
        assert authenticate(f"Bearer {old.text}", keys, later).key.id == old.view.id
        known = keys.find(digest_of(old.text))
        assert known is not None
        assert known.expires_at == new.view.previous_until, "and then it ends"
        await transact(world.db, OPS, lambda work: end_old_secrets(work, old.view.id))
        await within(1.0, lambda: not world.is_known(old))
        assert world.is_known(last)


async def test_an_acceptance_reaches_the_accounts_keys(world: World) -> None:
    async with running(world.refresher):
        key = await world.a_key()
        await within(1.0, lambda: world.is_known(key))
        async with world.db.transaction() as tx:
            now = datetime.now(UTC)
            token = await accept(tx, world.account_id, ACCEPTABLE, accepted_by="ada@example.com", now=now)
        find = world.refresher.keys.find
        await within(1.0, lambda: bool((known := find(digest_of(key.text))) and known.accepted == {token}))


async def test_other_parts_are_told_after_memory_has_the_change(world: World) -> None:
    told: list[str] = []
    world.refresher.on_change("hot_generation", told.append)
    async with running(world.refresher):
        await within(1.0, lambda: told.count("") == 2)
        async with world.db.transaction() as tx:
            await tx.execute(text("UPDATE hot_generation SET generation = generation + 1"))
        await within(1.0, lambda: told[-1] == "2")


def cut(servers: Embedded, db: Database, *, allowed: bool) -> None:
    """What a failing network does: every connection to the database ends, and new ones are refused or not."""
    name = urlsplit(db.url).path.lstrip("/")
    servers.postgres.query(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS {allowed}')
    servers.postgres.query(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")


async def test_while_cut_off_an_unknown_key_is_503_and_a_known_one_works(world: World, servers: Embedded) -> None:
    async with running(world.refresher):
        key, unknown = await world.a_key(), f"Bearer {new_key().text}"
        await within(1.0, lambda: world.is_known(key))
        with pytest.raises(KeyUnknown):
            authenticate(unknown, world.refresher.keys, datetime.now(UTC))
        cut(servers, world.db, allowed=False)
        await within(1.0, lambda: world.refresher.stale)
        with pytest.raises(StoreUnavailable):
            authenticate(unknown, world.refresher.keys, datetime.now(UTC))
        world.call(key)
        cut(servers, world.db, allowed=True)
        await within(6.0, lambda: not world.refresher.stale)
        with pytest.raises(KeyUnknown):
            authenticate(unknown, world.refresher.keys, datetime.now(UTC))


async def test_a_process_that_cannot_read_at_its_start_says_so(world: World, servers: Embedded) -> None:
    cut(servers, world.db, allowed=False)
    with pytest.raises(StoreUnavailable):
        await world.refresher.load()
    cut(servers, world.db, allowed=True)


async def test_a_change_made_while_cut_off_is_there_after_the_reconnect(world: World, servers: Embedded) -> None:
    async with running(world.refresher):
        key = await world.a_key()
        await within(1.0, lambda: world.is_known(key))
        cut(servers, world.db, allowed=True)
        await within(1.0, lambda: world.refresher.stale)
        await transact(world.db, OPS, lambda work: revoke_key(work, key.view.id))
        await within(3.0, lambda: not world.refresher.stale)
        # Where it was back before the change was made, it hears of the change like of any.
        await within(3.0, lambda: not world.is_known(key))


async def test_a_lost_notification_is_made_up_for_by_the_poll(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(router.registry.refresh, "POLL_S", 0.2)
    monkeypatch.setattr(router.registry.refresh, "HEARTBEAT_S", 0.1)
    owner = Database(world.db.url, as_owner=True)
    async with owner.transaction() as tx:
        await tx.execute(text("DROP TRIGGER keys_notify ON keys"))
    await owner.close()
    key = await world.a_key()
    reads: list[str] = []
    world.refresher.on_change("keys", reads.append)
    async with running(world.refresher):
        # Listening begins with a full read of its own, the second one; after it only the poll can tell.
        await within(2.0, lambda: len(reads) == 2)
        await transact(world.db, OPS, lambda work: revoke_key(work, key.view.id))
        await within(2.0, lambda: not world.is_known(key))
        assert len(reads) == 2


async def test_an_endpoint_is_known_after_its_provider_and_not_while_that_is_switched_off(world: World) -> None:
    endpoints_at_alphas_news: list[int] = []
    index = world.refresher.endpoints

    def hear(_: str) -> None:
        alphas = [provider for provider in world.refresher.providers.all() if provider.name == "alpha"]
        endpoints_at_alphas_news.extend(len(index.of_provider(provider.id)) for provider in alphas)

    async def register(work: UnitOfWork) -> ProviderId:
        await import_seed(work.connection)
        provider = await register_provider(work, None, name="alpha", kind="openai", spec=ProviderSpec(URL))
        model = await models.get(work.connection, MODEL)
        endpoint = await register_endpoint(work, model, provider.id, EndpointSpec("mini"))
        await move_endpoint(work, endpoint.id, EndpointState.PROBING)
        return provider.id

    async with running(world.refresher):
        world.refresher.on_change("providers", hear)
        alpha = await transact(world.db, OPS, register)
        await within(1.0, lambda: len(index.of_provider(alpha)) == 1)
        assert endpoints_at_alphas_news[0] == 0
        off = ProviderSpec(URL, enabled=False)
        await transact(world.db, OPS, lambda work: edit_provider(work, None, alpha, off))
        await within(1.0, lambda: not index.of_provider(alpha))
        await transact(world.db, OPS, lambda work: edit_provider(work, None, alpha, ProviderSpec(URL)))
        await within(1.0, lambda: bool(index.of_provider(alpha)))
