"""Each check of the books finds what it is for, whether that was sealed or not, and nothing in books that are right."""

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from sqlalchemy import text

from billing.books import NIGHTLY, Check, Finding, check_all, check_frequently, check_redis, read_results, record
from billing.credits import GrantKind
from billing.seal import seal
from billing.values import Hold
from store.ids import AccountId, new_id
from tests.builders.billing import Billing, an_account, billing, charge_as_older_release
from tests.builders.values import a_payer

CREDIT = "kind = 'customer_credit' AND account_id = $1"
# What somebody changes who owns the database and has taken its guards away -> the checks that find it.
WRONG = {
    f"UPDATE ledger_accounts SET posted_nano = posted_nano + 1 WHERE {CREDIT}": {
        "credit_is_postings",
        "credit_is_grants",
    },
    "UPDATE grants SET remaining_nano = remaining_nano - 1 WHERE account_id = $1 AND remaining_nano > 0": {
        "credit_is_grants"
    },
    "UPDATE usage_events SET cost_nano = cost_nano + 1, overdraft_nano = overdraft_nano + 1 WHERE account_id = $1": {
        "usage_is_ledger"
    },
    "INSERT INTO postings SELECT e.id, 9, l.id, 5, NULL FROM entries e, ledger_accounts l"
    " WHERE l.kind = 'revenue' AND e.account_id = $1 AND e.kind = 'grant'": {
        *("sum_zero", "entries_balance", "sealed_sums", "chain_whole"),
    },
    "UPDATE sealed_balances SET amount_nano = amount_nano + 1 WHERE ledger_account_id IN"
    f" (SELECT id FROM ledger_accounts WHERE {CREDIT})": {"credit_is_postings", "sealed_sums", "sum_zero"},
    "UPDATE ledger_accounts SET posted_nano = -3 WHERE kind = 'customer_overdraft' AND account_id = $1": {
        *("debt_has_no_credit", "credit_is_postings"),
    },
    "UPDATE entries SET note = 'x' WHERE account_id = $1": {"chain_whole"},
    "INSERT INTO usage_events SELECT gen_random_uuid(), '2001-01-01', account_id, key_id, model_id, provider_id,"
    " endpoint_id, space, inputs, tokens, provider_tokens, price_id, nano_per_mtok, 0, 0, 0, 0, NULL, NULL, 1, 1"
    " FROM usage_events WHERE account_id = $1 LIMIT 1": {"usage_in_months"},
}


async def books_of(b: Billing) -> AccountId:
    """An account with gifts and sold credit whose calls were charged, in several entries."""
    account = await an_account(b.db, 10_000)
    await an_account(b.db, 500, GrantKind.PROMOTIONAL)
    for cost in (100, 70):
        hold = await b.admit(a_payer(account), cost)
        assert isinstance(hold, Hold)
        await b.charge(hold, cost - 1)
    await charge_as_older_release(b.db, account, [(33, datetime.now(UTC))])
    await b.charging.drain()
    await b.projection.refresh(account)
    await b.settle()
    return account


async def wrong(b: Billing) -> set[str]:
    return {f.check.value for f in (*await check_frequently(b.db), *await check_all(b.db)) if f.wrong}


@pytest.mark.parametrize("is_sealed", [True, False], ids=["sealed", "not sealed"])
@pytest.mark.parametrize("statement", WRONG)
def test_each_check_finds_what_it_is_for(database_url: str, redis_url: str, statement: str, *, is_sealed: bool) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            account = await books_of(b)
            if is_sealed:
                assert await seal(b.db) == 5
            assert await wrong(b) == set()
            owner = await asyncpg.connect(database_url)
            await owner.execute("SET session_replication_role = replica")
            await owner.execute(statement, account)
            await owner.close()
            expected = set(WRONG[statement])
            if not is_sealed:
                expected -= {"chain_whole", "sealed_sums"}
                if "sealed_balances" in statement:
                    expected = set()
            elif "INSERT INTO postings" in statement:
                expected -= {"sum_zero"}
            assert await wrong(b) == expected

    asyncio.run(story())


