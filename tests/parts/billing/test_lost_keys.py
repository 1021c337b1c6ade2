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


def test_an_account_that_went_back_in_time_looks_rich_to_no_process_that_has_seen_it_poorer(
    database_url: str, redis_url: str
) -> None:
    """Not for the second until its lost holds are found: the next call of such a process finds it."""

    async def story() -> None:
        async with billing(database_url, redis_url) as one, billing(database_url, redis_url) as other:
            for caller in (one, other):
                account = await an_account(one.db, 100)
                payer = a_payer(account)
                copies: dict[str, bytes | None] = {}
                for b, cost in ((one, 5), (other, 5), (one, 45), (other, 45)):
                    hold = await b.admit(payer, cost)
                    assert isinstance(hold, Hold)
                    await b.charge(hold, cost)
                    await b.settle()
                    copies = copies if cost == 45 else await copy(b, account, (0,))
                if caller is one:
                    assert isinstance(await caller.admit(payer, 1), Denied), "it has seen what the other spent"
                await put_back(one, copies)
                refused = await caller.admit(payer, 1)
                assert isinstance(refused, Denied), "90 are spent that Redis does not know of"
                assert refused.balance == 0
                await one.settle()

            # Back before a hold that is alive: its credit is no other call's.
            account = await an_account(one.db, 100)
            payer = a_payer(account)
            first = await one.admit(payer, 10)
            copies = await copy(one, account, (0,))
            live = await one.admit(payer, 90)
            assert isinstance(first, Hold)
            assert isinstance(live, Hold)
            await put_back(one, copies)
            assert isinstance(await one.admit(payer, 1), Denied)
            await one.charge(live, 90)
            await one.charge(first, 10)
            await one.settle()
            assert not await is_whole(one, account)
            await one.assert_books_are_right()

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
            assert isinstance(await b.admit(a_payer(account), 100), Hold), "all of the credit is free again"

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
