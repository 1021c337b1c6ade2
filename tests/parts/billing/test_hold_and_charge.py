"""Credit is held before a call and charged after it, exactly, whatever happens to Redis in between."""

import asyncio
import random
from datetime import UTC, datetime
from typing import Literal

import pytest
from sqlalchemy import text

from billing.errors import ChargeUnknown
from billing.money import NanoUSD
from billing.reaper import reap
from billing.values import Cap, CapPeriod, Denial, Denied, Hold, Limits, Quote
from store.ids import RequestId, new_id
from tests.builders.billing import PRICE, Billing, an_account, billing, usage_of
from tests.builders.values import a_payer

# Of a hold that has lost its instant.
LONGEST_S = 80.0


def test_a_call_is_held_charged_and_freed(database_url: str, redis_url: str) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            account = await an_account(b.db, 1_000)
            hold = await b.admit(a_payer(account), 400)
            assert isinstance(hold, Hold)
            assert (await b.redis(account))["held"] == "400"
            await b.charge(hold, 150)
            await b.settle()
            redis = await b.redis(account)
            assert (redis["bal"], redis["held"]) == ("850", "0")
            await b.assert_books_are_right()

    asyncio.run(story())


def test_two_hundred_concurrent_calls_never_overspend(database_url: str, redis_url: str) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url) as one, billing(database_url, redis_url) as two:
            account = await an_account(one.db, 37 * 10)
            payer = a_payer(account)

            async def call(b: Billing) -> bool:
                # The bound is four times the cost: those who only wait for held credit must be served in the end.
                hold = await b.admit(payer, 40)
                if isinstance(hold, Denied):
                    assert hold.reason in (Denial.CREDIT, Denial.CREDIT_HELD)
                    return False
                await asyncio.sleep(random.random() / 100)
                await b.charge(hold, 10)
                return True

            served = sum(await asyncio.gather(*(call(random.choice((one, two))) for _ in range(200))))
            await one.settle()
            async with one.db.transaction() as tx:
                left = await tx.scalar(text("SELECT posted_nano FROM ledger_accounts WHERE kind = 'customer_credit'"))
                rows = await tx.scalar(text("SELECT count(*) FROM usage_events"))
            assert rows == served
            assert left == 370 - 10 * served
            # A call is refused only when its bound of 40 does not fit what is left.
            assert 34 <= served <= 37
            await one.assert_books_are_right()

    asyncio.run(story())


def test_commits_of_the_same_accounts_never_wait_for_each_other_in_a_circle(database_url: str, redis_url: str) -> None:
    """Two processes whose commits have the same ten accounts, each in an order of its own, as calls happen to end."""

    async def story() -> None:
        async with billing(database_url, redis_url) as one, billing(database_url, redis_url) as other:
            accounts = [await an_account(one.db, 1_000) for _ in range(10)]
            for _ in range(5):
                charges = []
                for process in (one, other):
                    for account in random.sample(accounts, len(accounts)) * 2:
                        hold = await process.admit(a_payer(account), 7)
                        assert isinstance(hold, Hold)
                        charges.append(process.charge(hold, 7))
                await asyncio.gather(*charges)
            async with one.db.transaction() as tx:
                await tx.execute(text("SELECT pg_stat_clear_snapshot()"))
                deadlocks = text("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
                assert await tx.scalar(deadlocks) == 0
                assert await tx.scalar(text("SELECT sum(charged_nano) FROM usage_events")) == 10 * 5 * 4 * 7
            await one.assert_books_are_right()

    asyncio.run(story())


def test_a_hold_is_released_when_nothing_was_charged(database_url: str, redis_url: str) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            account = await an_account(b.db, 100)
            hold = await b.admit(a_payer(account), 100)
            assert isinstance(hold, Hold)
            b.admission.release(hold)
            again = await b.admit(a_payer(account), 100)
            assert isinstance(again, Hold)

    asyncio.run(story())


@pytest.mark.parametrize("fault", ["flushall", "delete"])
def test_a_redis_that_forgot_everything_is_rebuilt_with_the_live_holds(
    database_url: str, redis_url: str, fault: str
) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url) as one, billing(database_url, redis_url) as two:
            account = await an_account(one.db, 1_000)
            payer = a_payer(account)
            first, second = await one.admit(payer, 600), await two.admit(payer, 300)
            assert isinstance(first, Hold)
            assert isinstance(second, Hold)
            assert one.projection.redis is not None
            if fault == "flushall":
                await one.projection.redis.command("FLUSHALL")
            else:
                await one.projection.redis.command("DEL", f"gr:{{{account.hex}}}")
            third = await two.admit(payer, 101)
            assert isinstance(third, Denied), "the holds of both processes were forgotten"
            fourth = await two.admit(payer, 100)
            assert isinstance(fourth, Hold)
            await one.charge(first, 600)
            await two.charge(second, 1)
            two.admission.release(fourth)
            await one.settle()
            redis = await one.redis(account)
            assert (redis["bal"], redis["held"]) == ("399", "0")
            await one.assert_books_are_right()

    asyncio.run(story())


def test_an_overdue_hold_is_ended_once_and_a_late_charge_is_refused(database_url: str, redis_url: str) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            account = await an_account(b.db, 100)
            hold = await b.admit(a_payer(account), 100)
            assert isinstance(hold, Hold)
            assert await reap(b.db, b.projection, LONGEST_S) == 0
            await b.make_overdue(account)
            assert await reap(b.db, b.projection, LONGEST_S) == 1
            assert (await b.redis(account))["held"] == "0"
            with pytest.raises(ChargeUnknown):
                await b.charge(hold, 50)
            await b.assert_books_are_right()
            async with b.db.transaction() as tx:
                assert await tx.scalar(text("SELECT count(*) FROM usage_events")) == 0

    asyncio.run(story())


