"""Invoices of drawn credit are collected at Stripe: once, with our number and total, and for no more than is owed."""

from datetime import UTC, datetime

import pytest

from billing.documents.issue import issue_waiting
from billing.documents.render import Renderer
from billing.documents.requests import request_credit_note
from billing.lines import get_line, read_exposure
from billing.money import NanoUSD
from billing.receivables import pay, write_off
from billing.reconciliation import stripe_run
from billing.stripe.collection_rules import CollectionStatus
from billing.stripe.collections import retry_collection
from store.ids import AccountId
from tests.builders.billed_month import BY, add_seller, make_month
from tests.builders.collected import (
    a_collected_invoice,
    a_postpaid_month,
    adjust,
    at_stripe,
    collection_of,
    issue_invoice,
    receivable_of,
)
from tests.builders.stripe import CENT, Payments, run_story
from tests.harness.stripe_server import Fault
from tests.harness.stripe_world import fee_of

NOW = datetime.now(UTC)


async def begin(p: Payments) -> None:
    await make_month(p.db)
    await add_seller(p.db)


async def reviews(p: Payments) -> list[tuple[object, ...]]:
    return await p.rows("SELECT cause, subject LIKE 'collection:%' FROM payment_reviews ORDER BY opened_at")


async def available(p: Payments, account: AccountId) -> int:
    async with p.db.transaction() as tx:
        return (await read_exposure(tx, account)).available // CENT


def test_an_invoice_is_sent_with_our_number_and_paid_once_and_the_line_is_free(
    database_url: str, redis_url: str, renderer: Renderer
) -> None:
    async def story(p: Payments) -> None:
        await begin(p)
        stored, invoice = await a_collected_invoice(p, renderer, 1_000)
        account, name = stored.account_id, stored.document.name
        assert (invoice["number"], invoice["status"], invoice["collection_method"]) == (name, "open", "send_invoice")
        assert [line["amount"] for line in invoice["lines"]["data"]] == [1_000, 190]
        assert invoice["total"] == stored.document.draft.total_cents == 1_190
        due_on = datetime.fromtimestamp(invoice["due_date"], UTC).date()
        assert due_on == stored.document.draft.due_on
        customer = p.world.find("customer", invoice["customer"])
        assert (customer["name"], customer["address"]["country"]) == ("Customer AG", "DE")
        assert p.world.sent == [invoice["id"]]
        before = await available(p, account)
        p.world.pay_on_page(invoice["id"])
        # Each event twice and backwards, then as lists tell it.
        await p.hear([*reversed(p.world.events), *p.world.events])
        await p.catch_up()
        await adjust(p)
        assert (await collection_of(p, stored)).status is CollectionStatus.PAID
        assert (await receivable_of(p, stored)).open == 0
        assert await available(p, account) == before + 1_000
        p.world.pay_out(1_190 - fee_of(1_190))
        await p.assert_right()
        sums = await p.sums()
        assert sums.get("customer_receivable", 0) == sums.get("stripe_clearing", 0) == 0
        assert (sums["bank"], sums["stripe_fees"]) == (-(1_190 - fee_of(1_190)), -fee_of(1_190))
        found = (await stripe_run.reconcile(p.context, settle_s=0.0)).found
        assert list(found) == []
        assert await reviews(p) == []

    run_story(database_url, redis_url, story)


