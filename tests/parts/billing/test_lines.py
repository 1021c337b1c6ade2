"""Postpaid is a credit line: drawn last, never past its limit, moved to unbilled, invoiced, paid, then free again."""

import asyncio
import random
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from billing.chart import LedgerKind
from billing.credits import GrantKind
from billing.debt import read_debt
from billing.lines import end_line, fit_lines, get_line, read_exposure, set_line
from billing.money import NanoUSD
from billing.overdue import SHRINK_DAYS, Exposure, lendable, misfit, reminders_due
from billing.receivables import AmountRefused, Receivable, accrue, bill, list_receivables, pay, remind
from billing.seal import seal
from billing.values import Denial, Denied, Hold
from store.ids import AccountId
from tests.builders.billing import Billing, an_account, billing, charge_as_older_release
from tests.builders.database import add_credit
from tests.builders.values import a_payer

SUMS = text("""
    SELECT l.kind, sum(p.amount_nano)::bigint AS amount FROM postings p
    JOIN ledger_accounts l ON l.id = p.ledger_account_id GROUP BY 1 HAVING sum(p.amount_nano) <> 0
""")


def now() -> datetime:
    return datetime.now(UTC)


async def lend(b: Billing, account: AccountId, limit: int) -> None:
    async with b.db.transaction() as tx:
        await set_line(tx, account, NanoUSD(limit), now())
    await b.projection.refresh(account)


async def exposure(b: Billing, account: AccountId) -> tuple[int, int, int, int]:
    async with b.db.transaction() as tx:
        found = await read_exposure(tx, account)
    return found.available, found.drawn, found.unbilled, found.billed


async def use(b: Billing, account: AccountId, cost: int, at: datetime | None = None) -> None:
    hold = await b.admit(a_payer(account), cost)
    assert isinstance(hold, Hold), hold
    await b.charge(hold, cost, at=at)


async def fit(b: Billing, at: datetime | None = None) -> int:
    return await fit_lines(b.db, b.admission, b.projection, b.generation, at or now(), wait_s=0.2)


async def invoice(b: Billing, account: AccountId, net: int, *, tax: int = 0, due: datetime | None = None) -> Receivable:
    async with b.db.transaction() as tx:
        return await bill(
            tx,
            account,
            NanoUSD(net),
            source_ref="F-1",
            due_on=(due or now()).date(),
            tax=NanoUSD(tax),
            jurisdiction="DE",
        )


async def sums(b: Billing) -> dict[str, int]:
    async with b.db.transaction() as tx:
        return {row.kind: row.amount for row in await tx.execute(SUMS)}


def test_a_line_from_its_opening_to_a_paid_invoice(database_url: str, redis_url: str) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            account = await an_account(b.db, 100)
            async with b.db.transaction() as tx:
                await add_credit(tx, account, 20, GrantKind.PROMOTIONAL)
            await lend(b, account, 500)
            # 20 promotional, 100 purchased, and 180 of the line.
            await use(b, account, 300)
            assert await exposure(b, account) == (320, 180, 0, 0)
            refused = await b.admit(a_payer(account), 321)
            assert isinstance(refused, Denied)
            assert refused.reason is Denial.CREDIT

            assert await accrue(b.db, now()) == 0, "only what is sealed is moved"
            await seal(b.db)
            assert [await accrue(b.db, now()) for _ in range(2)] == [1, 0]
            assert await exposure(b, account) == (320, 0, 180, 0)

            for amount in (0, 181):
                with pytest.raises(AmountRefused):
                    await invoice(b, account, amount)
            bill_of_180 = await invoice(b, account, 180, tax=34)
            with pytest.raises((IntegrityError, AmountRefused)):
                await invoice(b, account, 180)
            assert await exposure(b, account) == (320, 0, 0, 180)
            assert (await sums(b))["customer_receivable"] == -214

            async def paid(amount: int, source_ref: str) -> None:
                async with b.db.transaction() as tx:
                    await pay(tx, bill_of_180.id, NanoUSD(amount), now(), source_ref=source_ref)
                await b.projection.refresh(account)

            # A payment pays the tax first; the line is free again by the rest.
            await paid(40, "wire:1")
            assert await exposure(b, account) == (326, 0, 0, 174)
            with pytest.raises(IntegrityError):
                await paid(40, "wire:1")
            with pytest.raises(AmountRefused):
                await paid(175, "wire:2")
            await paid(174, "wire:2")
            assert await exposure(b, account) == (500, 0, 0, 0)
            await use(b, account, 500)
            assert await sums(b) == {
                "revenue": 780,
                "bank": -214,
                "tax_payable": 34,
                "clearing": -100,
                "credit_lines": -500,
                "provider_cost": -400,
                "provider_payable": 400,
            }
            await b.settle()
            await b.assert_books_are_right()

    asyncio.run(story())


def test_draws_are_unbilled_in_the_month_of_their_calls(database_url: str, redis_url: str) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            account = await an_account(b.db, 0)
            await lend(b, account, 500)
            begin = now().replace(day=1, hour=0, minute=0, second=0, microsecond=0)
            next_month = (begin + timedelta(days=32)).replace(day=1)
            await use(b, account, 30, begin)
            await use(b, account, 50, next_month)
            await seal(b.db)
            await accrue(b.db, now())
            async with b.db.transaction() as tx:
                rows = await tx.execute(text("SELECT period FROM entries WHERE kind = 'unbilled' ORDER BY 1"))
                assert list(rows.scalars()) == [begin.date(), next_month.date()]
            assert await exposure(b, account) == (420, 0, 80, 0)

    asyncio.run(story())