def test_a_charge_that_was_never_applied_is_found_by_the_reaper(database_url: str, redis_url: str) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            account = await an_account(b.db, 100)
            hold = await b.admit(a_payer(account), 60)
            assert isinstance(hold, Hold)
            b.projection.end_holds = lambda batch: None  # type: ignore[method-assign]  # the process dies before it applies
            await b.charge(hold, 50)
            del b.projection.end_holds
            assert await reap(b.db, b.projection, LONGEST_S) == 0
            await b.make_overdue(account)
            assert await reap(b.db, b.projection, LONGEST_S) == 1
            redis = await b.redis(account)
            assert (redis["bal"], redis["held"]) == ("50", "0")

    asyncio.run(story())


def test_the_same_charge_sent_twice_is_booked_once(database_url: str, redis_url: str) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            account = await an_account(b.db, 100)
            hold = await b.admit(a_payer(account), 60)
            assert isinstance(hold, Hold)
            used = usage_of(50)
            await b.charging.charge(hold, used)
            receipt = await b.charging.charge(hold, used)
            assert receipt is not None
            assert receipt.charged == 50
            await b.settle()
            assert (await b.redis(account))["bal"] == "50"
            await b.assert_books_are_right()

    asyncio.run(story())


@pytest.mark.parametrize("durability", ["commit", "memory"])
def test_a_hold_stays_until_its_charge_is_booked(
    database_url: str, redis_url: str, durability: Literal["commit", "memory"]
) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url, durability) as b:
            account = await an_account(b.db, 100)
            hold = await b.admit(a_payer(account), 60)
            assert isinstance(hold, Hold)
            charge = asyncio.ensure_future(b.charge(hold, 60))
            await asyncio.sleep(0)
            # The line's end, which comes before the commit where the answer does not wait for it.
            b.admission.release(hold)
            assert isinstance(await b.admit(a_payer(account), 60), Denied)
            await charge
            await b.settle()
            redis = await b.redis(account)
            assert (redis["bal"], redis["held"]) == ("40", "0")

    asyncio.run(story())


def test_a_key_cap_holds_within_its_period_and_starts_again_in_the_next(database_url: str, redis_url: str) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            account = await an_account(b.db, 10_000)
            payer = a_payer(account, cap=Cap(NanoUSD(100), CapPeriod.MONTH))
            today = datetime(2026, 11, 24, 12, tzinfo=UTC)
            next_month = datetime(2026, 12, 1, tzinfo=UTC)
            hold = await b.admit(payer, 100, now=today)
            assert isinstance(hold, Hold)
            await b.charge(hold, 100, at=today)
            await b.settle()
            denied = await b.admit(payer, 1, now=today)
            assert isinstance(denied, Denied)
            assert denied.reason is Denial.CAP
            assert denied.spent == 100
            assert isinstance(await b.admit(payer, 1, now=next_month), Hold)
            # A reload from Postgres knows the same.
            await b.projection.refresh(account)
            assert isinstance(await b.admit(payer, 1, now=today), Denied)

    asyncio.run(story())


def test_requests_tokens_and_concurrency_are_limited_per_key(database_url: str, redis_url: str) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            account = await an_account(b.db, 10_000)
            few = a_payer(account, limits=Limits(requests_per_minute=2, tokens_per_minute=10_000, concurrency=10))
            assert [type(await b.admit(few, 1)) for _ in range(2)] == [Hold, Hold]
            third = await b.admit(few, 1)
            assert isinstance(third, Denied)
            assert third.reason is Denial.REQUESTS
            assert 29_000 < third.retry_after_ms <= 30_000
            one = a_payer(account, limits=Limits(requests_per_minute=100, tokens_per_minute=10_000, concurrency=1))
            first = await b.admit(one, 1)
            assert isinstance(first, Hold)
            second = await b.admit(one, 1)
            assert isinstance(second, Denied)
            assert second.reason is Denial.CONCURRENCY
            b.admission.release(first)
            assert isinstance(await b.admit(one, 1), Hold)

    asyncio.run(story())


def test_a_call_that_waits_for_held_credit_is_counted_once(database_url: str, redis_url: str) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            payer = a_payer(await an_account(b.db, 1_000))
            first = await b.admit(payer, 900)
            assert isinstance(first, Hold)
            counts = 0

            async def admit(counted: int | None) -> Hold | Denied:
                bound = Quote(tokens_max=500, amount_max=NanoUSD(500), price=PRICE)

                async def recount() -> Quote | None:
                    nonlocal counts
                    counts += 1
                    return None if counted is None else Quote(counted, NanoUSD(counted), PRICE, exact=True)

                deadline_at = asyncio.get_running_loop().time() + 0.6
                return await b.admission.admit(
                    RequestId(new_id()), payer, bound, datetime.now(UTC), deadline_at, recount
                )

            # Nobody can count, the count is no help, and it is the bound itself: each waits its whole time in vain.
            assert [type(await admit(counted)) for counted in (None, 400, 500)] == [Denied] * 3
            assert counts == 3
            # A count that fits is what is held, and says so.
            held = await admit(100)
            assert isinstance(held, Hold)
            assert (held.quote.tokens_max, held.quote.exact, counts) == (100, True, 4)

    asyncio.run(story())
