"""One process's billing on real stores: connected, loaded, with an account that has credit."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Literal
from uuid import UUID

from billing.accounts import create_account
from billing.admission import Admission
from billing.charging import Charging
from billing.credits import GrantKind, grant
from billing.generation import Generation
from billing.money import NanoUSD, Price
from billing.projection import SCRIPTS, Projection
from billing.values import Cap, Denied, Hold, Limits, Payer, Quote, Usage
from store.ids import AccountId, EndpointId, KeyId, ModelId, PriceId, ProviderId, RequestId, new_id
from store.postgres import Database
from store.redis_client import RedisClient

MODEL = ModelId("test/model")
PRICE = Price(PriceId(new_id()), MODEL, 1_000_000, datetime(2026, 1, 1, tzinfo=UTC))


class Billing:
    """The parts of one process, and short-hands for what a call does."""

    def __init__(self, db: Database, generation: Generation, projection: Projection, charging: Charging) -> None:
        self.db = db
        self.generation = generation
        self.projection = projection
        self.charging = charging
        self.admission = Admission(projection, generation)

    async def admit(
        self, payer: Payer, amount: int, *, now: datetime | None = None, request_id: UUID | None = None
    ) -> Hold | Denied:
        async def recount() -> None:
            return None

        return await self.admission.admit(
            RequestId(request_id or new_id()),
            payer,
            Quote(tokens_max=amount, amount_max=NanoUSD(amount), price=PRICE),
            now or datetime.now(UTC),
            asyncio.get_running_loop().time() + 30,
            recount,
        )

    async def charge(self, hold: Hold, cost: int, *, at: datetime | None = None) -> None:
        await self.charging.charge(hold, usage_of(cost, at))

    async def redis(self, account_id: AccountId) -> dict[str, str]:
        assert self.projection.redis is not None
        flat = await self.projection.redis.command("HGETALL", f"gr:{{{account_id.hex}}}")
        return {flat[i].decode(): flat[i + 1].decode() for i in range(0, len(flat), 2)}


def usage_of(cost: int, at: datetime | None = None) -> Usage:
    return Usage(
        model_id=MODEL,
        provider_id=ProviderId(new_id()),
        endpoint_id=EndpointId(new_id()),
        space="space",
        inputs=1,
        tokens=cost,
        provider_tokens=cost,
        cost=NanoUSD(cost),
        provider_cost=NanoUSD(cost // 2),
        occurred_at=at or datetime.now(UTC),
        latency_ms=1,
        attempts=1,
    )


async def an_account(db: Database, credit: int, kind: GrantKind = GrantKind.PURCHASED) -> AccountId:
    async with db.transaction() as tx:
        account_id = await create_account(tx, "acme")
        if credit:
            await grant(tx, account_id, NanoUSD(credit), kind, source_ref=new_id().hex)
    return account_id


def a_payer(account_id: AccountId, *, limits: Limits | None = None, cap: Cap | None = None) -> Payer:
    return Payer(account_id, KeyId(new_id()), limits or Limits(1_000_000, 1_000_000_000, 100_000), cap)


@asynccontextmanager
async def billing(
    database_url: str, redis_url: str, durability: Literal["commit", "memory"] = "commit"
) -> AsyncIterator[Billing]:
    """One process's billing, running until the block ends."""
    db = Database(database_url)
    generation = Generation(db, "serve")
    projection = Projection(db, generation)
    projection.redis = RedisClient(redis_url, SCRIPTS, generation.on_connect)
    charging = Charging(db, projection, durability)
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(run()) for run in (projection.redis.run, generation.run, projection.run, charging.run)
            ]
            assert await generation.ready(10)
            assert await projection.redis.opened(10)
            yield Billing(db, generation, projection, charging)
            for task in tasks:
                task.cancel()
    finally:
        await db.close()
