"""Each check of the books is seen red once, by a fault of its own, as a metric and as a line with a runbook."""

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg

from billing.books import Check, check_all, check_frequently, check_redis, read_results, record
from billing.rollups.columns import SUMS
from billing.rollups.compare import check_sums
from billing.rollups.fill import add_before, add_pending
from billing.seal import seal
from billing.stripe import sweep
from billing.values import Hold
from gigarouter.telemetry.book_checks import BookChecks
from store.ids import AccountId, wire
from tests.builders.billing import an_account
from tests.builders.stripe import Payments, payments
from tests.builders.values import a_payer
from tests.house.source import ROOT

HOUSE = "ledger_account_id = (SELECT id FROM ledger_accounts WHERE kind = '{}' AND account_id IS NULL)"
CREDIT = "kind = 'customer_credit' AND account_id = $1"
Plant = Callable[[Payments, asyncpg.Connection, AccountId], Awaitable[object]]


def sql(*statements: str) -> Plant:
    """What somebody does who owns the database; ``$1`` is the account."""

    async def plant(_: Payments, owner: asyncpg.Connection, account: AccountId) -> None:
        for statement in statements:
            await owner.execute(statement, *([account] if "$1" in statement else []))

    return plant


async def spoil_redis(p: Payments, _: asyncpg.Connection, account: AccountId) -> None:
    await p.billing.redis_command("HINCRBY", f"gr:{{{account.hex}}}", "bal", "5")


async def leave_a_hold(p: Payments, _: asyncpg.Connection, account: AccountId) -> None:
    assert isinstance(await p.billing.admit(a_payer(account), 1), Hold)
    await p.billing.make_overdue(account)


async def move_money_at_stripe(p: Payments, _: asyncpg.Connection, __: AccountId) -> None:
    p.world.transaction_of_unknown_kind(77)


async def spoil_sums(p: Payments, owner: asyncpg.Connection, account: AccountId) -> None:
    await add_pending(p.db)
    await add_before(p.db, within_s=60)
    yesterday = "date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' - interval '1 day'"
    columns = ", ".join(("account_id", "at", "key_id", *SUMS))
    values = f"$1, {yesterday}, gen_random_uuid(), {', '.join('1' for _ in SUMS)}"
    await owner.execute(f"INSERT INTO usage_by_key ({columns}) VALUES ({values})", account)
    await owner.execute(f"INSERT INTO usage_days (day, changes) VALUES (({yesterday} + interval '12 hours')::date, 1)")


async def stop_sealing(p: Payments, owner: asyncpg.Connection, _: AccountId) -> None:
    # Of another account: news of credit has an account loaded anew, at any time, and what is planted in it is gone.
    await an_account(p.db, 1)
    newest = "(SELECT id FROM entries ORDER BY id DESC LIMIT 1)"
    await owner.execute(f"UPDATE entries SET booked_at = now() - interval '1 hour' WHERE id = {newest}")


# In this order each fault turns its own check red, and none that is still green.
PLANTED: dict[Check, Plant] = {
    # It is repaired at the first look, and red until the next night.
    Check.USAGE_SUMS: spoil_sums,
    Check.STRIPE_IS_CLEARING: move_money_at_stripe,
    Check.SEAL_NOT_BEHIND: stop_sealing,
    Check.REDIS_IS_POSTGRES: spoil_redis,
    Check.HOLDS_NOT_OVERDUE: leave_a_hold,
    Check.DIFFERENCES_RESOLVED: sql(
        "INSERT INTO differences (id, scope, kind, object, amount_nano, message)"
        " VALUES (gen_random_uuid(), 'stripe', 'not_booked', 'txn_1', 7, 'tests')"
    ),
    Check.NUMBERS_WITHOUT_GAP: sql("INSERT INTO document_series VALUES ('shop', 'S-INV-2026', 1)"),
    Check.USAGE_IS_BOOKED: sql("UPDATE sealed_usage SET used_nano = used_nano + 1"),
    Check.PROVIDER_COST_EXPLAINED: sql("UPDATE sealed_usage SET used_cost_nano = used_cost_nano + 1"),
    # Sealed, and only in what it cost us: no other check reads it again.
    Check.USAGE_IS_LEDGER: sql(
        "UPDATE usage_events SET provider_cost_nano = provider_cost_nano + 1 WHERE account_id = $1"
    ),
    Check.USAGE_IN_MONTHS: sql(
        "INSERT INTO usage_events SELECT gen_random_uuid(), '2001-01-01', account_id, key_id, model_id, provider_id,"
        " endpoint_id, space, inputs, tokens, provider_tokens, price_id, nano_per_mtok, 0, 0, 0, 0, NULL, NULL, 1, 1"
        " FROM usage_events WHERE account_id = $1 LIMIT 1"
    ),
    Check.SEALED_SUMS: sql(
        f"UPDATE sealed_balances SET amount_nano = amount_nano + 1 WHERE {HOUSE.format('revenue')}",
        f"UPDATE sealed_balances SET amount_nano = amount_nano - 1 WHERE {HOUSE.format('provider_cost')}",
    ),
    Check.SUM_ZERO: sql(f"UPDATE sealed_balances SET amount_nano = amount_nano + 1 WHERE {HOUSE.format('revenue')}"),
    Check.CHAIN_WHOLE: sql("UPDATE entries SET note = 'x' WHERE account_id = $1 AND kind = 'usage'"),
    Check.ENTRIES_BALANCE: sql(
        "INSERT INTO postings SELECT e.id, 9, l.id, 5, NULL FROM entries e, ledger_accounts l"
        " WHERE l.kind = 'revenue' AND e.account_id = $1 AND e.kind = 'usage' LIMIT 1"
    ),
    Check.CREDIT_IS_GRANTS: sql(
        "UPDATE grants SET remaining_nano = remaining_nano - 1 WHERE account_id = $1 AND kind = 'purchased'"
    ),
    Check.CREDIT_IS_POSTINGS: sql(f"UPDATE ledger_accounts SET posted_nano = posted_nano + 1 WHERE {CREDIT}"),
    Check.DEBT_HAS_NO_CREDIT: sql(
        "UPDATE ledger_accounts SET posted_nano = -3 WHERE kind = 'customer_overdraft' AND account_id = $1"
    ),
}


