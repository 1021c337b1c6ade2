"""Credit by the month comes once each, however many jobs give it; of credit that expires its owner is told before."""

import asyncio
from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from billing.credits import GrantKind, grant
from billing.expiry import expire_due, notice_due, notify_expiring
from billing.money import NanoUSD
from billing.schedules import add_schedule, end_schedule, give_due
from tests.builders.billing import Billing, an_account, billing

USD = 1_000_000_000
# Given on day 0, expires on day, today is day | which notice is due
NOTICES = """
0 | 100 |  39 | -
0 | 100 |  40 | 60
0 | 100 |  69 | 60
0 | 100 |  70 | 30
0 | 100 |  95 | 7
0 |  40 |   5 | -
0 |  40 |  10 | 30
0 |  30 |   0 | 30
0 |   5 |   1 | -
0 |   7 |   0 | 7
"""


def at(day: int) -> datetime:
    return datetime(2030, 1, 1, tzinfo=UTC) + timedelta(days=day)


@pytest.mark.parametrize("line", NOTICES.strip().splitlines())
def test_which_notice_is_due_is_this_table(line: str) -> None:
    given, expires, today, days = (cell.strip() for cell in line.split("|"))
    assert notice_due(at(int(given)), at(int(expires)), at(int(today))) == (None if days == "-" else int(days))


async def rows(b: Billing, statement: str) -> list[tuple[object, ...]]:
    async with b.db.transaction() as tx:
        return [tuple(row) for row in await tx.execute(text(statement))]


def test_each_month_is_given_once_and_expires_as_scheduled(database_url: str, redis_url: str) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            account = await an_account(b.db, 0)
            async with b.db.transaction() as tx:
                schedule = await add_schedule(
                    tx,
                    account,
                    GrantKind.PROMOTIONAL,
                    NanoUSD(5 * USD),
                    first_month=date(2030, 1, 1),
                    last_month=date(2030, 5, 1),
                    lasts_months=2,
                    note="partners",
                    actor="tests",
                )
            assert await give_due(b.db, at(-1)) == 0
            # Three processes at once; then nothing runs until April, when February's credit would be over.
            assert sum(await asyncio.gather(*(give_due(b.db, at(0)) for _ in range(3)))) == 1
            assert await give_due(b.db, at(20)) == 0
            assert await give_due(b.db, at(95)) == 2
            found = await rows(b, "SELECT right(source_ref, 7), amount_nano, expires_at FROM grants ORDER BY 1")
            assert found == [
                ("2030-01", 5 * USD, datetime(2030, 3, 1, tzinfo=UTC)),
                ("2030-03", 5 * USD, datetime(2030, 5, 1, tzinfo=UTC)),
                ("2030-04", 5 * USD, datetime(2030, 6, 1, tzinfo=UTC)),
            ]
            async with b.db.transaction() as tx:
                assert await end_schedule(tx, schedule.id, "tests")
                assert not await end_schedule(tx, schedule.id, "tests")
            assert await give_due(b.db, at(1_000)) == 0
            with pytest.raises(DBAPIError):
                await rows(b, "UPDATE grant_schedules SET next_month = '2030-02-01'")
            await b.settle()
            await b.assert_books_are_right()

    asyncio.run(story())


def test_credit_that_expires_is_told_of_thrice_and_then_taken(database_url: str, redis_url: str) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            account = await an_account(b.db, 0)
            now = b.db.clock.now()
            async with b.db.transaction() as tx:
                expires_at = now + timedelta(days=100)
                await grant(
                    tx, account, NanoUSD(5 * USD), GrantKind.PURCHASED, source_ref="contract", expires_at=expires_at
                )
                await grant(tx, account, NanoUSD(USD), GrantKind.PURCHASED, source_ref="for good")
            for day in (39, 40, 41, 70, 75, 93, 99, 99):
                await notify_expiring(b.db, now + timedelta(days=day, hours=1))
            told = await rows(b, "SELECT kind, facts->>'amount_usd', facts->>'days' FROM mails ORDER BY id")
            assert told == [("credit_expiring", "5.00", days) for days in ("60", "30", "7")]
            await b.settle()
            later = now + timedelta(days=101)
            assert await expire_due(b.db, b.admission, b.projection, b.generation, later) == 1
            assert await rows(b, "SELECT remaining_nano FROM grants ORDER BY remaining_nano") == [(0,), (USD,)]

    asyncio.run(story())
