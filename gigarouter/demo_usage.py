"""Makes two accounts with a month of made-up usage, for `up --demo-usage`: pages then have something to show.

The calls are invented and their charges are not: each goes through the ledger as any call's does, so that every figure
adds up, and is in the log of calls (:mod:`gigarouter.demo_calls`). Credit is given before it is used. Made once; the
next start finds the accounts and leaves them as they are.
"""

import asyncio
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from math import pi, sin
from random import Random
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import text

from billing.accounts import find_account
from billing.credits import GrantKind
from billing.money import NanoUSD, cost_ceil
from billing.periods import is_open
from billing.prices import list_prices
from gigarouter.demo import ACTOR, MODEL, PRICE_NANO_PER_MTOK
from gigarouter.demo_calls import DemoCall, DemoSeller, write_calls
from router.admin.accounts import open_account
from router.admin.credit import give_credit
from router.admin.prices import set_price
from router.changes.transaction import UnitOfWork, transact
from router.identity.key_commands import create_key
from router.identity.key_views import KeySpec
from router.identity.members import Role, add_member
from router.registry.endpoints import list_endpoints
from router.registry.providers import ProviderView, find_provider, register_provider
from router.registry.specs import ProviderSpec
from store.ids import AccountId, EndpointId, KeyId, PriceId, RequestId, new_id
from store.postgres import Database

PERSON = "demo@gigarouter.example"
# What the calls use was paid for, so that each month has revenue and margin; the gift comes after them, and is left.
PAID, GIFT = NanoUSD(25_000_000_000), NanoUSD(5_000_000_000)
# Stands for who would have served the calls where this machine has no worker.
MADE_UP = "made-up"
MADE_UP_PROVIDER = ProviderSpec(base_url="http://127.0.0.1:9", enabled=False)
DAYS, CALLS_A_DAY, BATCH = 30, 120, 500
# A seed, so that all demos look alike.
SEED = 13

_MONTHS = text("SELECT make_usage_months((now() AT TIME ZONE 'UTC' - interval '1 month')::date, 2)")
_CHARGE = f"SELECT * FROM charge_calls({', '.join(f'${n}' for n in range(1, 23))})"  # noqa: S608 - numbers only


class _Account(msgspec.Struct, frozen=True):
    """An account to make: the demo person's role in it, and its keys with their shares of the calls."""

    name: str
    role: Role
    keys: tuple[tuple[str, float], ...]


ACCOUNTS = (
    _Account("demo search", Role.OWNER, (("ingest-prod", 0.7), ("search-api", 0.25), ("nightly", 0.05))),
    _Account("demo support", Role.FINANCE, (("assistant", 0.9), ("evaluation", 0.1))),
)


class _Seller(msgspec.Struct, frozen=True):
    """Who would have served the calls, and at which price."""

    price: UUID
    nano_per_mtok: int
    provider: UUID
    endpoint: UUID
    provider_name: str
    space: str


def prepare_usage(database_url: str) -> None:
    """Make what is not there. Blocking: call it before any event loop."""
    asyncio.run(_prepare(database_url))


async def _prepare(database_url: str) -> None:
    db = Database(database_url, pool_size=1)
    try:
        await db.observe_time()
        seller = await _seller(db)
        for number, account in enumerate(ACCOUNTS):
            async with db.transaction() as connection:
                is_there = await find_account(connection, account.name) is not None
                if not is_there:
                    await connection.execute(_MONTHS)
            if not is_there:
                await _make(db, account, seller, Random(SEED + number))  # noqa: S311 - made up on purpose
    finally:
        await db.close()


async def _seller(db: Database) -> _Seller:
    async with db.transaction() as connection:
        prices = [price for price in await list_prices(connection) if price.model_id == MODEL]
        served = [view.endpoint for view in await list_endpoints(connection, MODEL)]
    if not prices:
        note = "The demo's price."
        prices = [await transact(db, ACTOR, lambda work: set_price(work, MODEL, PRICE_NANO_PER_MTOK, note=note))]
    if served:
        of = (served[0].provider_id, served[0].id, served[0].provider_name)
    else:
        made = await _made_up_provider(db)
        of = (made.id, EndpointId(new_id()), made.name)
    return _Seller(prices[-1].id, prices[-1].nano_per_mtok, *of, MODEL)


