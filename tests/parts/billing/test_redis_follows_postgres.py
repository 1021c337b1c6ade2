"""Redis follows Postgres by version: once per version, in any order, and never backwards."""

import asyncio
import itertools

import pytest
from sqlalchemy import text

from billing.credits import GrantKind, grant
from billing.money import NanoUSD
from billing.projection import APPLY, EndedHolds, account_key, limits_key
from billing.values import Denied, Hold
from store.ids import AccountId, RequestId, new_id
from tests.builders.billing import Billing, an_account, billing
from tests.builders.values import a_payer


async def apply(b: Billing, account: AccountId, version: int, delta: int) -> str:
    reply = await b.projection.call(
        APPLY, [account_key(account), limits_key(account)], [b.generation.number, version, delta, 0]
    )
    return bytes(reply).decode()


async def loaded(b: Billing, credit: int) -> AccountId:
    account = await an_account(b.db, credit)
    hold = await b.admit(a_payer(account), 1)
    assert isinstance(hold, Hold)
    b.admission.release(hold)
    return account


@pytest.mark.parametrize("order", list(itertools.permutations([2, 3, 4])))
def test_versions_count_once_in_whatever_order_they_come(
    database_url: str, redis_url: str, order: tuple[int, ...]
) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            account = await loaded(b, 1_000)
            for version in (*order, *order):
                await apply(b, account, version, -version)
            redis = await b.redis(account)
            assert (redis["bal"], redis["ver"]) == ("991", "4")
            assert not [field for field in redis if field.startswith("a:")]

    asyncio.run(story())


def test_a_load_from_before_a_version_that_was_applied_is_refused(database_url: str, redis_url: str) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            account = await loaded(b, 1_000)
            assert await apply(b, account, 2, -100) == "ok"
            # Postgres, as this load saw it, is still at version 1.
            assert await b.projection.refresh(account) == "newer"
            assert (await b.redis(account))["bal"] == "900"

    asyncio.run(story())


def test_a_version_applied_while_the_account_is_loading_is_not_lost(database_url: str, redis_url: str) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            account = await an_account(b.db, 1_000)
            # Applied before the load arrives: the load, from version 1, must not make it forgotten.
            assert await apply(b, account, 2, -100) == "ok"
            assert await b.projection.load(account, b.generation.number, 0) == "newer"
            assert "loaded" not in await b.redis(account)

    asyncio.run(story())


def test_another_redis_starts_a_generation_and_the_old_one_is_refused(database_url: str, redis_url: str) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            account = await loaded(b, 1_000)
            payer = a_payer(account)
            hold = await b.admit(payer, 900)
            assert isinstance(hold, Hold)
            before = b.generation.number
            await b.generation.on_connect("the identity of another server")
            assert b.generation.number == before + 1
            assert not b.generation.is_ready
            assert await b.generation.ready(10)
            # The hold is alive in the new generation too; a command of the old one is refused.
            assert isinstance(await b.admit(payer, 101), Denied)
            stale = await b.projection.call(
                APPLY, [account_key(account), limits_key(account)], [before, "", 0, 1, hold.id.hex]
            )
            assert stale == b"stale"
            assert (await b.redis(account))["held"] == "900"
            async with b.db.transaction() as tx:
                reason = await tx.scalar(text("SELECT reason FROM hot_generation"))
            assert reason == "another Redis, or one that was restarted"

    asyncio.run(story())


def test_nobody_is_admitted_before_every_living_process_has_said_its_holds(database_url: str, redis_url: str) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            async with b.db.transaction() as tx:
                # A process that lives, by its heartbeat, and has not asserted anything.
                await tx.execute(
                    text(
                        "INSERT INTO processes (id, kind, seen_at) VALUES (:id, 'serve', now() + interval '2 seconds')"
                    ),
                    {"id": new_id()},
                )
            await b.generation.on_connect("the identity of another server")
            assert not await b.generation.ready(2)
            # It is counted dead once its heartbeat is old enough.
            assert await b.generation.ready(10)

    asyncio.run(story())


def test_a_hold_that_redis_never_heard_of_can_be_freed_twice(database_url: str, redis_url: str) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            account = await loaded(b, 1_000)
            for _ in range(2):
                b.projection.end_holds([EndedHolds(account, (RequestId(new_id()),))])
            await b.projection.flush()
            redis = await b.redis(account)
            assert (redis["bal"], redis["held"]) == ("1000", "0")

    asyncio.run(story())


def test_a_hold_is_not_freed_while_its_charge_may_be_missing_from_redis(database_url: str, redis_url: str) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            account = await loaded(b, 1_000)
            hold = await b.admit(a_payer(account), 600)
            assert isinstance(hold, Hold)
            # A version that Postgres does not have yet, as this process sees it: no load can be made for now.
            assert await apply(b, account, 3, -1) == "ok"
            b.projection.end_holds([EndedHolds(account, (hold.id,), reload=True)])
            await asyncio.sleep(0.5)
            assert (await b.redis(account))["held"] == "600"
            # The load becomes possible: the hold goes.
            async with b.db.transaction() as tx:
                for number in (1, 2):
                    await grant(tx, account, NanoUSD(1), GrantKind.PURCHASED, source_ref=f"later {number}")
            redis = await b.redis(account)
            for _ in range(600):
                if redis["held"] == "0":
                    break
                await asyncio.sleep(0.05)
                redis = await b.redis(account)
            assert (redis["held"], redis["bal"], redis["ver"]) == ("0", "1002", "3")

    asyncio.run(story())


def test_a_hold_of_nothing_is_freed_with_the_paid_ones_of_its_commit(database_url: str, redis_url: str) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            account = await loaded(b, 1_000)
            payer = a_payer(account)
            holds = [await b.admit(payer, amount) for amount in (0, 400, 0, 100)]
            await asyncio.gather(*(b.charge(hold, hold.quote.amount_max) for hold in holds if isinstance(hold, Hold)))
            await b.projection.flush()
            redis = await b.redis(account)
            assert (redis["bal"], redis["held"], redis[f"c:{payer.key_id.hex}"]) == ("500", "0", "0")
            assert not [field for field in redis if field[:2] in ("h:", "k:", "d:")]
            assert b.charging.batches == 1

    asyncio.run(story())


def test_a_hold_that_cannot_be_read_keeps_neither_the_others_nor_their_charge(
    database_url: str, redis_url: str
) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            account = await loaded(b, 1_000)
            payer = a_payer(account)
            good, bad = await b.admit(payer, 300), await b.admit(payer, 200)
            assert isinstance(good, Hold)
            assert isinstance(bad, Hold)
            await b.redis_command("HSET", account_key(account), f"h:{bad.id.hex}", "nonsense")
            b.projection.end_holds([EndedHolds(account, (good.id, bad.id))])
            await asyncio.sleep(0.5)
            redis = await b.redis(account)
            assert (f"h:{good.id.hex}" in redis, redis["held"]) == (False, "200")
            # The alarm was raised for both and for the bad one alone, and then it was left to the reaper.
            assert b.projection.script_faults == 2
            assert f"d:{bad.id.hex}" in redis

            # Nor does a charge beside it go round for ever: its balance would come from Postgres.
            other = await b.admit(payer, 100)
            assert isinstance(other, Hold)
            b.projection.end_holds([EndedHolds(account, (other.id, bad.id), version=2, delta=-100)])
            await asyncio.sleep(1.0)
            assert b.projection.script_faults == 4
            await asyncio.sleep(0.5)
            assert b.projection.script_faults == 4

    asyncio.run(story())
