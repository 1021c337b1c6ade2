"""Issues invoices of drawn credit that Stripe collects."""

from datetime import UTC, datetime

from billing.documents.document import DocumentKind
from billing.documents.issue import issue_waiting
from billing.documents.parties import BillingProfile
from billing.documents.payment_provider import PaymentProvider
from billing.documents.render import Renderer
from billing.documents.requests import request_month
from billing.documents.store import StoredDocument, list_documents
from billing.lines import set_line
from billing.money import NanoUSD
from billing.receivables import Receivable, find_receivable
from billing.stripe.collections import Collection, find_collection, request_due, start_collection
from billing.stripe.minimum_amounts import MINIMUMS
from store.ids import AccountId, DocumentId, wire
from tests.builders.billed_month import BY, an_account_with_a_month, last_month
from tests.builders.stripe import CENT, Payments
from tests.harness.stripe_world import Json


async def a_postpaid_month(
    p: Payments, cents: int, *, limit_cents: int = 10_000, buyer: BillingProfile | None = None
) -> AccountId:
    """An account that drew so much of its line last month."""
    limit = limit_cents * CENT
    # A call costs at most as many nano-dollars as its tokens have room for.
    calls = [min(200, cents - before) * CENT for before in range(0, cents, 200)]
    account = await an_account_with_a_month(p.billing, calls, line=limit, buyer=buyer)
    async with p.db.transaction() as tx:
        await set_line(tx, account, NanoUSD(limit), datetime.now(UTC))
    return account


COLLECTS = PaymentProvider(collect=start_collection, least_cents=MINIMUMS["usd"])


async def issue_invoice(
    p: Payments, renderer: Renderer, account: AccountId, provider: PaymentProvider = COLLECTS
) -> StoredDocument:
    """The account's invoice of last month; Stripe hears of it by :meth:`Payments.act`."""
    async with p.db.transaction() as tx:
        await request_month(tx, DocumentKind.INVOICE, account, last_month(), "acme", BY)
    await issue_waiting(p.db, renderer, provider=provider)
    async with p.db.transaction() as tx:
        return (await list_documents(tx, account_id=account))[0]


async def a_collected_invoice(p: Payments, renderer: Renderer, cents: int) -> tuple[StoredDocument, Json]:
    """An invoice of so much and 19 % of tax, as Stripe has it."""
    stored = await issue_invoice(p, renderer, await a_postpaid_month(p, cents))
    await p.act()
    return stored, at_stripe(p, stored)


def at_stripe(p: Payments, stored: StoredDocument) -> Json:
    """The one invoice that Stripe has of a document."""
    (found,) = p.world.collected(wire(DocumentId, stored.id))
    return found


async def collection_of(p: Payments, stored: StoredDocument) -> Collection:
    async with p.db.transaction() as tx:
        found = await find_collection(tx, stored.id)
    assert found is not None
    return found


async def receivable_of(p: Payments, stored: StoredDocument) -> Receivable:
    async with p.db.transaction() as tx:
        found = await find_receivable(tx, stored.document.name)
    assert found is not None
    return found


async def adjust(p: Payments) -> None:
    """A turn of the job that looks for what Stripe demands too much."""
    await request_due(p.db)
    await p.act()
