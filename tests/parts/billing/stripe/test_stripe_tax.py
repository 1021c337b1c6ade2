"""Where Stripe decides the tax, an invoice has Stripe's, to the cent; without its answer the invoice waits."""

from functools import partial

import pytest

from billing.documents.issue import issue_waiting
from billing.documents.parties import Address, BillingProfile
from billing.documents.payment_provider import PaymentProvider
from billing.documents.render import Renderer
from billing.documents.requests import RequestState, list_requests, retry_refused
from billing.documents.store import list_documents
from billing.documents.verify import verify
from billing.stripe.tax import decide_tax_at_stripe
from tests.builders.billed_month import add_seller, make_month
from tests.builders.collected import a_postpaid_month, issue_invoice
from tests.builders.documents import a_buyer, a_seller
from tests.builders.stripe import Payments, run_story
from tests.harness.stripe_server import Fault

NEW_YORK = a_buyer("US", address=Address("1 Main Street", "New York", "US", postcode="10001", region="NY"))
# buyer | Stripe's rates | its kind | why not taxed | category, rate, jurisdiction, cents, printed reason
DECISIONS: list[tuple[BillingProfile, list[str], str, str, tuple[str, int, str, int, str]]] = [
    (NEW_YORK, ["4.0", "4.5", "0.375"], "sales_tax", "", ("S", 888, "US-NY", 89, "Sales tax of US-NY, 8.88 %.")),
    (a_buyer("FR", "FR40303265045"), [], "vat", "reverse_charge", ("AE", 0, "FR", 0, "Reverse charge: the recipient")),
    (a_buyer("JP"), [], "vat", "not_collecting", ("O", 0, "JP", 0, "No tax is collected: the seller is not")),
    (a_buyer(exempt_reason="An embassy."), [], "vat", "customer_exempt", ("E", 0, "DE", 0, "An embassy.")),
]


def test_an_invoice_has_stripes_tax_or_waits_for_it(database_url: str, redis_url: str, renderer: Renderer) -> None:
    async def story(p: Payments) -> None:
        await make_month(p.db)
        await add_seller(p.db, a_seller(currency="USD"))
        stripe = PaymentProvider(decide_tax=partial(decide_tax_at_stripe, p.context.client))
        for buyer, rates, kind, why, expected in DECISIONS:
            p.world.tax_rates, p.world.tax_type, p.world.untaxed = rates, kind, why
            stored = await issue_invoice(p, renderer, await a_postpaid_month(p, 1_010, buyer=buyer), stripe)
            tax, draft = stored.document.draft.tax, stored.document.draft
            assert tax is not None
            assert (tax.category.value, tax.rate, tax.jurisdiction, draft.tax_cents) == expected[:4]
            assert tax.reason.startswith(expected[4])
            async with p.db.transaction() as tx:
                assert (await verify(tx, stored)).faults == ()
        # Stripe is away: nothing is issued with a guess, and nothing is refused for good.
        p.world.untaxed, p.world.tax_rates = "", ["19.0"]
        p.stripe.faults.append(Fault("/v1/tax/calculations", 500, times=1))
        account = await a_postpaid_month(p, 1_000)
        with pytest.raises(IndexError):
            await issue_invoice(p, renderer, account, stripe)
        await expect(p, RequestState.WAITING, "")
        # What Stripe refuses, or works out of something else, is for a person; mended, it is issued.
        for name, wrong, right, message in (
            ("has_addresses", False, True, "tax-is-decided (buyer.address): Stripe cannot say the tax"),
            ("off_by", 3, 0, "total-is-stripes (tax_cents): Stripe's total is 1193 cents usd, ours 1000"),
        ):
            setattr(p.world, name, wrong)
            await p.rows("UPDATE document_requests SET run_after = now() WHERE state = 'waiting' RETURNING 1")
            await issue_waiting(p.db, renderer, provider=stripe)
            await expect(p, RequestState.REFUSED, message)
            setattr(p.world, name, right)
            async with p.db.transaction() as tx:
                await retry_refused(tx, account)
        await issue_waiting(p.db, renderer, provider=stripe)
        async with p.db.transaction() as tx:
            (stored,) = await list_documents(tx, account_id=account)
        assert stored.document.draft.total_cents == 1_190

    async def expect(p: Payments, state: RequestState, fault: str) -> None:
        async with p.db.transaction() as tx:
            found = (await list_requests(tx))[0]
        assert found.state is state
        assert found.fault.startswith(fault)

    run_story(database_url, redis_url, story)