def names_what_is_wrong(check: Check, message: str, account: AccountId) -> bool:
    """Whether a message says which account, entry or ledger account it is, where there is one."""
    of_account = {Check.CREDIT_IS_POSTINGS, Check.CREDIT_IS_GRANTS, Check.DEBT_HAS_NO_CREDIT, Check.USAGE_IS_LEDGER}
    of_account |= {Check.REDIS_IS_POSTGRES, Check.HOLDS_NOT_OVERDUE}
    others = {Check.ENTRIES_BALANCE: "entry_", Check.USAGE_IN_MONTHS: "req_", Check.NUMBERS_WITHOUT_GAP: "shop S-INV"}
    others |= {Check.SEALED_SUMS: "provider_cost", Check.SUM_ZERO: "what is sealed", Check.CHAIN_WHOLE: "batch 1"}
    return (wire(AccountId, account) if check in of_account else others.get(check, "")) in message


async def look(p: Payments, before: set[AccountId]) -> set[AccountId]:
    """Run every check as jobs does, and keep what was found; the accounts that differ from Redis now."""
    redis, differing = await check_redis(p.db, p.billing.projection, before)
    stripe = sweep.clearing_finding(await sweep.clearing_difference(p.context))
    findings = [*await check_frequently(p.db), *await check_all(p.db), *redis, stripe, await check_sums(p.db)]
    assert {finding.check for finding in findings} == set(Check), "every check is run by something"
    async with p.db.transaction() as tx:
        await record(tx, findings)
    return differing


async def red(p: Payments) -> set[Check]:
    async with p.db.transaction() as tx:
        return {result.check for result in await read_results(tx) if result.wrong}


async def metrics(p: Payments) -> dict[str, float]:
    """As ``/metrics`` has them."""
    checks = BookChecks(p.db)
    reading = asyncio.ensure_future(checks.run())
    async with asyncio.timeout(30):
        while not (samples := next(iter(checks.metrics())).samples):
            await asyncio.wait([reading], timeout=0.01)
    reading.cancel()
    return {sample.labels["check"]: sample.value for sample in samples}


def test_each_check_is_seen_red_by_a_fault_of_its_own(database_url: str, redis_url: str) -> None:
    assert set(PLANTED) == set(Check)
    runbook = (ROOT / "docs" / "ledger.md").read_text()
    assert [check for check in Check if f"| `{check.value}`" not in runbook] == [], "each has a line of what to do"

    async def story() -> None:
        async with payments(database_url, redis_url) as p:
            account = await an_account(p.db, 10_000)
            hold = await p.billing.admit(a_payer(account), 100)
            assert isinstance(hold, Hold)
            await p.billing.charge(hold, 90)
            await p.billing.settle()
            await seal(p.db)
            differing = await look(p, set())
            assert await red(p) == set()
            assert set((await metrics(p)).values()) == {0.0}
            owner = await asyncpg.connect(database_url)
            await owner.execute("SET session_replication_role = replica")
            seen: set[Check] = set()
            for check, plant in PLANTED.items():
                await plant(p, owner, account)
                # A commit in flight differs from Redis, too, so that counts from the second look on.
                differing = await look(p, await look(p, differing))
                seen.add(check)
                assert await red(p) == seen, check
                async with p.db.transaction() as tx:
                    [message] = [one.message for one in await read_results(tx) if one.check is check]
                assert names_what_is_wrong(check, message, account), message
            await owner.close()
            assert {name for name, value in (await metrics(p)).items() if value} == {check.value for check in Check}

    asyncio.run(story())