def test_what_is_credited_paid_elsewhere_or_given_up_is_demanded_no_more(
    database_url: str, redis_url: str, renderer: Renderer
) -> None:
    async def story(p: Payments) -> None:
        await begin(p)
        partly, voided, at_bank, given_up = [(await a_collected_invoice(p, renderer, 1_000))[0] for _ in range(4)]
        async with p.db.transaction() as tx:
            await request_credit_note(tx, partly.account_id, partly.id, "an hour of errors", BY, net_cents=200)
            await request_credit_note(tx, voided.account_id, voided.id, "wrong address", BY)
        await issue_waiting(p.db, renderer)
        demands = {one.id: (await receivable_of(p, one)) for one in (at_bank, given_up)}
        async with p.db.transaction() as tx:
            await pay(tx, demands[at_bank.id].id, demands[at_bank.id].open, NOW, source_ref="bank:1")
            await write_off(tx, demands[given_up.id].id, demands[given_up.id].open, source_ref="w1", note="bankrupt")
        await adjust(p)
        left = {one.document.name: at_stripe(p, one) for one in (partly, voided, at_bank, given_up)}
        assert [(one["status"], one["amount_remaining"]) for one in left.values()] == [
            ("open", 1_190 - 238),
            ("void", 1_190),
            ("paid", 0),
            ("uncollectible", 1_190),
        ]
        # Nothing more is done about them, whoever looks how often.
        requests = len(p.stripe.requests)
        await adjust(p)
        assert len(p.stripe.requests) == requests
        # The rest is paid; and what was given up is paid after all, which a person is told.
        for one in (partly, given_up):
            p.world.pay_on_page(at_stripe(p, one)["id"])
        await p.hear()
        assert (await receivable_of(p, partly)).open == 0
        assert (await receivable_of(p, given_up)).open == -1_190 * CENT
        assert await reviews(p) == [("paid_too_much", True)]
        states = [(await collection_of(p, one)).status.value for one in (partly, voided, at_bank, given_up)]
        assert states == ["paid", "ended", "paid", "paid"]

    run_story(database_url, redis_url, story)


@pytest.mark.parametrize("fault", [Fault("/v1/invoices", 0, acted=True), Fault("/v1/invoices", 500, acted=True)])
def test_a_draft_that_is_not_ours_is_deleted_and_a_lost_answer_makes_no_second_invoice(
    database_url: str, redis_url: str, renderer: Renderer, fault: Fault
) -> None:
    async def story(p: Payments) -> None:
        await begin(p)
        p.world.off_by = 7
        stored = await issue_invoice(p, renderer, await a_postpaid_month(p, 1_000))
        await p.act()
        found = await collection_of(p, stored)
        assert (found.status, found.invoice_id) == (CollectionStatus.REVIEW, None)
        assert "its total is 1197 cents, ours 1190" in found.problem
        assert p.world.all("invoice") == []
        assert await reviews(p) == [("total_differs", True)]
        # A person has looked, and lets it be made again, while Stripe fails at each step, and a day passes each time.
        p.world.off_by = 0
        async with p.db.transaction() as tx:
            await retry_collection(tx, found)
        for suffix in ("/v1/invoices", "/add_lines", "/finalize", "/send"):
            p.stripe.faults.append(Fault(fault.path, fault.status, acted=True, suffix=suffix))
            p.stripe.faults.append(Fault("/v1/invoices", 0, acted=True, method="DELETE", suffix=""))
            await p.act()
            p.stripe.prune_keys()
        (invoice,) = p.world.all("invoice")
        assert (invoice["number"], invoice["status"], invoice["total"]) == (stored.document.name, "open", 1_190)
        assert (await collection_of(p, stored)).status is CollectionStatus.OPEN

    run_story(database_url, redis_url, story)


def test_what_a_dispute_or_a_refund_takes_back_is_owed_again_until_it_comes_back(
    database_url: str, redis_url: str, renderer: Renderer
) -> None:
    async def story(p: Payments) -> None:
        await begin(p)
        stored, invoice = await a_collected_invoice(p, renderer, 1_000)
        p.world.pay_on_page(invoice["id"])
        await p.hear()
        account, charge = stored.account_id, p.world.all("charge")[0]
        free = await available(p, account)
        dispute = p.world.dispute(charge["id"])
        await p.hear()
        assert (await receivable_of(p, stored)).open == 1_190 * CENT
        async with p.db.transaction() as tx:
            line = await get_line(tx, account, NOW)
        assert line is not None
        assert line.fitted is None  # jobs take back what is lent too much now
        p.world.close_dispute(dispute["id"], won=True)
        await p.hear()
        assert (await receivable_of(p, stored)).open == 0
        assert await available(p, account) == free
        charge["disputed"] = False
        p.world.refund_by_hand(charge["id"], 500)
        await p.hear()
        assert (await receivable_of(p, stored)).open == 500 * CENT
        assert sorted(str(cause) for cause, _ in await reviews(p)) == ["dispute", "refund_by_hand"]
        async with p.db.transaction() as tx:
            await pay(tx, (await receivable_of(p, stored)).id, NanoUSD(500 * CENT), NOW, source_ref="bank:2")
        found = (await stripe_run.reconcile(p.context, settle_s=0.0)).found
        assert list(found) == []

    run_story(database_url, redis_url, story)