def test_a_redis_that_is_not_postgres_is_wrong_the_second_time(database_url: str, redis_url: str) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            account = await books_of(b)
            findings, differing = await check_redis(b.db, b.projection, set())
            assert ([f.wrong for f in findings], differing) == ([0, 0], set())
            await b.redis_command("HINCRBY", f"gr:{{{account.hex}}}", "bal", "5")
            assert isinstance(await b.admit(a_payer(account), 1), Hold)
            await b.make_overdue(account)
            findings, differing = await check_redis(b.db, b.projection, differing)
            assert [f.wrong for f in findings] == [0, 1], "a commit in flight may look so"
            findings, _ = await check_redis(b.db, b.projection, differing)
            assert {f.check: f.wrong for f in findings} == {Check.REDIS_IS_POSTGRES: 1, Check.HOLDS_NOT_OVERDUE: 1}

    asyncio.run(story())


def test_a_seal_that_is_behind_is_told(database_url: str, redis_url: str) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            await books_of(b)
            owner = await asyncpg.connect(database_url)
            await owner.execute("SET session_replication_role = replica")
            await owner.execute("UPDATE entries SET booked_at = booked_at - interval '1 hour'")
            await owner.close()
            (behind,) = [f for f in await check_frequently(b.db) if f.check is Check.SEAL_NOT_BEHIND]
            assert 3_600 <= behind.wrong < 3_700
            await seal(b.db)
            assert await wrong(b) == set()

    asyncio.run(story())


def test_results_are_kept_and_grow_stale(database_url: str, redis_url: str) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            async with b.db.transaction() as tx:
                assert {result.wrong for result in await read_results(tx)} == {None}
                await record(tx, [Finding(Check.SUM_ZERO, 7, "too much"), Finding(Check.CHAIN_WHOLE, 0, "unsaid")])
            async with b.db.transaction() as tx:
                await record(tx, [Finding(Check.SUM_ZERO, 8, "too much")])
                await tx.execute(text("UPDATE book_checks SET checked_at = checked_at - interval '1 hour'"))
                results = {result.check: result for result in await read_results(tx)}
            assert (results[Check.SUM_ZERO].wrong, results[Check.SUM_ZERO].message) == (8, "too much")
            assert (results[Check.CHAIN_WHOLE].wrong, results[Check.CHAIN_WHOLE].message) == (0, "")
            now = datetime.now(UTC)
            assert not results[Check.SUM_ZERO].is_fresh(now)
            assert results[Check.CHAIN_WHOLE].is_fresh(now), "a nightly check is fresh for longer"
            assert Check.CHAIN_WHOLE in NIGHTLY

    asyncio.run(story())


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("cost_nano = cost_nano + 1, overdraft_nano = overdraft_nano + 1", {"usage_is_booked", "usage_is_ledger"}),
        ("provider_cost_nano = provider_cost_nano + 1", {"provider_cost_explained", "usage_is_ledger"}),
        ("latency_ms = latency_ms", set()),
    ],
    ids=["usage", "cost", "nothing"],
)
def test_usage_and_costs_are_compared_as_they_are_sealed(
    database_url: str, redis_url: str, change: str, expected: set[str]
) -> None:
    """Also those of a call that waited an hour for Postgres, which is not where its entry's other calls are."""

    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            account = await books_of(b)
            waited = await b.admit(a_payer(account), 50, request_id=new_id(datetime.now(UTC) - timedelta(hours=1)))
            assert isinstance(waited, Hold)
            await b.charge(waited, 40)
            owner = await asyncpg.connect(database_url)
            await owner.execute("SET session_replication_role = replica")
            await owner.execute(f"UPDATE usage_events SET {change} WHERE cost_nano IN (40, 33)")
            await owner.close()
            assert await seal(b.db) == 6
            assert await wrong(b) == expected
            async with b.db.transaction() as tx:
                sealed = (await tx.execute(text("SELECT entries, booked_nano FROM sealed_usage"))).one()
            assert (sealed.entries, sealed.booked_nano) == (4, 99 + 69 + 33 + 40)

    asyncio.run(story())
