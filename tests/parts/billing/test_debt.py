"""What an account owes is paid first by new credit; until then it has no credit, and is told what it owes."""

import asyncio
from datetime import UTC, datetime

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.books import check_frequently
from billing.credits import GrantKind, list_grants
from billing.debt import read_debt
from billing.expiry import pay_debts
from billing.money import NanoUSD
from billing.take_back import Reason, TakeBack, take_back
from billing.values import Denial, Denied, Hold
from store.ids import AccountId, new_id
from store.postgres import Database
from tests.builders.billing import Billing, an_account, billing, charge_as_older_release
from tests.builders.database import add_credit
from tests.builders.values import a_payer

LEDGER = text("""
    SELECT l.kind, sum(p.amount_nano)::bigint AS amount FROM postings p
    JOIN ledger_accounts l ON l.id = p.ledger_account_id GROUP BY 1 HAVING sum(p.amount_nano) <> 0
""")
GRANTS = text("SELECT kind, sum(remaining_nano)::bigint AS nano FROM grants WHERE account_id = :account GROUP BY 1")
NOW = datetime.now(UTC)

# An account with 100 of purchased credit is served for 170, then given credit. What the ledger has afterwards: positive
# is what we owe or earned, negative what we own or spent.
#
# given              | credit | overdraft | revenue | clearing | promotional | goodwill | left of the grant
AFTERWARDS = """
purchased       50   |      0 |       -20 |     170 |     -150 |           0 |        0 |     0
purchased       70   |      0 |         0 |     170 |     -170 |           0 |        0 |     0
purchased      100   |     30 |         0 |     170 |     -200 |           0 |        0 |    30
promotional     50   |      0 |       -20 |     120 |     -100 |           0 |        0 |     0
promotional    100   |     30 |         0 |     100 |     -100 |         -30 |        0 |    30
goodwill       100   |     30 |         0 |     100 |     -100 |           0 |      -30 |    30
"""
COLUMNS = ("customer_credit", "customer_overdraft", "revenue", "clearing", "promotional_contra", "goodwill_expense")

# One account, step by step: what it then has of each credit and owes, and what the house has earned and spent. Given
# credit pays for usage alone: of other debt nothing, whenever it was given. Credit that was bought pays that debt
# first. ``contra`` is that of promotional credit.
#
# step             | promotional | goodwill | purchased | line | debt | revenue | breakage | contra | disputes
STEPS = """
promotional     30 |          30 |        0 |         0 |    0 |    0 |       0 |        0 |    -30 |        0
purchased       10 |          30 |        0 |        10 |    0 |    0 |       0 |        0 |    -30 |        0
minimum         60 |          30 |        0 |         0 |    0 |   50 |       0 |       60 |    -30 |        0
job                |          30 |        0 |         0 |    0 |   50 |       0 |       60 |    -30 |        0
promotional     20 |          50 |        0 |         0 |    0 |   50 |       0 |       60 |    -50 |        0
purchased       15 |          50 |        0 |         0 |    0 |   35 |       0 |       60 |    -50 |        0
usage           90 |           0 |        0 |         0 |    0 |   75 |      40 |       60 |      0 |        0
promotional     25 |           0 |        0 |         0 |    0 |   50 |      15 |       60 |      0 |        0
goodwill        40 |           0 |       25 |         0 |    0 |   35 |       0 |       60 |      0 |        0
line            20 |           0 |       25 |         0 |    0 |   15 |       0 |       60 |      0 |        0
dispute         30 |           0 |        0 |         0 |    0 |   20 |       0 |       60 |      0 |       5
promotional      5 |           5 |        0 |         0 |    0 |   20 |       0 |       60 |     -5 |       5
usage           15 |           0 |        0 |         0 |    0 |   30 |      10 |       60 |      0 |       5
purchased       25 |           0 |        0 |         0 |    0 |    5 |      10 |       60 |      0 |       5
promotional     10 |           5 |        0 |         0 |    0 |    0 |       5 |       60 |     -5 |       5
"""


