"""What a product needs before its first call: a model with a price, an endpoint, an account with credit, a key.

Made by the product's own functions, on the database that the product's processes will read.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import asyncpg
from sqlalchemy import text

from billing.accounts import create_account
from billing.credits import GrantKind, grant
from billing.money import NanoUSD
from billing.prices import set_price
from billing.values import Cap, Limits
from catalog import models, seed
from router.changes.audit import Actor
from router.changes.transaction import UnitOfWork, transact
from router.identity.key_commands import KeySpec, create_key
from router.registry.encryption import CredentialCipher
from router.registry.endpoints import move_endpoint, register_endpoint
from router.registry.providers import register_provider
from router.values import EndpointSpec, EndpointState, ProviderSpec
from store.ids import AccountId, KeyId, ModelId, new_id
from store.postgres import Database

T = TypeVar("T")

ACTOR = Actor("cli:test")
WIDE = Limits(requests_per_minute=1_000_000, tokens_per_minute=1_000_000_000, concurrency=1_000)

_MODEL = text(
    "INSERT INTO models (id, owned_by, summary, published_on, dimensions, max_input_tokens, normalized, pooling,"
    " numerics, tokenizer, vocabulary_size, special_tokens, space) VALUES (:id, 'tests', 'A model of the tests',"
    " '2026-01-01', :dimensions, 8192, true, 'mean', 'float32', :tokenizer, :vocabulary, 0, :space)"
)
_CLAIM = text(
    "INSERT INTO license_claims (id, model_id, license, source, evidence, claimed_on, recorded_by)"
    " VALUES (:claim, :id, 'Apache-2.0', 'tests', 'tests/builders/database.py', '2026-01-01', 'tests')"
)


async def add_model(
    work: UnitOfWork,
    name: str,
    *,
    dimensions: int = 8,
    nano_per_mtok: int = 1_000_000,
    vocabulary: int | None = None,
    batch_nano_per_mtok: int | None = None,
) -> ModelId:
    """A live model with a price, in a transaction of the database's owner."""
    row = {"id": name, "dimensions": dimensions, "space": f"tests:{name}"}
    tokenizer = {"tokenizer": "tests" if vocabulary else None, "vocabulary": vocabulary}
    await work.connection.execute(_MODEL, row | tokenizer)
    await work.connection.execute(_CLAIM, {"id": name, "claim": new_id()})
    since, batch = datetime(2026, 1, 1, tzinfo=UTC), batch_nano_per_mtok
    await set_price(work.connection, ModelId(name), nano_per_mtok, since, batch_nano_per_mtok=batch)
    await work.connection.execute(text("UPDATE models SET status = 'live' WHERE id = :id"), {"id": name})
    return ModelId(name)


async def add_endpoint(
    work: UnitOfWork,
    cipher: CredentialCipher,
    model: ModelId,
    name: str,
    kind: str,
    spec: ProviderSpec,
    endpoint: EndpointSpec,
    credential: str | None = None,
) -> None:
    """A live endpoint of a provider of its own called ``name``, in a transaction of the product's."""
    provider = await register_provider(work, cipher, name=name, kind=kind, spec=spec, credential=credential)
    entry = await models.get(work.connection, model)
    registered = await register_endpoint(work, entry, provider.id, endpoint)
    await move_endpoint(work, registered.id, EndpointState.PROBING)
    await move_endpoint(work, registered.id, EndpointState.LIVE)


