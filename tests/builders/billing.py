"""Builds one process's billing on real stores: connected, loaded, and short-hands for what a call does to it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

from billing import lost_holds
from billing.admission import Admission
from billing.charging import Charging
from billing.credits import GrantKind
from billing.generation import Generation
from billing.ledger import drifted_credits, trial_balance, unbalanced_entries
from billing.money import NanoUSD
from billing.projection import SCRIPTS, Projection, account_key
from billing.reaper import mismatches
from billing.values import Denied, Hold, Payer, Quote, Usage
from store.ids import AccountId, ModelId, RequestId, new_id
from store.postgres import Database
from store.redis_client import RedisClient
from tests.builders.database import add_account
from tests.builders.values import a_price, a_usage

MODEL = ModelId("test/model")
PRICE = a_price(1_000_000, model_id=MODEL, effective_at=datetime(2026, 1, 1, tzinfo=UTC))


class Billing:
    """The parts of one process's billing."""

    def __init__(self, db: Database, generation: Generation, projection: Projection, charging: Charging) -> None:
        self.beating: asyncio.Task[None] | None = None
        self.tasks: list[asyncio.Task[None]] = []
        self.deadline_s = 30.0
        self.db = db
        self.generation = generation
        self.projection = projection
        self.charging = charging
        self.admission = Admission(projection, generation)

    def fall_silent(self) -> None:
        """Send no heartbeat any more and hear of no generation, as a process that is cut off from Postgres."""
        assert self.beating is not None
        self.beating.cancel()

    def die(self) -> None:
        """Do nothing any more, as a process that was killed."""
        for task in self.tasks:
            task.cancel()

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
            asyncio.get_running_loop().time() + self.deadline_s,
            recount,
        )

    async def charge(self, hold: Hold, cost: int, *, at: datetime | None = None) -> None:
        await self.charging.charge(hold, usage_of(cost, at))

    async def redis(self, account_id: AccountId) -> dict[str, str]:
        """The account as Redis has it."""
        flat = await self.redis_command("HGETALL", f"gr:{{{account_id.hex}}}")
        return {flat[i].decode(): flat[i + 1].decode() for i in range(0, len(flat), 2)}

    async def redis_command(self, *arguments: str | bytes) -> Any:
        assert self.projection.redis is not None
        return await self.projection.redis.command(*arguments)

    async def make_overdue(self, account_id: AccountId) -> None:
        """Let the time of the account's holds be over."""
        for field in await self.redis(account_id):
            if field.startswith("d:"):
                await self.redis_command("HSET", account_key(account_id), field, "1000")

    async def settle(self) -> None:
        """Wait until every charge is committed and Redis says what Postgres says."""
        await self.charging.drain()
        for _ in range(100):
            if not await mismatches(self.db, self.projection):
                return
            await asyncio.sleep(0.05)
        raise AssertionError(await mismatches(self.db, self.projection))

    async def assert_books_are_right(self) -> None:
        async with self.db.transaction() as tx:
            assert sum(line.amount for line in await trial_balance(tx)) == 0
            assert await unbalanced_entries(tx) == 0
            assert await drifted_credits(tx) == []


def usage_of(cost: int, at: datetime | None = None) -> Usage:
    """A call of as many tokens as it cost nano-dollars."""
    return a_usage(
        model_id=MODEL,
        tokens=cost,
        provider_tokens=cost,
        cost=NanoUSD(cost),
        provider_cost=NanoUSD(cost // 2),
        occurred_at=at or datetime.now(UTC),
    )


async def charge_as_older_release(db: Database, account: AccountId, calls: list[tuple[int, datetime]]) -> None:
    """One commit by the function of 22 arguments, with one entry for all of its calls, which were never held."""
    count, entry = len(calls), new_id()
    connection = await db.connect()
    try:
        await connection.fetch(
            f"SELECT * FROM charge_calls({', '.join(f'${n}' for n in range(1, 23))})",
            [new_id() for _ in calls],
            [account] * count,
            [entry] * count,
            [new_id()] * count,
            ["test/model"] * count,
            [new_id()] * count,
            [new_id()] * count,
            ["space"] * count,
            [1] * count,
            [cost for cost, _ in calls],
            [None] * count,
            [PRICE.id] * count,
            [PRICE.nano_per_mtok] * count,
            [cost for cost, _ in calls],
            [cost // 2 for cost, _ in calls],
            [at for _, at in calls],
            [1] * count,
            [1] * count,
            *([[None] * count] * 4),
        )
    finally:
        await connection.close()


async def an_account(db: Database, credit: int, kind: GrantKind = GrantKind.PURCHASED) -> AccountId:
    async with db.transaction() as tx:
        return await add_account(tx, credit, kind=kind)


@asynccontextmanager
async def billing(
    database_url: str, redis_url: str, durability: Literal["commit", "memory"] = "commit"
) -> AsyncIterator[Billing]:
    """One process's billing, running until the block ends."""
    db = Database(database_url)
    generation = Generation(db, "serve")
    projection = Projection(db, generation)
    projection.redis = RedisClient(redis_url, SCRIPTS, generation.on_connect)
    charging = Charging(db, projection, generation, durability)
    try:
        async with asyncio.TaskGroup() as group:
            running = Billing(db, generation, projection, charging)
            running.beating = group.create_task(generation.run())
            tasks = [group.create_task(run()) for run in (projection.redis.run, projection.run, charging.run)]
            tasks += [running.beating, group.create_task(lost_holds.watch(projection, generation))]
            assert await generation.ready(10)
            assert await projection.redis.wait_connected(10)
            running.tasks = tasks
            yield running
            for task in tasks:
                task.cancel()
    finally:
        await db.close()
