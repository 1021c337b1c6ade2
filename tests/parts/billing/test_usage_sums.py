"""Usage, however it is cut and grouped, sums to the ledger: calls at the edges of months and days, free calls too."""

import asyncio
import itertools
import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.money import NanoUSD
from billing.usage import GroupBy, UsageFilter, UsageSum, sum_buckets, sum_usage
from billing.values import Hold, Payer
from store.ids import AccountId, new_id
from tests.builders.billing import Billing, an_account, billing, usage_of
from tests.builders.values import a_payer

MICRO, DAY_S = timedelta(microseconds=1), 86_400
GROUPS: tuple[GroupBy, ...] = ("account", "key", "model", "day", "month", "provider")
BOOKED = """
SELECT coalesce(-sum(p.amount_nano), 0)::bigint FROM postings p JOIN ledger_accounts l ON l.id = p.ledger_account_id
JOIN entries e ON e.id = p.entry_id WHERE e.kind = 'usage' AND l.kind = 'customer_credit' AND l.account_id = :account
"""


def edges() -> list[datetime]:
    """This month's first instant, the next month's, and a midnight between; each with its neighbours."""
    first = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    following = (first + timedelta(days=32)).replace(day=1)
    # The month before has no partition of its own in a database of today.
    inner = [first, first + MICRO, first + timedelta(days=9), first + timedelta(days=9) - MICRO]
    return [*inner, following - MICRO, following, following + MICRO]


async def call(b: Billing, payer: Payer, cost: int, at: datetime) -> None:
    hold = await b.admit(payer, cost)
    assert isinstance(hold, Hold)
    usage = msgspec.structs.replace(usage_of(cost, at), cost=NanoUSD(cost), tokens=cost + 1)
    await b.charging.charge(hold, usage)


def total(rows: list[UsageSum]) -> int:
    return sum(row.charged + row.overdraft for row in rows)


@pytest.mark.parametrize("seed", range(2))
def test_every_cut_of_usage_sums_to_the_ledger(database_url: str, redis_url: str, seed: int) -> None:
    draw = random.Random(seed)

    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            payers = [a_payer(await an_account(b.db, 10**9)) for _ in range(3)]
            calls = [(draw.choice(payers), draw.choice((0, 0, 1, 7, 123_457)), draw.choice(edges())) for _ in range(60)]
            await asyncio.gather(*(call(b, *one) for one in calls))
            await b.settle()
            async with b.db.transaction() as tx:
                await check(tx, calls)

    asyncio.run(story())


async def check(tx: AsyncConnection, calls: list[tuple[Payer, int, datetime]]) -> None:
    first, last = min(edges()), max(edges()) + MICRO
    everything = UsageFilter(first, last)
    spent: Counter[AccountId] = Counter()
    by_month: Counter[str] = Counter()
    for payer, cost, at in calls:
        spent[payer.account_id] += cost
        by_month[f"{at:%Y-%m}"] += cost
    # The sums are the ledger's, however they are grouped.
    for account, cost in spent.items():
        assert await tx.scalar(text(BOOKED), {"account": account}) == cost
    for n in (1, 2, len(GROUPS)):
        for groups in itertools.combinations(GROUPS, n):
            rows = await sum_usage(tx, everything, groups)
            assert total(rows) == sum(spent.values())
            assert sum(row.calls for row in rows) == len(calls)
    months: dict[Any, int] = {row.month: row.charged for row in await sum_usage(tx, everything, ["month"])}
    assert months == by_month
    free = [cost for _, cost, _ in calls if cost == 0]
    (one, *_) = rows = await sum_usage(tx, everything, ["model"])
    assert (len(rows), one.free_calls, one.free_tokens) == (1, len(free), len(free))
    # Half-open spans that touch at any edge have every call once.
    for account, cost in spent.items():
        cuts = sorted({first, *edges(), last})
        spans = [UsageFilter(*pair, account_id=account) for pair in itertools.pairwise(cuts)]
        assert sum([total(await sum_usage(tx, span, ["key"])) for span in spans]) == cost
    buckets = await sum_buckets(tx, everything, DAY_S, ["key"], limit=1_000)
    found: Counter[int | None] = Counter()
    for row in buckets:
        found[row.bucket] += row.charged
    expected: Counter[int | None] = Counter()
    for _, cost, at in calls:
        expected[int(at.timestamp()) // DAY_S] += cost
    assert found == expected


SCANS = "SELECT coalesce(sum(seq_scan), 0) FROM pg_stat_user_tables WHERE relname LIKE 'usage_events_2%'"


def test_an_accounts_sum_reads_its_own_calls_alone(database_url: str, redis_url: str) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            account = AccountId(new_id())
            async with b.db.transaction() as tx:
                await tx.execute(
                    text("""
                        INSERT INTO usage_events (request_id, occurred_at, account_id, key_id, model_id, provider_id,
                            endpoint_id, space, inputs, tokens, price_id, nano_per_mtok, cost_nano, charged_nano,
                            overdraft_nano, provider_cost_nano, latency_ms, attempts)
                        SELECT gen_random_uuid(), now(), CASE WHEN n % 1000 = 0 THEN CAST(:account AS uuid)
                            ELSE gen_random_uuid() END, gen_random_uuid(), 'm', gen_random_uuid(), gen_random_uuid(),
                            's', 1, 1, gen_random_uuid(), 1, 1, 1, 0, 0, 1, 1 FROM generate_series(1, 100000) AS n
                    """),
                    {"account": account},
                )
            async with b.db.transaction() as tx:
                before = await tx.scalar(text(SCANS))
            async with b.db.transaction() as tx:
                now = datetime.now(UTC)
                which = UsageFilter(now - timedelta(days=1), now + timedelta(days=1), account_id=account)
                # Many times over: a statement that is prepared may get a plan for every value at once.
                for _ in range(8):
                    (row,) = await sum_usage(tx, which, ["account"])
                    assert row.calls == 100
                await tx.execute(text("SELECT pg_stat_force_next_flush()"))
            async with b.db.transaction() as tx:
                assert await tx.scalar(text(SCANS)) == before

    asyncio.run(story())