class Shop:
    """Builders with defaults on one database. ``secret_key`` is the one that the product's processes are given."""

    def __init__(self, database_url: str, secret_key: str) -> None:
        self.database_url = database_url
        self._seal = CredentialCipher([secret_key])

    def a_model(
        self,
        name: str,
        *,
        dimensions: int = 8,
        nano_per_mtok: int = 1_000_000,
        vocabulary: int | None = None,
        batch_nano_per_mtok: int | None = None,
    ) -> ModelId:
        """A model with a price. With a ``vocabulary`` it takes token ids, and counts them one by one."""

        async def command(work: UnitOfWork) -> ModelId:
            return await add_model(
                work,
                name,
                dimensions=dimensions,
                nano_per_mtok=nano_per_mtok,
                vocabulary=vocabulary,
                batch_nano_per_mtok=batch_nano_per_mtok,
            )

        return self._owner(command)

    def an_endpoint(
        self,
        model: ModelId,
        base_url: str,
        *,
        kind: str = "openai",
        name: str = "upstream",
        asks_base64: bool = True,
        **bounds: int,
    ) -> None:
        """A live endpoint of a provider of its own. ``bounds`` are numbers of its spec: priority, max_batch, …"""

        async def command(work: UnitOfWork) -> None:
            credential = "sk-upstream" if kind == "openai" else None
            endpoint = EndpointSpec(upstream_model=model, asks_base64=asks_base64, **bounds)
            await add_endpoint(
                work, self._seal, model, name, kind, ProviderSpec(base_url=base_url), endpoint, credential
            )

        self._app(command)

    def import_seed(self) -> None:
        """The shipped catalogue: every model is coming soon."""

        async def command(work: UnitOfWork) -> None:
            await seed.import_seed(work.connection)

        self._owner(command)

    def sell_from_seed(self, name: str, worker_url: str, *, nano_per_mtok: int = 8_000_000) -> ModelId:
        """A model of the shipped catalogue, served by an in-house worker, live."""

        async def command(work: UnitOfWork) -> None:
            await seed.import_seed(work.connection)
            await set_price(work.connection, ModelId(name), nano_per_mtok, datetime(2026, 1, 1, tzinfo=UTC))
            await work.connection.execute(text("UPDATE models SET status = 'live' WHERE id = :id"), {"id": name})

        self._owner(command)
        self.an_endpoint(ModelId(name), worker_url, kind="worker", name="worker")
        return ModelId(name)

    def an_account(self, credit_nano: int, name: str = "Tester") -> AccountId:
        """An account with purchased credit."""

        async def command(work: UnitOfWork) -> AccountId:
            account_id = await create_account(work.connection, name)
            if credit_nano:
                await self._grant(work, account_id, credit_nano)
            return account_id

        return self._owner(command)

    def more_credit(self, account_id: AccountId, credit_nano: int) -> None:
        async def command(work: UnitOfWork) -> None:
            await self._grant(work, account_id, credit_nano)

        self._owner(command)

    def a_key(
        self, account_id: AccountId, *, limits: Limits = WIDE, cap: Cap | None = None, is_test: bool = False
    ) -> str:
        """A commercial key without narrow limits; its text."""
        return self._a_key(account_id, limits, cap, is_test=is_test)[0]

    def a_key_and_its_id(self, account_id: AccountId) -> tuple[str, KeyId]:
        return self._a_key(account_id, WIDE, None)

    def rows(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """What Postgres says, asked as its owner."""

        async def ask() -> list[asyncpg.Record]:
            connection = await asyncpg.connect(self.database_url)
            try:
                found: list[asyncpg.Record] = await connection.fetch(query, *arguments)
                return found
            finally:
                await connection.close()

        return asyncio.run(ask())

    def value(self, query: str, *arguments: object) -> Any:
        """The first column of the first row."""
        return self.rows(query, *arguments)[0][0]

    async def _grant(self, work: UnitOfWork, account_id: AccountId, credit_nano: int) -> None:
        amount, source = NanoUSD(credit_nano), f"tests:{new_id()}"
        await grant(work.connection, account_id, amount, GrantKind.PURCHASED, source_ref=source)

    def _a_key(
        self, account_id: AccountId, limits: Limits, cap: Cap | None, *, is_test: bool = False
    ) -> tuple[str, KeyId]:
        async def command(work: UnitOfWork) -> tuple[str, KeyId]:
            shown = await create_key(work, account_id, KeySpec(name="tests", limits=limits, cap=cap), is_test=is_test)
            return shown.text, shown.view.id

        return self._app(command)

    def _app(self, command: Callable[[UnitOfWork], Awaitable[T]]) -> T:
        """As the product does it: audited, and in its own role."""

        async def run() -> T:
            db = Database(self.database_url)
            try:
                return await transact(db, ACTOR, command)
            finally:
                await db.close()

        return asyncio.run(run())

    def _owner(self, command: Callable[[UnitOfWork], Awaitable[T]]) -> T:
        """As the database's owner: for what a catalogue file or a payment would bring."""

        async def run() -> T:
            db = Database(self.database_url, as_owner=True)
            try:
                async with db.transaction() as connection:
                    return await command(UnitOfWork(connection, ACTOR, datetime.now(UTC)))
            finally:
                await db.close()

        return asyncio.run(run())
