"""A call belongs to the UTC month in which it occurred, and so does its entry: month by month usage is the ledger."""

import asyncio
import random
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from billing.credits import GrantKind
from billing.values import Hold
from store.ids import AccountId
from tests.builders.billing import Billing, an_account, billing, charge_as_older_release
from tests.builders.database import add_credit
from tests.builders.values import a_payer

# What the ledger has of a month's usage: what was earned, and what given credit made up for.
MONTHS = text("""
    WITH used AS (
        SELECT date_trunc('month', occurred_at AT TIME ZONE 'UTC')::date AS period, account_id, sum(cost_nano) AS cost,
            sum(charged_nano) AS charged, sum(promotional_nano) AS promotional, sum(goodwill_nano) AS goodwill,
            sum(provider_cost_nano) AS provider
        FROM usage_events GROUP BY 1, 2
    ), booked AS (
        SELECT e.period, e.account_id,
            sum(p.amount_nano) FILTER (WHERE l.kind IN ('revenue', 'promotional_contra', 'goodwill_expense')) AS cost,
            -sum(p.amount_nano) FILTER (WHERE l.kind = 'customer_credit') AS charged,
            sum(p.amount_nano) FILTER (WHERE l.kind = 'promotional_contra') AS promotional,
            sum(p.amount_nano) FILTER (WHERE l.kind = 'goodwill_expense') AS goodwill,
            sum(p.amount_nano) FILTER (WHERE l.kind = 'provider_payable') AS provider
        FROM entries e JOIN postings p ON p.entry_id = e.id JOIN ledger_accounts l ON l.id = p.ledger_account_id
        WHERE e.kind = 'usage' GROUP BY 1, 2
    )
    SELECT count(*) AS sums, count(DISTINCT period) AS months, coalesce(sum(used.charged), 0) AS charged,
        count(*) FILTER (WHERE (used.cost, used.charged, used.promotional, used.goodwill, used.provider)
            IS DISTINCT FROM (booked.cost, coalesce(booked.charged, 0), coalesce(booked.promotional, 0),
            coalesce(booked.goodwill, 0), booked.provider)) AS wrong
    FROM used FULL JOIN booked USING (period, account_id)
""")
# Each entry of calls has the calls of one month of one account.
MIXED = text("""
    SELECT count(*) FROM usage_events u JOIN entries e ON e.id = u.entry_id
    WHERE e.period <> date_trunc('month', u.occurred_at AT TIME ZONE 'UTC')::date OR e.account_id <> u.account_id
""")


def month_edge() -> datetime:
    """The first instant of next month, for which there is a table."""
    return (datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0) + timedelta(days=32)).replace(
        day=1
    )


async def held_calls(b: Billing, account: AccountId, amounts: list[int]) -> list[Hold]:
    holds = await asyncio.gather(*(b.admit(a_payer(account), amount) for amount in amounts))
    assert all(isinstance(hold, Hold) for hold in holds), holds
    return [hold for hold in holds if isinstance(hold, Hold)]


@pytest.mark.parametrize("seed", range(6))
def test_usage_and_ledger_of_a_month_are_one_sum(database_url: str, redis_url: str, seed: int) -> None:
    """Commits that bundle calls across the month's edge, of accounts with gifts, sold credit, and too little of it."""
    chance = random.Random(seed)

    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            edge, charges = month_edge(), []
            for _ in range(4):
                account = await an_account(b.db, 100_000)
                async with b.db.transaction() as tx:
                    for kind in chance.choices(list(GrantKind), k=3):
                        await add_credit(tx, account, chance.randrange(1, 3_000), kind)
                for hold in await held_calls(b, account, [chance.randrange(1, 500) for _ in range(60)]):
                    at = edge + timedelta(microseconds=chance.choice((-1, 0, -86_400_000_000, chance.randrange(9**12))))
                    charges.append(b.charge(hold, chance.randrange(hold.quote.amount_max + 1), at=at))
                # Credit that is gone before the calls are charged, as after a rebuild without their holds.
                if chance.random() < 0.5:
                    await charge_as_older_release(b.db, account, [(97_000, datetime.now(UTC))])
            chance.shuffle(charges)
            await asyncio.gather(*charges)
            assert b.charging.batches < len(charges) / 4, "commits bundle calls"
            async with b.db.transaction() as tx:
                found = (await tx.execute(MONTHS)).one()
                assert (found.wrong, found.months, await tx.scalar(MIXED)) == (0, 2, 0)
                assert found.sums == 8

    asyncio.run(story())


def test_an_older_release_beside_this_one_books_by_month_too(database_url: str, redis_url: str) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            edge, account = month_edge(), await an_account(b.db, 1_000)
            calls = [(10, edge - timedelta(seconds=1)), (20, edge), (30, edge - timedelta(days=1)), (4_000, edge)]
            await charge_as_older_release(b.db, account, calls)
            async with b.db.transaction() as tx:
                found = (await tx.execute(MONTHS)).one()
                assert (found.sums, found.wrong, found.charged) == (2, 0, 1_000)
                assert await tx.scalar(MIXED) == 0

    asyncio.run(story())


def test_what_is_not_usage_belongs_to_the_month_of_its_booking(database_url: str, redis_url: str) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            await an_account(b.db, 1_000)
            async with b.db.transaction() as tx:
                rows = (await tx.execute(text("SELECT kind, period, booked_at FROM entries"))).all()
            assert [(row.kind, row.period) for row in rows] == [
                ("grant", row.booked_at.date().replace(day=1)) for row in rows
            ]

    asyncio.run(story())
