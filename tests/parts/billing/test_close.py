"""A month closes after a checklist; then nothing is booked into it, and no call is refused because of it."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from billing import books
from billing.chart import LedgerKind
from billing.close.checklist import CHECKLIST, Month, find_all
from billing.close.finish import advance
from billing.close.pack import tables_of
from billing.credits import GrantKind
from billing.ledger import Posting, post
from billing.lines import set_line
from billing.money import NanoUSD
from billing.periods import State, get_period, list_late, read_checks, read_pack, request_finish, sign_off, start
from billing.seal import seal, verify
from billing.values import Hold
from store.ids import AccountId
from tests.builders.billing import Billing, an_account, billing
from tests.builders.database import add_credit
from tests.builders.values import a_payer

LONGEST_S = 80.0
THIS_MONTH = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
IN_MONTH = THIS_MONTH - timedelta(days=3)
MONTH = IN_MONTH.date().replace(day=1)
# What no part of this release can find out: a person signs it off.
SIGNED = ("provider_invoices_in", "draws_billed", "documents_issued")


@contextmanager
def refused(words: str) -> Iterator[None]:
    with pytest.raises(DBAPIError, match=words):
        yield


async def month_of_calls(b: Billing, url: str) -> AccountId:
    """An account with all kinds of credit, whose calls of last month were charged, and books that were checked."""
    owner = await asyncpg.connect(url)
    await owner.execute("SELECT make_usage_months($1, 1)", MONTH)
    await owner.close()
    account = await an_account(b.db, 300)
    async with b.db.transaction() as tx:
        await add_credit(tx, account, 50, GrantKind.PROMOTIONAL)
        await set_line(tx, account, NanoUSD(10_000), datetime.now(UTC))
    await b.projection.refresh(account)
    for cost in (100, 400):
        await charge(b, account, cost)
    await check_books(b)
    return account


async def charge(b: Billing, account: AccountId, cost: int, at: datetime = IN_MONTH) -> None:
    hold = await b.admit(a_payer(account), cost)
    assert isinstance(hold, Hold), hold
    await b.charge(hold, cost, at=at)


async def check_books(b: Billing) -> None:
    await seal(b.db)
    await b.settle()
    differing, _ = await books.check_redis(b.db, b.projection, set())
    found = [*await books.check_frequently(b.db), *await books.check_all(b.db), *differing]
    # Checks of Stripe and of documents are run by jobs, which this has none of.
    found += [books.Finding(check, 0) for check in books.Check if check not in {one.check for one in found}]
    async with b.db.transaction() as tx:
        await books.record(tx, found)


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


FLOW = ("opening", "granted", "used", "paid_debt", "expired", "taken_back", "closing")
TAXED = {"net_cents": 1_000, "tax_cents": 190, "tax": {"category": "S", "rate": 1900, "jurisdiction": "DE"}}
PLANTED = {
    "UPDATE usage_events SET goodwill_nano = goodwill_nano + 1": "revenue by model",
    "UPDATE usage_events SET provider_cost_nano = provider_cost_nano + 1": "cost by model and provider",
    "UPDATE grants SET remaining_nano = remaining_nano + 1 WHERE kind = 'promotional'": "deferred revenue and",
    "UPDATE sealed_balances SET amount_nano = amount_nano + 1 WHERE ledger_account_id IN"
    " (SELECT id FROM ledger_accounts WHERE kind = 'tax_payable')": "the trial balance and zero",
    "UPDATE document_series SET last_number = last_number + 1": "the numbers of shop S-INV-2026 have a gap",
}


def test_the_papers_add_up_to_the_nano_and_say_where_they_do_not(database_url: str, redis_url: str) -> None:
    """Countries are those of the profile of a call's time; each sum is the ledger's, and a planted fault is named."""

    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            account = await month_of_calls(b, database_url)
            nobody = await an_account(b.db, 1_000)
            await b.projection.refresh(nobody)
            await charge(b, nobody, 30)
            async with b.db.transaction() as tx:
                tax = Posting(LedgerKind.TAX_PAYABLE, NanoUSD(190), detail="DE")
                await post(tx, "tax", "tests:tax", [tax, Posting(LedgerKind.CLEARING, NanoUSD(-190))], period=MONTH)
                back = Posting(LedgerKind.TAX_PAYABLE, NanoUSD(-40), detail="DE")
                await post(tx, "tax", "tests:back", [back, Posting(LedgerKind.CLEARING, NanoUSD(40))], period=MONTH)
            await check_books(b)
            owner = await asyncpg.connect(database_url)
            await owner.execute("SET session_replication_role = replica")
            # The first call was made before there was a profile, the second one in Germany; then the customer moved.
            first = await owner.fetchval(
                "UPDATE usage_events SET occurred_at = occurred_at - interval '1 hour' WHERE cost_nano = 100"
                " RETURNING occurred_at"
            )
            for version, country, at in (
                (1, "DE", first + timedelta(minutes=1)),
                (2, "FR", IN_MONTH + timedelta(hours=1)),
            ):
                facts = f'{{"address": {{"country": "{country}"}}}}'
                await owner.execute(
                    "INSERT INTO billing_profiles (account_id, version, facts, created_at, created_by)"
                    " VALUES ($1, $2, $3, $4, 'tests')",
                    *(account, version, facts, at),
                )
            for number, kind in ((1, "invoice"), (2, "credit_note")):
                await owner.execute(
                    "INSERT INTO documents (id, seller, series, number, name, kind, account_id, corrects, issued_on,"
                    " total_cents, facts, partial) SELECT gen_random_uuid(), 'shop', 'S-INV-2026', $1,"
                    " 'S-' || CAST($1 AS integer), $2, $3, CASE WHEN $2 = 'credit_note' THEN id END, $4, 1190,"
                    " convert_to($5, 'UTF8'), $2 = 'credit_note' FROM (SELECT 1) one LEFT JOIN documents ON true",
                    *(number, kind, account, IN_MONTH.date(), json.dumps({"draft": TAXED})),
                )
            await owner.execute("INSERT INTO document_series VALUES ('shop', 'S-INV-2026', 2)")

            async with b.db.transaction(snapshot=True) as tx:
                tables, faults = await tables_of(tx, MONTH)
            assert faults == []
            rows = {table.name: list(table.rows) for table in tables}
            month = f"{MONTH:%Y-%m}"
            assert [row[1:4] + row[5:] for row in rows["revenue_by_model_and_country"]] == [
                ("DE", month, 1, "0.00", "0.0000004"),
                ("unknown", month, 2, "0.00000005", "0.00000008"),
                ("", "", 0, "0.00", "0.00"),
            ]
            aged = {row[0]: dict(zip(FLOW, row[3:], strict=True)) for row in rows["deferred_revenue_by_age"]}
            # It was given after the month, so the month ends below nothing.
            used = {"used": "0.00000005", "closing": "-0.00000005"}
            assert aged["promotional"] == {**dict.fromkeys(FLOW, "0.00"), **used}
            assert rows["tax_report"] == [("DE", "0.00", "0.00000019", "0.00000004", "0.00000015")]
            assert rows["tax_on_documents"] == [("DE", "S", "19.00", 2, "0.00", "0.00")]
            assert [row[:2] + row[4:] for row in rows["document_register"]] == [
                ("S-1", "invoice", "", "10.00", "1.90", "11.90"),
                ("S-2", "credit_note", "S-1", "-10.00", "-1.90", "-11.90"),
            ]
            for statement, fault in PLANTED.items():
                async with b.db.transaction(snapshot=True) as tx:
                    assert (await tables_of(tx, MONTH))[1] == []
                async with owner.transaction():
                    await owner.execute(statement)
                async with b.db.transaction(snapshot=True) as tx:
                    _, faults = await tables_of(tx, MONTH)
                assert any(fault in one for one in faults), (statement, faults)
                undone = statement.replace("+ 1", "- 1")
                await owner.execute(undone)
            await owner.close()

    asyncio.run(story())


def test_items_of_documents_providers_and_differences_say_what_is_missing(database_url: str, redis_url: str) -> None:
    """Each is red with a reason that a person can act on, once, and green when that was done."""

    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            account = await month_of_calls(b, database_url)
            now = datetime.now(UTC)

            async def messages() -> dict[str, str]:
                async with b.db.transaction() as tx:
                    return await find_all(tx, Month(MONTH, now, LONGEST_S))

            owner = await asyncpg.connect(database_url)
            await owner.execute("SET session_replication_role = replica")
            found = await messages()
            assert found["provider_invoices_in"] == "0.00000025 USD of the cost of providers are on no invoice"
            green = ("documents_issued", "numbers_without_gap", "differences_resolved")
            assert [found[name] for name in green] == ["", "", ""]

            facts = json.dumps({"period": f"{MONTH}"})
            await owner.execute(
                "INSERT INTO document_requests (id, kind, source_ref, account_id, facts, state, fault, created_by)"
                " VALUES (gen_random_uuid(), 'statement', 'x', $1, $2, 'refused', 'no seller', 'tests')",
                *(account, facts),
            )
            await owner.execute("INSERT INTO document_series VALUES ('shop', 'S-INV-2026', 1)")
            await owner.execute(
                "INSERT INTO differences (id, scope, kind, object, amount_nano, message)"
                " VALUES (gen_random_uuid(), 'stripe', 'not_booked', 'txn_1', 7, 'tests')"
            )
            async with b.db.transaction() as tx:
                legs = [Posting(LedgerKind.PROVIDER_PAYABLE, NanoUSD(-250))]
                legs += [Posting(LedgerKind.PROVIDER_PAYABLE, NanoUSD(250), detail="prov_x")]
                await post(tx, "provider_invoice", "tests:invoice", legs, period=MONTH)
                clearing = Posting(LedgerKind.STRIPE_CLEARING, NanoUSD(-1))
                await post(tx, "fee", "tests:fee", [clearing, Posting(LedgerKind.BANK, NanoUSD(1))], period=MONTH)
            await seal(b.db)
            found = await messages()
            assert found["provider_invoices_in"] == ""
            assert found["documents_issued"] == "1 documents are wanted and not issued, such as: no seller"
            assert found["numbers_without_gap"] == "series with a gap: shop S-INV-2026"
            assert found["differences_resolved"].startswith("1 differences are open")
            await owner.execute("UPDATE differences SET gone_at = now()")
            assert "nothing was compared with Stripe" in (await messages())["differences_resolved"]
            await owner.execute(
                "INSERT INTO reconciliations (id, kind, state, requested_by, ended_at)"
                " VALUES (gen_random_uuid(), 'stripe', 'done', 'tests', now())"
            )
            assert (await messages())["differences_resolved"] == ""
            await owner.close()

    asyncio.run(story())
