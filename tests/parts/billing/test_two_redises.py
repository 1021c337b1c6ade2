"""Two Redis alive at once, as in a failover while the old primary still answers: no credit is spent twice."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import redis
from sqlalchemy import text

from billing.errors import BillingUnavailable, ChargeRefused, ChargeUnknown
from billing.values import Denied, Hold
from store.embedded.redis_server import EmbeddedRedis
from store.ids import AccountId
from tests.builders.billing import Billing, an_account, billing
from tests.builders.values import a_payer

COST, CALLS = 10, 60
TOGETHER_S = 4.0


@pytest.fixture
def promoted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    """The new primary, empty as yet."""
    folder = tmp_path_factory.mktemp("r")
    server = EmbeddedRedis(folder, folder, folder / "redis.log")
    server.launch()
    server.wait_until_ready()
    yield server
    server.stop()


class Address:
    """Where clients find the primary, as a name or a virtual address that a failover moves."""

    def __init__(self, path: Path, url: str) -> None:
        self._path = path
        self.url = f"unix://{path}?db=0"
        self.leads_to(url)

    def leads_to(self, url: str) -> None:
        self._path.unlink(missing_ok=True)
        self._path.symlink_to(unquote(urlsplit(url).path))


def replicate(old: str, new: str) -> None:
    """What a replica has of its primary when it is promoted; the commands after this are not in it."""
    with redis.Redis.from_url(old) as source, redis.Redis.from_url(new) as target:
        for key in source.keys("*"):
            target.restore(key, 0, source.dump(key), replace=True)


async def overdraft(b: Billing) -> int:
    async with b.db.transaction() as tx:
        return int(await tx.scalar(text("SELECT coalesce(sum(overdraft_nano), 0) FROM usage_events")) or 0)


class Spending:
    """Calls of one account by one process until its credit is spent, however often Redis is rebuilt meanwhile."""

    def __init__(self, b: Billing, account: AccountId) -> None:
        self.b = b
        self.payer = a_payer(account)
        self.charged = 0

    async def run(self, until: float) -> None:
        while asyncio.get_running_loop().time() < until:
            try:
                hold = await self.b.admit(self.payer, COST)
                if not isinstance(hold, Hold):
                    return
                # The provider answers meanwhile, and generations go by.
                await asyncio.sleep(0.01)
                await self.b.charge(hold, COST)
            except (BillingUnavailable, ChargeRefused, ChargeUnknown):
                await asyncio.sleep(0.05)
                continue
            self.charged += 1

    async def end(self, live: list[Hold | Denied]) -> None:
        """Charge calls that were admitted before."""
        for hold in live:
            assert isinstance(hold, Hold)
            try:
                await self.b.charge(hold, COST)
            except (ChargeRefused, ChargeUnknown):
                continue
            self.charged += 1


async def check(b: Billing, account: AccountId, spendings: list[Spending]) -> None:
    """All credit is spent, and none twice."""
    await b.settle()
    charged = sum(spending.charged for spending in spendings)
    assert await overdraft(b) == 0
    assert ((await b.projection.balance(account)).balance, charged) == (0, CALLS)
    await b.assert_books_are_right()


@pytest.mark.parametrize("is_replica", [False, True], ids=["empty", "replica"])
def test_credit_is_spent_once_while_the_old_primary_still_answers_one_process(
    database_url: str, redis_url: str, promoted: EmbeddedRedis, tmp_path: Path, is_replica: bool
) -> None:
    address = Address(tmp_path / "s", redis_url)

    async def story() -> None:
        async with billing(database_url, address.url) as old:
            loop = asyncio.get_running_loop()
            account = await an_account(old.db, COST * CALLS)
            live = [await old.admit(a_payer(account), COST) for _ in range(4)]
            if is_replica:
                replicate(redis_url, promoted.url)
            address.leads_to(promoted.url)
            async with billing(database_url, address.url) as new:
                spendings = [Spending(b, account) for b in (old, new, old, new)]
                until = loop.time() + TOGETHER_S
                await asyncio.gather(*(spending.run(until) for spending in spendings), spendings[0].end(live))
                # The old one closes its connections at last.
                await old.redis_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "no")
                until = loop.time() + 30
                await asyncio.gather(*(spending.run(until) for spending in spendings))
                await check(new, account, spendings)

    asyncio.run(story())


def test_a_process_leaves_a_primary_that_was_made_a_replica(
    database_url: str, redis_url: str, promoted: EmbeddedRedis, tmp_path: Path
) -> None:
    """It keeps its connections and refuses writes: that is no reason to go on asking it."""
    address = Address(tmp_path / "s", redis_url)

    async def story() -> None:
        async with billing(database_url, address.url) as b:
            account = await an_account(b.db, COST * CALLS)
            spending = Spending(b, account)
            live = [await b.admit(a_payer(account), COST) for _ in range(4)]
            replicate(redis_url, promoted.url)
            await b.redis_command("REPLICAOF", "127.0.0.1", "1")
            try:
                await asyncio.sleep(0.5)
                address.leads_to(promoted.url)
                until = asyncio.get_running_loop().time() + 30
                await asyncio.gather(spending.run(until), spending.end(live))
                assert b.projection.redis is not None
                assert await b.projection.redis.command("DBSIZE") > 0
                await check(b, account, [spending])
            finally:
                with redis.Redis.from_url(redis_url) as old:
                    old.replicaof("NO", "ONE")

    asyncio.run(story())
