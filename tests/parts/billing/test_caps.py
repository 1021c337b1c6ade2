"""Caps count what was spent and what calls in flight hold: however many come at once, they never spend more."""

import asyncio
import random
from datetime import UTC, datetime

import msgspec
import pytest
from sqlalchemy import text

from billing.cap_rules import ordered
from billing.errors import BillingUnavailable, ChargeRefused
from billing.money import NanoUSD
from billing.projection import account_key
from billing.values import Cap, CapPeriod, CapScope, Denial, Denied, Hold
from tests.builders.billing import Billing, an_account, billing
from tests.builders.values import a_payer


@pytest.mark.parametrize("period", list(CapPeriod))
def test_a_call_waits_for_the_cap_that_a_call_in_flight_holds(
    database_url: str, redis_url: str, period: CapPeriod
) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            payer, now = a_payer(await an_account(b.db, 10_000), cap=Cap(NanoUSD(100), period)), datetime.now(UTC)
            first = await b.admit(payer, 60, now=now)
            assert isinstance(first, Hold)
            waiting = asyncio.ensure_future(b.admit(payer, 60, now=now))
            await asyncio.sleep(0.3)
            assert not waiting.done(), "60 of the cap's 100 are held, so another 60 have no room"
            await b.charge(first, 30, at=now)
            second = await waiting
            assert isinstance(second, Hold), "30 are spent and nothing is held"
            await b.charge(second, 60, at=now)
            await b.charging.drain()
            third = await b.admit(payer, 60, now=now)
            assert isinstance(third, Denied)
            assert (third.reason, third.spent) == (Denial.CAP, 90)

    asyncio.run(story())


def test_a_hundred_calls_at_once_through_two_processes_stay_within_the_cap(database_url: str, redis_url: str) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url) as one, billing(database_url, redis_url) as two:
            payer = a_payer(await an_account(one.db, 1_000_000), cap=Cap(NanoUSD(200), CapPeriod.TOTAL))
            held = most = 0

            async def call(b: Billing) -> int:
                nonlocal held, most
                hold = await b.admit(payer, 10)
                if isinstance(hold, Denied):
                    assert hold.reason in (Denial.CAP, Denial.CAP_HELD)
                    return 0
                held += 10
                most = max(most, held)
                await asyncio.sleep(random.random() / 50)
                held -= 10
                await b.charge(hold, 10)
                return 10

            spent = sum(await asyncio.gather(*(call(random.choice((one, two))) for _ in range(100))))
            assert spent == 200, "all of the cap is spent, and nothing above it"
            assert 10 < most <= 200, "calls were in flight together"

    asyncio.run(story())


DAY, MONTH, TOTAL = CapPeriod.DAY, CapPeriod.MONTH, CapPeriod.TOTAL
# Calls of two keys of one account, one after another: at which instant, by which key, how much it holds and costs, and
# what comes of it: the cap that refuses it with what is spent of it, or nothing. The account's caps are 300 a month and
# 150 a day; the first key's 250 in total, 200 a month and 100 a day; the second has none.
CALLS = """
    2026-11-29T12:00  first   100  -
    2026-11-29T23:59  first     1  key day 100
    2026-11-29T23:59  second   51  account day 100
    2026-11-29T23:59  second   50  -
    2026-11-30T00:00  first    90  -
    2026-11-30T00:00  first    11  key month 190
    2026-11-30T12:00  second   61  account month 240
    2026-11-30T12:00  second   60  -
    2026-11-30T23:59  first     1  account month 300
    2026-12-01T00:00  first    61  key total 190
    2026-12-01T00:00  first    60  -
    2026-12-01T12:00  second   91  account day 60
    2026-12-01T12:00  second   90  -
    2026-12-02T00:00  first     1  key total 250
    2026-12-02T00:00  second  150  -
"""


def test_each_cap_of_a_key_and_of_its_account_refuses_in_its_own_period(database_url: str, redis_url: str) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            account = await an_account(b.db, 10_000)
            shared = [Cap(NanoUSD(amount), period, CapScope.ACCOUNT) for amount, period in ((300, MONTH), (150, DAY))]
            own = [Cap(NanoUSD(amount), period) for amount, period in ((100, DAY), (250, TOTAL), (200, MONTH))]
            payers = {
                "first": a_payer(account, caps=ordered((*own, *shared))),
                "second": a_payer(account, caps=ordered(shared)),
            }
            for number, line in enumerate(CALLS.strip().splitlines()):
                at, key, amount, outcome = line.split(maxsplit=3)
                now = datetime.fromisoformat(f"{at}:00+00:00")
                result = await b.admit(payers[key], int(amount), now=now)
                if isinstance(result, Hold):
                    await b.charge(result, int(amount), at=now)
                    await b.settle()
                    assert outcome == "-", line
                    # What Redis adds up and what Postgres has of it all are the same.
                    if number % 4:
                        await b.projection.refresh(account)
                else:
                    assert result.reason is Denial.CAP
                    assert result.cap is not None, line
                    assert f"{result.cap.scope.value} {result.cap.period.value} {result.spent}" == outcome, line
                    assert (await b.redis(account))["held"] == "0", "a refusal holds nothing"

    asyncio.run(story())