async def ledger(tx: AsyncConnection) -> dict[str, int]:
    sums = {row.kind: row.amount for row in await tx.execute(LEDGER)}
    return {kind: sums.get(kind, 0) for kind in COLUMNS}


async def give(db: Database, account: AccountId, amount: int, kind: GrantKind = GrantKind.PURCHASED) -> None:
    async with db.transaction() as tx:
        await add_credit(tx, account, amount, kind)


@pytest.mark.parametrize("line", AFTERWARDS.strip().splitlines())
def test_new_credit_pays_debt_first(database_url: str, redis_url: str, line: str) -> None:
    given, *expected = (cell.split() for cell in line.split("|"))
    kind, amount = GrantKind(given[0]), int(given[1])
    *sums, left = (int(cell[0]) for cell in expected)

    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            account = await an_account(b.db, 100)
            await charge_as_older_release(b.db, account, [(60, NOW), (60, NOW), (50, NOW)])
            await give(b.db, account, amount, kind)
            async with b.db.transaction() as tx:
                assert await ledger(tx) == dict(zip(COLUMNS, sums, strict=True))
                assert await read_debt(tx, account) == -sums[1]
                *_, grant = await list_grants(tx, account)
                assert (grant.amount, grant.remaining) == (amount, left)
            await b.settle()
            answer = await b.admit(a_payer(account), 40)
            assert isinstance(answer, Denied)
            # Credit that is there is named as ever; debt only where there is none.
            assert (answer.reason, answer.balance, answer.debt) == (Denial.CREDIT, sums[0], -sums[1])
            assert (await b.projection.balance(account)).debt == -sums[1]
            await b.assert_books_are_right()

    asyncio.run(story())


def test_given_credit_pays_for_usage_alone_on_every_path(database_url: str, redis_url: str) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            account = await an_account(b.db, 0)
            for number, line in enumerate(STEPS.strip().splitlines()):
                step, *expected = (cell.split() for cell in line.split("|"))
                await b.projection.refresh(account)
                await do_step(b, account, number, step[0], int(step[1]) if step[1:] else 0)
                async with b.db.transaction() as tx:
                    left = {row.kind: row.nano for row in await tx.execute(GRANTS, {"account": account})}
                    sums = {row.kind: row.amount for row in await tx.execute(LEDGER)}
                    found = [left.get(kind, 0) for kind in ("promotional", "goodwill", "purchased", "line")]
                    found.append(await read_debt(tx, account))
                kinds = ("revenue", "breakage", "promotional_contra", "disputes")
                assert [*found, *(sums.get(kind, 0) for kind in kinds)] == [int(cell[0]) for cell in expected], line
                assert [one for one in await check_frequently(b.db) if one.wrong] == []
                if step == ["purchased", "15"]:
                    await b.projection.refresh(account)
                    answer = await b.admit(a_payer(account), 60)
                    assert isinstance(answer, Denied)
                    assert (answer.balance, answer.debt) == (50, 35), (
                        "what is owed is named, since credit pays it first"
                    )

    asyncio.run(story())


async def do_step(b: Billing, account: AccountId, number: int, step: str, amount: int) -> None:
    """Charge, take or give by the path that the step names; then the minute job does what it does."""
    if step == "usage":
        await charge_as_older_release(b.db, account, [(amount, NOW)])
    elif step in ("minimum", "dispute"):
        wanted = TakeBack(
            account_id=account, reason=Reason(step), source=f"{step}:{number}", amount=NanoUSD(amount), owe_rest=True
        )
        await take_back(b.db, b.admission, b.projection, b.generation, wanted, wait_s=0.2)
    elif step != "job":
        await give(b.db, account, amount, GrantKind(step))
    await pay_debts(b.db, b.admission, b.projection, b.generation)


