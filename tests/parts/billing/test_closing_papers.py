"""Each of the closing papers adds up to the ledger to the nano; items of the checklist say what is missing."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import asyncpg

from billing.chart import LedgerKind
from billing.close.checklist import Month, find_all
from billing.close.pack import NAMES, tables_of
from billing.close.pack_tables import PAPERS
from billing.ledger import Posting, post
from billing.money import NanoUSD
from billing.seal import seal
from tests.builders.billing import Billing, an_account, billing
from tests.builders.closing_month import IN_MONTH, LONGEST_S, MONTH, charge, check_books, month_of_calls

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


async def month_with_papers(b: Billing, url: str) -> asyncpg.Connection:
    """Calls before, with and after a profile, of one without; tax that was charged and given back; two documents."""
    account = await month_of_calls(b, url)
    nobody = await an_account(b.db, 1_000)
    await b.projection.refresh(nobody)
    await charge(b, nobody, 30)
    async with b.db.transaction() as tx:
        for number, nano in enumerate((190, -40)):
            legs = [Posting(LedgerKind.TAX_PAYABLE, NanoUSD(nano), detail="DE")]
            legs += [Posting(LedgerKind.CLEARING, NanoUSD(-nano))]
            await post(tx, "tax", f"tests:tax:{number}", legs, period=MONTH)
    await check_books(b)
    owner = await asyncpg.connect(url)
    await owner.execute("SET session_replication_role = replica")
    # The first call was made before there was a profile, the second one in France; the customer moved often.
    first = await owner.fetchval(
        "UPDATE usage_events SET occurred_at = occurred_at - interval '1 hour' WHERE cost_nano = 100"
        " RETURNING occurred_at"
    )
    for version, country, at in (
        (1, "DE", first + timedelta(minutes=1)),
        (2, "FR", first + timedelta(minutes=2)),
        (3, "IT", IN_MONTH + timedelta(hours=1)),
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
    return owner


def test_the_papers_add_up_to_the_nano_and_say_where_they_do_not(database_url: str, redis_url: str) -> None:
    """Countries are those of the profile of a call's time; each sum is the ledger's, and a planted fault is named."""

    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            owner = await month_with_papers(b, database_url)
            async with b.db.transaction(snapshot=True) as tx:
                tables, faults = await tables_of(tx, MONTH)
                # A page of one paper has what all of them have, of as few statements as a page may send: with that
                # of the stored papers, and that of where the month begins.
                assert [table for name in NAMES for table in (await tables_of(tx, MONTH, (name,)))[0]] == tables
            assert faults == []
            assert max(len(paper.reads) for paper in PAPERS) + 2 <= 6
            rows = {table.name: list(table.rows) for table in tables}
            month = f"{MONTH:%Y-%m}"
            assert [row[1:4] + row[5:] for row in rows["revenue_by_model_and_country"]] == [
                ("FR", month, 1, "0.00", "0.0000004"),
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
                    by_paper = [(await tables_of(tx, MONTH, (name,)))[1] for name in NAMES]
                assert any(fault in one for one in faults), (statement, faults)
                assert {one for found in by_paper for one in found} == set(faults), statement
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
            await seal(b.db)
            found = await messages()
            assert found["provider_invoices_in"] == ""
            assert found["documents_issued"] == "1 documents are wanted and not issued, such as: no seller"
            assert found["numbers_without_gap"] == "series with a gap: shop S-INV-2026"
            assert found["differences_resolved"].startswith("1 differences are open")
            await owner.execute("UPDATE differences SET gone_at = now()")
            await owner.execute(
                "INSERT INTO stripe_transactions (id, type, category, currency, amount_cents, fee_cents, net_cents,"
                " created_at) VALUES ('txn_1', 'payout', 'payout', 'usd', 1, 0, 1, $1)",
                IN_MONTH,
            )
            assert "nothing was compared with Stripe" in (await messages())["differences_resolved"]
            await owner.execute(
                "INSERT INTO reconciliations (id, kind, state, requested_by, ended_at)"
                " VALUES (gen_random_uuid(), 'stripe', 'done', 'tests', now())"
            )
            assert (await messages())["differences_resolved"] == ""
            await owner.close()

    asyncio.run(story())
