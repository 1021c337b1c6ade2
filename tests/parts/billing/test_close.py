"""A month closes after a checklist; then nothing is booked into it, and no call is refused because of it."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from billing import books
from billing.chart import LedgerKind
from billing.close.checklist import CHECKLIST, Month, find_all
from billing.close.finish import advance
from billing.ledger import Posting, post
from billing.money import NanoUSD
from billing.periods import State, get_period, list_late, read_checks, read_pack, request_finish, sign_off, start
from billing.seal import verify
from tests.builders.billing import Billing, billing
from tests.builders.closing_month import IN_MONTH, LONGEST_S, MONTH, THIS_MONTH, charge, check_books, month_of_calls

# What no part of this release can find out: a person signs it off.
SIGNED = ("provider_invoices_in", "draws_billed", "documents_issued")


@contextmanager
def refused(words: str) -> Iterator[None]:
    with pytest.raises(DBAPIError, match=words):
        yield


async def ask(b: Billing) -> None:
    """Start to close the month, sign off what nobody checks yet, and ask to finish."""
    async with b.db.transaction() as tx:
        await start(tx, MONTH)
        for item in SIGNED:
            await sign_off(tx, MONTH, item, "tests", "cli:test")
        await request_finish(tx, MONTH)


async def turn(b: Billing, wait_s: float = 20.0) -> int:
    return await advance(b.db, datetime.now(UTC), LONGEST_S, wait_s=wait_s)


async def state(b: Billing) -> State:
    async with b.db.transaction() as tx:
        period = await get_period(tx, MONTH)
    return State.OPEN if period is None else period.state


async def papers(b: Billing) -> dict[str, list[list[Any]]]:
    async with b.db.transaction() as tx:
        return {table["name"]: table["rows"] for table in await read_pack(tx, MONTH)}


async def sums_of_usage(b: Billing) -> dict[str, int]:
    query = text("""
        SELECT to_char(e.period, 'YYYY-MM') AS period, sum(u.cost_nano)::bigint AS cost
        FROM usage_events u JOIN entries e ON e.id = u.entry_id GROUP BY 1
    """)
    async with b.db.transaction() as tx:
        return {row.period: row.cost for row in await tx.execute(query)}


def test_a_month_is_closed_and_a_late_call_is_in_the_open_one(database_url: str, redis_url: str) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            account = await month_of_calls(b, database_url)
            async with b.db.transaction() as tx:
                with refused("once it is over"):
                    await start(tx, THIS_MONTH.date())
            async with b.db.transaction() as tx:
                await start(tx, MONTH)
            assert await turn(b) == 0
            async with b.db.transaction() as tx:
                red = {name for name, (message, _) in (await read_checks(tx, MONTH)).items() if message}
            assert red == {"provider_invoices_in", "draws_accrued"}
            await ask(b)
            assert (await turn(b), await state(b)) == (1, State.CLOSED)

            # The next month's other bookings are none of it; nothing can be booked into it, nor before it.
            leg, contra = Posting(LedgerKind.ROUNDING, NanoUSD(1)), Posting(LedgerKind.CLEARING, NanoUSD(-1))
            for period in (MONTH, date(2020, 1, 1)):
                with refused("is closed"):
                    async with b.db.transaction() as tx:
                        await post(tx, "correction", f"tests:{period}", [leg, contra], period=period)
            for statement in (
                "UPDATE periods SET frozen_at = NULL",
                "UPDATE periods SET state = 'closing'",
                "DELETE FROM periods",
                "DELETE FROM late_entries",
                "UPDATE period_signoffs SET reason = 'x'",
                "ALTER TABLE entries DISABLE TRIGGER entries_open_month",
            ):
                with pytest.raises(DBAPIError):
                    async with b.db.transaction() as tx:
                        await tx.execute(text(statement))

            await charge(b, account, 7)
            assert await sums_of_usage(b) == {f"{MONTH:%Y-%m}": 500, f"{THIS_MONTH:%Y-%m}": 7}
            async with b.db.transaction() as tx:
                (late,) = await list_late(tx, MONTH)
            assert (late.cost, late.occurred_at, late.booked_period) == (7, IN_MONTH, THIS_MONTH.date())
            await check_books(b)
            async with b.db.transaction() as tx:
                assert {result.check for result in await books.read_results(tx) if result.wrong} == set()
                assert (await verify(tx)).wrong_batch is None
            await b.assert_books_are_right()

            found = await papers(b)
            trial = {row[1]: row[5] for row in found["trial_balance"]}
            # 50 of the 500 were given; the line paid 150, which is unbilled.
            assert (trial["revenue"], trial["customer_unbilled"], trial["provider_cost"]) == (
                "0.00000045",
                "-0.00000015",
                "-0.00000025",
            )
            assert found["revenue_by_model"][0][2:] == [2, 500, "0.00000005", "0.00000045"]
            (margin,) = found["margin_by_model_and_provider"]
            assert margin[3:] == [2, "0.00000045", "0.00000025", "0.0000002"]
            assert found["chain_head"][0][0] >= 1

    asyncio.run(story())


def test_what_was_begun_before_the_freeze_is_waited_for(database_url: str, redis_url: str) -> None:
    """A transaction that books into the month delays its close; the close that was cut off goes on where it was."""

    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            account = await month_of_calls(b, database_url)
            await ask(b)
            leg, contra = Posting(LedgerKind.ROUNDING, NanoUSD(1)), Posting(LedgerKind.CLEARING, NanoUSD(-1))
            async with b.db.transaction() as slow:
                await post(slow, "correction", "tests:slow", [leg, contra], period=MONTH)
                assert await turn(b, wait_s=0.2) == 0
                cut_off = asyncio.ensure_future(turn(b))
                await asyncio.wait_for(freeze(b), 60)
                cut_off.cancel()
                await asyncio.gather(cut_off, return_exceptions=True)
                # Frozen, and nobody at work: calls are charged all the same.
                assert (await state(b), await is_frozen(b)) == (State.CLOSING, True)
                await charge(b, account, 11)
            assert await turn(b) == 1
            assert await sums_of_usage(b) == {f"{MONTH:%Y-%m}": 500, f"{THIS_MONTH:%Y-%m}": 11}
            trial = {row[1]: row[5] for row in (await papers(b))["trial_balance"]}
            assert trial["rounding"] == "0.000000001", "what was begun before is in the papers"

    asyncio.run(story())


async def freeze(b: Billing) -> None:
    """Wait until the month is frozen."""
    while True:
        if await is_frozen(b):
            return


async def is_frozen(b: Billing) -> bool:
    async with b.db.transaction() as tx:
        period = await get_period(tx, MONTH)
    return period is not None and period.frozen_at is not None


def test_charges_race_with_the_close(database_url: str, redis_url: str) -> None:
    """Two processes charge calls of the month while two others close it: each call is booked once, on one side."""

    async def story() -> None:
        async with billing(database_url, redis_url) as one, billing(database_url, redis_url) as two:
            account = await month_of_calls(one, database_url)
            await two.projection.refresh(account)
            await ask(one)
            charged = 0

            async def calls(b: Billing) -> None:
                nonlocal charged
                for _ in range(15):
                    await charge(b, account, 3)
                    charged += 3

            async def close(b: Billing) -> None:
                while await state(b) is not State.CLOSED:
                    await turn(b)

            await asyncio.wait_for(
                asyncio.gather(*(calls(b) for b in (one, two) for _ in range(10)), close(one), close(two)), 120
            )
            await charge(one, account, 3)
            sums = await sums_of_usage(one)
            assert sum(sums.values()) == 500 + charged + 3
            async with one.db.transaction() as tx:
                late = sum(event.cost for event in await list_late(tx, MONTH))
            assert late == sums[f"{THIS_MONTH:%Y-%m}"]
            by_model = (await papers(one))["revenue_by_model"]
            assert sum(row[3] for row in by_model) == sums[f"{MONTH:%Y-%m}"], "the papers have what is in the month"
            await check_books(one)
            async with one.db.transaction() as tx:
                assert {result.check for result in await books.read_results(tx) if result.wrong} == set()
            await one.assert_books_are_right()

    asyncio.run(story())


def test_calls_that_may_be_in_flight_are_waited_for(database_url: str, redis_url: str) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            month = Month(MONTH, THIS_MONTH + timedelta(seconds=LONGEST_S - 1), LONGEST_S)
            async with b.db.transaction() as tx:
                found = await find_all(tx, month)
            assert "in flight until" in found["holds_ended"]
            assert "not checked lately" in found["books_green"]
            assert {item.name for item in CHECKLIST if not item.can_be_signed_off} == {"holds_ended", "chain_sealed"}

    asyncio.run(story())