def test_calls_and_credit_at_once_leave_no_account_with_both(database_url: str, redis_url: str) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            account = await an_account(b.db, 1_000)
            hold = await b.admit(a_payer(account), 1_000)
            assert isinstance(hold, Hold)
            await charge_as_older_release(b.db, account, [(900, NOW)])
            works = [give(b.db, account, 70) for _ in range(10)]
            works += [charge_as_older_release(b.db, account, [(45, NOW), (45, NOW)]) for _ in range(10)]
            works.append(b.charge(hold, 1_000))
            await asyncio.gather(*works)
            async with b.db.transaction() as tx:
                sums = await ledger(tx)
            # 1,700 were given and 2,800 served.
            assert (sums["customer_credit"], sums["customer_overdraft"]) == (0, -1_100)
            await b.assert_books_are_right()

    asyncio.run(story())


def test_what_an_older_release_left_is_counted_and_paid_by_a_job(database_url: str, redis_url: str) -> None:
    """It opens accounts without a counted debt, and gives credit to accounts in debt."""

    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            owner = Database(database_url, as_owner=True)
            account, untouched = await an_account(b.db, 0), await an_account(b.db, 0)
            await charge_as_older_release(b.db, account, [(60, NOW)])
            async with owner.transaction() as tx:
                # As it was before this release: postings without a version, and no running debt.
                await tx.execute(text("SET session_replication_role = replica"))
                uncounted = (
                    "UPDATE ledger_accounts SET posted_nano = NULL, version = 0 WHERE kind = 'customer_overdraft'"
                )
                unversioned = (
                    "UPDATE postings p SET version = NULL FROM ledger_accounts l"
                    " WHERE l.id = p.ledger_account_id AND l.kind = 'customer_overdraft'"
                )
                for statement in (uncounted, unversioned):
                    await tx.execute(text(statement))
                await add_credit_as_before(tx, account, 100)
            await owner.close()
            async with b.db.transaction() as tx:
                assert await read_debt(tx, account) == 60
            assert await pay_debts(b.db, b.admission, b.projection, b.generation) == 1
            assert await pay_debts(b.db, b.admission, b.projection, b.generation) == 0
            async with b.db.transaction() as tx:
                sums = await ledger(tx)
                assert (sums["customer_credit"], sums["customer_overdraft"]) == (40, 0)
                assert [await read_debt(tx, a) for a in (account, untouched)] == [0, 0]
                counted = "SELECT count(*) FROM ledger_accounts WHERE kind LIKE 'customer%' AND posted_nano IS NULL"
                assert await tx.scalar(text(counted)) == 0
            await b.assert_books_are_right()

    asyncio.run(story())


async def add_credit_as_before(tx: AsyncConnection, account: AccountId, amount: int) -> None:
    facts = {"account": account, "amount": amount, "entry": new_id(), "grant": new_id()}
    for statement in (
        "INSERT INTO entries (id, kind, source_ref, account_id) VALUES (:entry, 'grant', 'before', :account)",
        "UPDATE ledger_accounts SET posted_nano = :amount, version = version + 1"
        " WHERE account_id = :account AND kind = 'customer_credit'",
        "INSERT INTO posted_balances SELECT id, version, posted_nano FROM ledger_accounts"
        " WHERE account_id = :account AND kind = 'customer_credit' AND :amount > 0",
        "INSERT INTO postings (entry_id, leg, ledger_account_id, amount_nano, version)"
        " SELECT :entry, 1, id, :amount, version FROM ledger_accounts"
        " WHERE account_id = :account AND kind = 'customer_credit'",
        "INSERT INTO postings (entry_id, leg, ledger_account_id, amount_nano) SELECT :entry, 2, id, -:amount"
        " FROM ledger_accounts WHERE kind = 'clearing'",
        "INSERT INTO grants (id, account_id, kind, amount_nano, remaining_nano, source_ref)"
        " VALUES (:grant, :account, 'purchased', :amount, :amount, 'before')",
    ):
        await tx.execute(text(statement.replace(":amount", "CAST(:amount AS bigint)")), facts)
