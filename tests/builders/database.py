"""Builds what a product needs before its first call: a model with a price, an endpoint, an account with credit, a key.

Everything is made by the product's own functions where it has them, on the database that the product's processes read.
The functions add one thing inside a transaction that the caller owns; ``DatabaseBuilder`` is for tests without a loop.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime
from typing import Any, TypedDict, TypeVar, Unpack

import asyncpg
from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.accounts import create_account
from billing.credits import GrantKind, grant
from billing.money import NanoUSD
from billing.prices import set_price
from billing.values import Cap, Limits
from catalog import models, seed
from catalog.licenses import record_claim
from catalog.tables import ModelRow
from catalog.values import Use
from router.changes.audit import Actor
from router.changes.transaction import UnitOfWork, transact
from router.identity.key_commands import create_key
from router.identity.key_views import KeySpec
from router.registry.encryption import CredentialCipher
from router.registry.endpoints import move_endpoint, register_endpoint
from router.registry.providers import register_provider
from router.registry.specs import EndpointSpec, ProviderSpec
from router.values import EndpointState
from store.ids import AccountId, KeyId, ModelId, new_id
from store.postgres import Database

T = TypeVar("T")

ACTOR = Actor("cli:test")
WIDE = Limits(requests_per_minute=1_000_000, tokens_per_minute=1_000_000_000, concurrency=1_000)
SINCE = datetime(2026, 1, 1, tzinfo=UTC)
APACHE, NON_COMMERCIAL = "Apache-2.0", "CC-BY-NC-4.0"


class ModelColumns(TypedDict, total=False):
    """The columns of a model that a test may set."""

    status: str
    dimensions: int
    trained_dimensions: list[int]
    max_input_tokens: int
    pooling: str
    numerics: str
    tokenizer: str | None
    vocabulary_size: int | None
    special_tokens: int
    prompts: dict[str, str]
    revision: str | None
    space: str


class EndpointSpecFields(TypedDict, total=False):
    """The fields of an endpoint's specification that a test may set."""

    cost_nano_per_mtok: int
    priority: int
    asks_base64: bool
    max_batch: int | None
    max_batch_tokens: int | None
    numerics: str | None
    requests_per_minute: int | None
    tokens_per_minute: int | None
    concurrency: int | None


async def insert_model(connection: AsyncConnection, name: str, **columns: Unpack[ModelColumns]) -> ModelId:
    """A row without license or price, as the database's owner writes it."""
    usual: ModelColumns = {
        "dimensions": 8,
        "max_input_tokens": 8192,
        "pooling": "mean",
        "numerics": "float32",
        "space": f"tests:{name}",
    }
    names = {"id": name, "owned_by": "tests", "summary": "A model of the tests", "published_on": date(2026, 1, 1)}
    await connection.execute(insert(ModelRow).values(normalized=True, **names, **{**usual, **columns}))
    return ModelId(name)


async def add_claim(connection: AsyncConnection, model: ModelId, license: str = APACHE) -> None:
    """A source says under which license the model is."""
    await record_claim(
        connection,
        model,
        license=license,
        source="tests",
        evidence="tests/builders/database.py",
        claimed_on=date(2026, 1, 1),
        recorded_by="tests",
    )


async def add_model(
    connection: AsyncConnection,
    name: str,
    *,
    nano_per_mtok: int = 1_000_000,
    batch_nano_per_mtok: int | None = None,
    **columns: Unpack[ModelColumns],
) -> ModelId:
    """A model with license and price, coming soon, in a transaction of the database's owner."""
    model = await insert_model(connection, name, **columns)
    await add_claim(connection, model)
    await set_price(connection, model, nano_per_mtok, SINCE, batch_nano_per_mtok=batch_nano_per_mtok)
    return model


async def make_live(connection: AsyncConnection, model: ModelId) -> None:
    await connection.execute(text("UPDATE models SET status = 'live' WHERE id = :id"), {"id": model})