@pytest.mark.parametrize("seed", range(2))
def test_no_call_passes_the_limit_whatever_happens_to_the_line(database_url: str, redis_url: str, seed: int) -> None:
    """Sixty calls at a time in two processes, while the limit rises and falls and invoices are billed and paid."""
    chance = random.Random(seed)

    async def story() -> None:
        async with billing(database_url, redis_url) as one, billing(database_url, redis_url) as two:
            account = await an_account(one.db, 0)
            highest, paid, served, number = 5_000, 0, 0, 0
            await lend(one, account, highest)
            await two.projection.refresh(account)

            async def call(b: Billing) -> None:
                nonlocal served
                amount = chance.randrange(1, 900)
                hold = await b.admit(a_payer(account), amount)
                if isinstance(hold, Hold):
                    await b.charge(hold, amount)
                    served += amount

            for limit in (5_000, 700, 5_000, 2_000):
                await lend(one, account, limit)
                calls = [asyncio.ensure_future(call(b)) for b in (one, two) for _ in range(30)]
                await asyncio.gather(fit(one), fit(two), *calls)
                await fit(one)
                assert served - paid <= highest
                await seal(one.db)
                await accrue(one.db, now())
                available, drawn, unbilled, billed = await exposure(one, account)
                assert (drawn, billed, unbilled) == (0, 0, served - paid)
                assert available == max(0, limit - unbilled), "the grants follow the limit"
                if unbilled:
                    number += 1
                    async with one.db.transaction() as tx:
                        demanded = await bill(
                            tx, account, NanoUSD(unbilled), source_ref=f"F{number}", due_on=now().date()
                        )
                        await pay(tx, demanded.id, demanded.open, now(), source_ref=f"wire:{number}")
                    paid += unbilled
                assert await exposure(one, account) == (limit, 0, 0, 0)
            async with one.db.transaction() as tx:
                assert await tx.scalar(text("SELECT sum(overdraft_nano) FROM usage_events")) == 0
            assert served > 5_000
            await one.projection.refresh(account)
            await one.settle()
            await one.assert_books_are_right()

    asyncio.run(story())


def test_a_line_that_is_overdue_shrinks_and_comes_back_when_paid(database_url: str, redis_url: str) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            account = await an_account(b.db, 0)
            await lend(b, account, 500)
            await use(b, account, 100)
            await seal(b.db)
            await accrue(b.db, now())
            demanded = await invoice(b, account, 100, due=now())
            assert await fit(b) == 1
            late = now() + timedelta(days=SHRINK_DAYS)
            assert await fit(b, late - timedelta(days=1)) == 0
            assert (await fit(b, late), await exposure(b, account)) == (1, (0, 0, 0, 100))
            async with b.db.transaction() as tx:
                steps = [
                    [one.step for one in await remind(tx, demanded.booked_at + timedelta(days=days))]
                    for days in (0, 1, 2, 9, 9, SHRINK_DAYS)
                ]
                # Each once; of those that are due together the last.
                assert steps == [[], [1], [], [2], [], [3]]
                await pay(tx, demanded.id, NanoUSD(100), late, source_ref="wire:1")
                assert (await list_receivables(tx))[0].open == 0
            await b.projection.refresh(account)
            assert await exposure(b, account) == (500, 0, 0, 0)
            assert (await sums(b)).get("customer_receivable") is None
            async with b.db.transaction() as tx:
                await end_line(tx, account)
            assert (await fit(b), await exposure(b, account)) == (1, (0, 0, 0, 0))
            async with b.db.transaction() as tx:
                ended = await get_line(tx, account, now())
            assert ended is not None
            assert ended.ended_at is not None
            await b.settle()
            await b.assert_books_are_right()

    asyncio.run(story())


def test_a_line_pays_debt_and_that_is_drawn(database_url: str, redis_url: str) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            account = await an_account(b.db, 0)
            await charge_as_older_release(b.db, account, [(70, now())])
            await lend(b, account, 500)
            async with b.db.transaction() as tx:
                assert await read_debt(tx, account) == 0
            assert await exposure(b, account) == (430, 70, 0, 0)
            await seal(b.db)
            await accrue(b.db, now())
            assert (await sums(b))[LedgerKind.CUSTOMER_UNBILLED] == -70
            await b.settle()
            await b.assert_books_are_right()

    asyncio.run(story())


# limit | days overdue | available, owed | lent more or taken back
FITS = """
500 |  0 | 500   0 |    0
500 |  0 | 320 180 |    0
500 |  0 |   0   0 |  500
200 |  0 | 320 180 | -300
100 |  0 | 320 180 | -320
500 | 13 | 320 180 |    0
500 | 14 | 320 180 | -320
"""


@pytest.mark.parametrize("line", FITS.strip().splitlines())
def test_how_much_is_lent(line: str) -> None:
    limit, days, lent, expected = (cell.split() for cell in line.split("|"))
    available, owed = (NanoUSD(int(amount)) for amount in lent)
    exposed = Exposure(available, owed, NanoUSD(0), NanoUSD(0))
    assert misfit(lendable(NanoUSD(int(limit[0])), int(days[0])), exposed) == int(expected[0])


def test_reminders_come_before_the_line_shrinks() -> None:
    assert [reminders_due(days) for days in (-3, 0, 1, 6, 7, 30)] == [0, 0, 1, 1, 2, 3]
