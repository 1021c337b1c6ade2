"""A key's cap counts what calls in flight hold: however many come at once, together they never spend more."""

import asyncio
import random
from datetime import UTC, datetime

import pytest

from billing.money import NanoUSD
from billing.values import Cap, CapPeriod, Denial, Denied, Hold
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
