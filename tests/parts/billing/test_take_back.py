"""Credit is taken back as far as it is free, again and again, and never what a call in flight holds."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from billing.credits import GrantKind, grant, list_grants
from billing.debt import read_debt
from billing.expiry import expire_due
from billing.money import NanoUSD
from billing.take_back import Reason, TakeBack, TakenBack, take_back
from billing.values import Denied, Hold
from store.ids import AccountId
from tests.builders.billing import Billing, an_account, billing
from tests.builders.database import add_credit
from tests.builders.values import a_payer
from tests.harness.event_loops import wait_until

SUMS = text("""
    SELECT l.kind, sum(p.amount_nano)::bigint AS amount FROM postings p
    JOIN ledger_accounts l ON l.id = p.ledger_account_id GROUP BY 1 HAVING sum(p.amount_nano) <> 0
""")


async def sums(b: Billing) -> dict[str, int]:
    async with b.db.transaction() as tx:
        return {row.kind: row.amount for row in await tx.execute(SUMS)}


async def take(b: Billing, account: AccountId, reason: Reason, amount: int, *, owe_rest: bool = False) -> TakenBack:
    wanted = TakeBack(account_id=account, reason=reason, source="tests:1", amount=NanoUSD(amount), owe_rest=owe_rest)
    return await take_back(b.db, b.admission, b.projection, b.generation, wanted, wait_s=0.3)


# Of 100 promotional, 20 goodwill, 300 purchased and 500 lent: what each reason takes of 1,000, and where it goes.
# reason  | taken | left: promotional, goodwill, purchased, line | to
TAKEN = """
refund    |   300 | 100  20   0  500 | refunds 300
dispute   |   420 |   0   0   0  500 | disputes 300
line      |   500 | 100  20 300    0 |
expiry    |   420 |   0   0   0  500 | breakage 300
minimum   |   800 | 100  20   0    0 | breakage 800
"""


@pytest.mark.parametrize("line", TAKEN.strip().splitlines())
def test_each_reason_takes_what_is_its_own(database_url: str, redis_url: str, line: str) -> None:
    reason, taken, left, goes_to = (cell.strip() for cell in line.split("|"))

    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            account = await an_account(b.db, 300)
            async with b.db.transaction() as tx:
                for kind, amount in ((GrantKind.PROMOTIONAL, 100), (GrantKind.GOODWILL, 20), (GrantKind.LINE, 500)):
                    await add_credit(tx, account, amount, kind)
            for _ in range(2):  # the same fact again takes nothing more
                assert await take(b, account, Reason(reason), 1_000) == TakenBack(
                    NanoUSD(int(taken)), NanoUSD(0), NanoUSD(0)
                )
            async with b.db.transaction() as tx:
                remaining = {g.kind: g.remaining for g in await list_grants(tx, account)}
            assert [remaining[kind] for kind in GrantKind] == [int(cell) for cell in left.split()]
            booked = await sums(b)
            assert booked["customer_credit"] == 920 - int(taken)
            if goes_to:
                kind_name, amount_text = goes_to.split()
                assert booked[kind_name] == int(amount_text)
            await b.settle()
            await b.assert_books_are_right()

    asyncio.run(story())


def test_what_a_call_in_flight_holds_is_not_taken(database_url: str, redis_url: str) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            account = await an_account(b.db, 1_000)
            hold = await b.admit(a_payer(account), 400)
            assert isinstance(hold, Hold)
            assert await take(b, account, Reason.DISPUTE, 1_500, owe_rest=True) == TakenBack(
                NanoUSD(600), NanoUSD(0), NanoUSD(400)
            )
            await b.charge(hold, 300)
            assert await take(b, account, Reason.DISPUTE, 1_500, owe_rest=True) == TakenBack(
                NanoUSD(700), NanoUSD(800), NanoUSD(0)
            )
            # Repeated, it neither takes nor owes anything more.
            again = await take(b, account, Reason.DISPUTE, 1_500, owe_rest=True)
            assert again == TakenBack(NanoUSD(700), NanoUSD(800), NanoUSD(0))
            async with b.db.transaction() as tx:
                assert await read_debt(tx, account) == 800
                overdraft = await tx.scalar(text("SELECT sum(overdraft_nano) FROM usage_events"))
            assert overdraft == 0, "the call was paid from its hold"
            # Credit that comes later pays the debt; what became debt is not taken of it a second time.
            async with b.db.transaction() as tx:
                await add_credit(tx, account, 2_000)
            await b.projection.refresh(account)
            again = await take(b, account, Reason.DISPUTE, 1_500, owe_rest=True)
            assert again == TakenBack(NanoUSD(700), NanoUSD(800), NanoUSD(0))
            async with b.db.transaction() as tx:
                assert [g.remaining for g in await list_grants(tx, account)] == [0, 1_200]
            await b.settle()
            await b.assert_books_are_right()

    asyncio.run(story())


def test_the_busiest_account_makes_way(database_url: str, redis_url: str) -> None:
    """Forty calls wait for credit at any time, in two processes; all of it is taken back, and each call was paid."""

    async def story() -> None:
        async with billing(database_url, redis_url) as one, billing(database_url, redis_url) as two:
            account = await an_account(one.db, 20_000)
            payer, served = a_payer(account), 0

            async def calls(b: Billing) -> None:
                nonlocal served
                while not isinstance(hold := await b.admit(payer, 1_000), Denied):
                    await asyncio.sleep(0.01)
                    await b.charge(hold, 10)
                    served += 1

            busy = [asyncio.ensure_future(calls(b)) for b in (one, two) for _ in range(20)]
            await asyncio.sleep(0.5)
            assert not any(task.done() for task in busy)
            wanted = TakeBack(account_id=account, reason=Reason.REFUND, source="tests:1", amount=NanoUSD(20_000))
            taken = await asyncio.wait_for(take_back(two.db, two.admission, two.projection, two.generation, wanted), 30)
            await asyncio.gather(*busy)
            # What calls held when the last turn began may have come free afterwards.
            assert taken.waiting == 0
            assert taken.taken == 20_000 - 10 * served
            async with one.db.transaction() as tx:
                assert await tx.scalar(text("SELECT sum(overdraft_nano) FROM usage_events")) == 0
            await one.settle()
            await one.assert_books_are_right()

    asyncio.run(story())


def test_a_hold_that_was_given_up_takes_nothing(database_url: str, redis_url: str) -> None:
    """Another process ended it as overdue, and its credit may be a call's: the credit is held and booked anew."""

    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            account = await an_account(b.db, 1_000)
            async with b.db.transaction() as tx:
                await tx.execute(text("SELECT FROM ledger_accounts WHERE account_id = :id FOR UPDATE"), {"id": account})
                taking = asyncio.ensure_future(take(b, account, Reason.REFUND, 1_000))
                await wait_until(lambda: len(b.projection.live) == 1)
                (held,) = b.projection.live
                async with b.db.transaction() as other:
                    release = "SELECT release_calls(ARRAY[CAST(:hold AS uuid)], ARRAY[CAST(:account AS uuid)])"
                    await other.execute(text(release), {"hold": held, "account": account})
            assert (await taking).taken == 1_000
            async with b.db.transaction() as tx:
                entries = (await tx.execute(text("SELECT source_ref FROM entries WHERE kind = 'refund'"))).scalars()
                assert list(entries) == ["tests:1:1"]
            await b.settle()
            await b.assert_books_are_right()

    asyncio.run(story())


def test_a_due_grant_expires_bit_by_bit_beside_calls(database_url: str, redis_url: str) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            account = await an_account(b.db, 0)
            later = datetime.now(UTC) + timedelta(hours=1)
            async with b.db.transaction() as tx:
                await grant(tx, account, NanoUSD(500), GrantKind.PURCHASED, source_ref="tests", expires_at=later)
            hold = await b.admit(a_payer(account), 200)
            assert isinstance(hold, Hold)
            after = later + timedelta(seconds=1)
            assert await expire_due(b.db, b.admission, b.projection, b.generation, after, wait_s=0.1) == 0
            assert (await sums(b))["breakage"] == 300
            await b.charge(hold, 150)
            assert await expire_due(b.db, b.admission, b.projection, b.generation, after, wait_s=0.1) == 1
            assert (await sums(b))["breakage"] == 350
            assert await expire_due(b.db, b.admission, b.projection, b.generation, after) == 0
            await b.settle()
            await b.assert_books_are_right()

    asyncio.run(story())