async def _made_up_provider(db: Database) -> ProviderView:
    """A provider that serves nothing, so that costs have a name."""
    async with db.transaction() as connection:
        found = await find_provider(connection, MADE_UP)
    if found is not None:
        return found

    async def register(work: UnitOfWork) -> ProviderView:
        return await register_provider(work, None, name=MADE_UP, kind="worker", spec=MADE_UP_PROVIDER)

    return await transact(db, ACTOR, register)


async def _make(db: Database, wanted: _Account, seller: _Seller, chance: Random) -> None:
    async def command(work: UnitOfWork) -> tuple[AccountId, list[KeyId]]:
        account = await open_account(work, wanted.name)
        source, before = f"demo:{wanted.name}", work.now - timedelta(days=DAYS, hours=1)
        # A database whose last month is closed has the credit in this one, and so have those calls their booking.
        given = before if await is_open(work.connection, before.date().replace(day=1)) else None
        await give_credit(work, account.id, PAID, GrantKind.PURCHASED, source=source, granted_at=given)
        await add_member(work, account.id, PERSON, wanted.role, "Demo")
        keys = [await create_key(work, account.id, KeySpec(name=name), is_mailed=False) for name, _ in wanted.keys]
        return account.id, [key.view.id for key in keys]

    account, keys = await transact(db, ACTOR, command)
    shares = list(zip(keys, (share for _, share in wanted.keys), strict=True))
    calls = list(_calls(db.clock.now(), shares, seller, chance))
    connection = await db.connect(command_timeout_s=60)
    try:
        for at in range(0, len(calls), BATCH):
            await connection.fetch(_CHARGE, *_columns(account, calls[at : at + BATCH], seller))
    finally:
        await connection.close()
    gift = f"demo:gift:{wanted.name}"
    await transact(db, ACTOR, lambda work: give_credit(work, account, GIFT, GrantKind.PROMOTIONAL, source=gift))
    log = DemoSeller(
        PriceId(seller.price), seller.nano_per_mtok, EndpointId(seller.endpoint), seller.provider_name, seller.space
    )
    await write_calls(db, account, log, calls, chance)


def _calls(now: datetime, keys: Sequence[tuple[KeyId, float]], seller: _Seller, chance: Random) -> Iterator[DemoCall]:
    """A month of calls: more by day than by night, fewer at weekends, a little more each week."""
    for day in range(DAYS, 0, -1):
        begin = now - timedelta(days=day)
        is_weekend = begin.weekday() >= 5
        growth = 1 + (DAYS - day) / DAYS / 2
        for _ in range(round(CALLS_A_DAY * growth * (0.35 if is_weekend else 1.0) * chance.uniform(0.8, 1.2))):
            at = begin + timedelta(seconds=chance.uniform(0, 86_400))
            if chance.random() > 0.6 + 0.4 * sin((at.hour - 8) / 24 * 2 * pi):
                continue
            [key] = chance.choices([key for key, _ in keys], [share for _, share in keys])
            inputs = chance.choice((1, 16, 96, 512, 1_024, 2_048))
            tokens = sum(chance.randint(8, 480) for _ in range(inputs))
            took_ms = round(8 + inputs * 1.5 + chance.expovariate(1 / 12))
            at, cost = min(at, now), cost_ceil(tokens, seller.nano_per_mtok)
            yield DemoCall(RequestId(new_id(at)), at, key, inputs, tokens, took_ms, cost, cost // 2)


def _columns(account: AccountId, calls: Sequence[DemoCall], seller: _Seller) -> list[list[Any]]:
    """The arguments of the group commit, a column each."""
    count, entry = len(calls), new_id()
    return [
        [call.request for call in calls],
        [account] * count,
        [entry] * count,
        [call.key for call in calls],
        [MODEL] * count,
        [seller.provider] * count,
        [seller.endpoint] * count,
        [seller.space] * count,
        [call.inputs for call in calls],
        [call.tokens for call in calls],
        [call.tokens for call in calls],
        [seller.price] * count,
        [seller.nano_per_mtok] * count,
        [call.cost_nano for call in calls],
        [call.provider_cost_nano for call in calls],
        [call.at for call in calls],
        [call.latency_ms for call in calls],
        [1] * count,
        *([[None] * count] * 4),
    ]