async def add_endpoint(
    work: UnitOfWork,
    cipher: CredentialCipher | None,
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


async def add_credit(
    connection: AsyncConnection, account: AccountId, credit_nano: int, kind: GrantKind = GrantKind.PURCHASED
) -> None:
    await grant(connection, account, NanoUSD(credit_nano), kind, source_ref=f"tests:{new_id()}")


async def add_account(
    connection: AsyncConnection, credit_nano: int, name: str = "Tester", kind: GrantKind = GrantKind.PURCHASED
) -> AccountId:
    account = await create_account(connection, name)
    if credit_nano:
        await add_credit(connection, account, credit_nano, kind)
    return account


class DatabaseBuilder:
    """Builders with defaults on one database. ``secret_key`` is the one that the product's processes are given."""

    def __init__(self, url: str, secret_key: str) -> None:
        self.url = url
        self.cipher = CredentialCipher([secret_key])

    def a_model(
        self,
        name: str,
        *,
        nano_per_mtok: int = 1_000_000,
        batch_nano_per_mtok: int | None = None,
        vocabulary: int | None = None,
        **columns: Unpack[ModelColumns],
    ) -> ModelId:
        """A live model with a price. With a ``vocabulary`` it takes token ids, and counts them one by one."""
        if vocabulary:
            columns = {"tokenizer": "tests", "vocabulary_size": vocabulary, **columns}

        async def command(work: UnitOfWork) -> ModelId:
            model = await add_model(
                work.connection, name, nano_per_mtok=nano_per_mtok, batch_nano_per_mtok=batch_nano_per_mtok, **columns
            )
            await make_live(work.connection, model)
            return model

        return self.as_owner(command)

    def a_claim(self, model: ModelId | str, license: str) -> None:
        """Another source says under which license the model is."""

        async def command(work: UnitOfWork) -> None:
            await add_claim(work.connection, ModelId(model), license)

        self.as_owner(command)

    def an_endpoint(
        self,
        model: ModelId,
        base_url: str,
        *,
        kind: str = "openai",
        name: str = "upstream",
        **fields: Unpack[EndpointSpecFields],
    ) -> None:
        """A live endpoint of a provider of its own."""

        async def command(work: UnitOfWork) -> None:
            credential = "sk-upstream" if kind == "openai" else None
            endpoint, spec = EndpointSpec(upstream_model=model, **fields), ProviderSpec(base_url=base_url)
            await add_endpoint(work, self.cipher, model, name, kind, spec, endpoint, credential)

        self.as_app(command)

    def import_seed(self) -> None:
        """The shipped catalogue: every model is coming soon."""

        async def command(work: UnitOfWork) -> None:
            await seed.import_seed(work.connection)

        self.as_owner(command)

    def sell_from_seed(self, name: str, worker_url: str, *, nano_per_mtok: int = 8_000_000) -> ModelId:
        """A model of the shipped catalogue, served by an in-house worker, live."""
        model = ModelId(name)

        async def command(work: UnitOfWork) -> None:
            await seed.import_seed(work.connection)
            await set_price(work.connection, model, nano_per_mtok, SINCE)
            await make_live(work.connection, model)

        self.as_owner(command)
        self.an_endpoint(model, worker_url, kind="worker", name="worker")
        return model

    def an_account(self, credit_nano: int, name: str = "Tester") -> AccountId:
        """An account with purchased credit."""

        async def command(work: UnitOfWork) -> AccountId:
            return await add_account(work.connection, credit_nano, name)

        return self.as_owner(command)

    def a_gift(self, account: AccountId, amount_nano: int) -> None:
        """Goodwill credit."""

        async def command(work: UnitOfWork) -> None:
            await add_credit(work.connection, account, amount_nano, GrantKind.GOODWILL)

        self.as_owner(command)

    def a_key(
        self,
        account: AccountId,
        *,
        limits: Limits = WIDE,
        cap: Cap | None = None,
        use: Use = Use.COMMERCIAL,
        is_test: bool = False,
        allow_token_ids: bool = True,
    ) -> str:
        """A key: commercial, without narrow limits, sending models' own ids where nothing else is said; its text."""
        return self.a_key_and_its_id(
            account, limits=limits, cap=cap, use=use, is_test=is_test, allow_token_ids=allow_token_ids
        )[0]

    def a_key_and_its_id(
        self,
        account: AccountId,
        *,
        limits: Limits = WIDE,
        cap: Cap | None = None,
        use: Use = Use.COMMERCIAL,
        is_test: bool = False,
        allow_token_ids: bool = True,
    ) -> tuple[str, KeyId]:
        async def command(work: UnitOfWork) -> tuple[str, KeyId]:
            spec = KeySpec(
                name="tests", limits=limits, caps=(cap,) if cap else (), use=use, allow_token_ids=allow_token_ids
            )
            shown = await create_key(work, account, spec, is_test=is_test)
            return shown.text, shown.view.id

        return self.as_app(command)

    def rows(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """What Postgres answers to its owner."""

        async def fetch() -> list[asyncpg.Record]:
            connection = await asyncpg.connect(self.url)
            try:
                found: list[asyncpg.Record] = await connection.fetch(query, *arguments)
                return found
            finally:
                await connection.close()

        return asyncio.run(fetch())

    def value(self, query: str, *arguments: object) -> Any:
        """The first column of the first row."""
        return self.rows(query, *arguments)[0][0]

    def as_app(self, command: Callable[[UnitOfWork], Awaitable[T]]) -> T:
        """Run as the product does: audited, and in its own role."""

        async def run() -> T:
            db = Database(self.url)
            try:
                return await transact(db, ACTOR, command)
            finally:
                await db.close()

        return asyncio.run(run())

    def as_owner(self, command: Callable[[UnitOfWork], Awaitable[T]]) -> T:
        """Run as the database's owner: for what a catalogue file or a payment would bring."""

        async def run() -> T:
            db = Database(self.url, as_owner=True)
            try:
                async with db.transaction() as connection:
                    return await command(UnitOfWork(connection, ACTOR, datetime.now(UTC)))
            finally:
                await db.close()

        return asyncio.run(run())
