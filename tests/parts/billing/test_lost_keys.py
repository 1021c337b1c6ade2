"""Whatever keys of an account Redis loses, or has back older than the rest: all is whole when holds are overdue."""

import asyncio

import pytest

from billing.projection import account_key
from billing.reaper import reap
from billing.values import Denied, Hold
from tests.builders.billing import an_account, billing
from tests.builders.values import a_payer
from tests.harness.lost_keys import KEYS, are_whole_again, copy, is_whole, put_back

SUBSETS = [(0,), (1,), (2,), (0, 1), (0, 1, 2)]


@pytest.mark.parametrize("fault", ["lost", "older"])
@pytest.mark.parametrize("subset", SUBSETS, ids=str)
def test_lost_and_older_keys_are_whole_again(
    database_url: str, redis_url: str, subset: tuple[int, ...], fault: str
) -> None:
    asyncio.run(are_whole_again(database_url, redis_url, subset, str(subset), is_older=fault == "older"))


def test_a_hold_that_went_back_in_time_with_its_account_is_held_again_within_seconds(
    database_url: str, redis_url: str
) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url) as one, billing(database_url, redis_url) as other:
            account = await an_account(one.db, 100)
            payer = a_payer(account)
            first = await other.admit(payer, 10)
            assert isinstance(first, Hold)
            copies = await copy(one, account, (0,))
            second = await one.admit(payer, 90)
            assert isinstance(second, Hold)
            await put_back(one, copies)
            await asyncio.sleep(3)
            refused = await other.admit(payer, 1)
            assert isinstance(refused, Denied)
            await one.charge(second, 90)
            await other.charge(first, 10)
            await one.settle()
            assert not await is_whole(one, account)

    asyncio.run(story())


def test_a_hold_without_an_instant_gets_the_latest_that_it_may_have(database_url: str, redis_url: str) -> None:
    """As a hold that a process of the release before made, whose set of instants is lost."""

    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            account = await an_account(b.db, 100)
            hold = await b.admit(a_payer(account), 60)
            assert isinstance(hold, Hold)
            b.projection.abandon(hold.id)
            await b.redis_command("HDEL", account_key(account), f"d:{hold.id.hex}")
            assert await reap(b.db, b.projection, 1) == 0
            await asyncio.sleep(1.1)
            assert await reap(b.db, b.projection, 1) == 1
            await b.projection.flush()
            assert not await is_whole(b, account)

    asyncio.run(story())


def test_the_schema_of_an_accounts_keys_is_all_here(database_url: str, redis_url: str) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            account = await an_account(b.db, 100)
            await b.admit(a_payer(account), 1)
            await reap(b.db, b.projection, 1)
            found = {bytes(key).decode() for key in await b.redis_command("KEYS", f"*{account.hex}*")}
            assert found <= {key(account) for key in KEYS}

    asyncio.run(story())