def test_a_cap_that_comes_or_changes_while_a_call_is_in_flight_counts_it_and_what_was_spent(
    database_url: str, redis_url: str
) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            free = a_payer(await an_account(b.db, 10_000))
            now = datetime.now(UTC)
            spent = await b.admit(free, 40, now=now)
            assert isinstance(spent, Hold)
            await b.charge(spent, 40, at=now)
            in_flight = await b.admit(free, 30, now=now)
            assert isinstance(in_flight, Hold)
            b.deadline_s = 0.1
            for period in CapPeriod:
                for scope in CapScope:
                    # 40 are spent and 30 held, of which Redis knows though there was no cap: 100 leave 30.
                    capped = msgspec.structs.replace(free, caps=(Cap(NanoUSD(100), period, scope),))
                    denied = await b.admit(capped, 31, now=now)
                    assert isinstance(denied, Denied)
                    assert (denied.reason, denied.cap, denied.spent) == (Denial.CAP_HELD, capped.caps[0], 40)
                    fits = await b.admit(capped, 30, now=now)
                    assert isinstance(fits, Hold)
                    b.admission.release(fits)
                    lowered = msgspec.structs.replace(free, caps=(Cap(NanoUSD(39), period, scope),))
                    none_left = await b.admit(lowered, 1, now=now)
                    assert isinstance(none_left, Denied)
                    assert (none_left.reason, none_left.spent) == (Denial.CAP, 40)
            await b.charge(in_flight, 30, at=now)

    asyncio.run(story())


def test_an_account_that_an_older_release_loaded_learns_what_it_spent(database_url: str, redis_url: str) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            account = await an_account(b.db, 10_000)
            payer, now = a_payer(account, caps=(Cap(NanoUSD(100), DAY, CapScope.ACCOUNT),)), datetime.now(UTC)
            hold = await b.admit(payer, 70, now=now)
            assert isinstance(hold, Hold)
            await b.charge(hold, 70, at=now)
            await b.settle()
            fields = [name for name in await b.redis(account) if name.startswith("s::")]
            assert len(fields) == 3
            await b.redis_command("HDEL", account_key(account), *fields)
            denied = await b.admit(payer, 40, now=now)
            assert isinstance(denied, Denied)
            assert (denied.reason, denied.spent) == (Denial.CAP, 70)

    asyncio.run(story())


def test_two_processes_keep_the_cap_of_an_account_whose_redis_is_lost(database_url: str, redis_url: str) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url) as one, billing(database_url, redis_url) as two:
            account = await an_account(one.db, 1_000_000)
            caps = tuple(Cap(NanoUSD(200), period, CapScope.ACCOUNT) for period in CapPeriod)
            payers = [a_payer(account, caps=ordered(caps)) for _ in range(3)]

            async def call(b: Billing, number: int) -> int:
                if number == 20:
                    await b.redis_command("DEL", account_key(account))
                hold = await b.admit(random.choice(payers), 10)
                if isinstance(hold, Denied):
                    assert hold.reason in (Denial.CAP, Denial.CAP_HELD)
                    return 0
                await asyncio.sleep(random.random() / 20)
                await b.charge(hold, 10)
                return 10

            spent = await asyncio.gather(
                *(call(random.choice((one, two)), i) for i in range(60)), return_exceptions=True
            )
            faults = [fault for fault in spent if isinstance(fault, BaseException)]
            assert all(isinstance(fault, BillingUnavailable | ChargeRefused) for fault in faults), faults
            async with one.db.transaction() as tx:
                of_keys = (await tx.execute(_SPENT, {"account": account})).one()
            assert max(of_keys) == min(of_keys) <= 200
            for _ in range(20 - of_keys[0] // 10):
                hold = await two.admit(payers[0], 10)
                assert isinstance(hold, Hold)
                await two.charge(hold, 10)
            assert isinstance(await one.admit(payers[1], 1), Denied)

    asyncio.run(story())


_SPENT = text("""
    SELECT coalesce(sum(spent_nano) FILTER (WHERE period = 'total'), 0)::bigint,
        coalesce(sum(spent_nano) FILTER (WHERE length(period) = 7), 0)::bigint,
        coalesce(sum(spent_nano) FILTER (WHERE length(period) = 10), 0)::bigint
    FROM key_spend WHERE account_id = :account
""")
