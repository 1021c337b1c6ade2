"""Collects an invoice of drawn credit at Stripe: makes it there, books what is paid, and lowers what is not owed.

Each step is found done when it is repeated. A draft that another turn left is deleted, since nobody can pay it; a final
one is found by our document's id in its metadata, whatever became of the idempotency keys. Stripe's draft is compared
with our total before it is final.
"""

from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.chart import LedgerKind
from billing.documents.document import Document
from billing.documents.parties import BillingProfile
from billing.documents.store import find_document
from billing.money import to_usd
from billing.receivables import get_receivable, pay
from billing.stripe import collections, work
from billing.stripe.checkout import find_customer, find_or_make_customer
from billing.stripe.collection_rules import (
    NUMBER_LENGTH_MAX,
    STATUS_OF,
    CollectionStatus,
    Lowering,
    lines_of,
    lowering_of,
    payment_fault,
    total_fault,
)
from billing.stripe.collections import Collection
from billing.stripe.context import Later, StripeContext
from billing.stripe.errors import StripeFailed, StripeRefused
from billing.stripe.minimum_amounts import minimum_fault
from billing.stripe.reviews import Cause, open_review
from billing.stripe.values import CURRENCY, Cents, Intent, Invoice, InvoicePayment, nano_of
from store.ids import AccountId, DocumentId, parse, wire

# Stripe's clock may be another than ours.
CLOCKS = timedelta(hours=1)
_FOLLOWED = frozenset({CollectionStatus.OPEN, CollectionStatus.PAID, CollectionStatus.ENDED})


async def act_on_collection(context: StripeContext, reference: str) -> None:
    """Do what a collection's state and its invoice ask for. Raises :class:`billing.stripe.errors.StripeUnavailable`."""
    document_id = DocumentId(parse(DocumentId, reference))
    found = await _read(context, document_id)
    try:
        if found.status is CollectionStatus.NEW:
            await _make(context, found)
            found = await _read(context, document_id)
        if found.status in _FOLLOWED and found.invoice_id is not None:
            await _follow(context, found, found.invoice_id)
    except StripeFailed:
        # Its key answers with this failure for a day.
        async with context.db.transaction() as tx:
            await collections.next_attempt(tx, document_id)
        raise
    except StripeRefused as refused:
        if found.invoice_id is not None and (await context.client.invoice(found.invoice_id)).status != "open":
            # It was paid, or ended, at the moment at which something else was to be done about it.
            raise Later("the invoice changed meanwhile") from refused
        await _review(context, found, Cause.REFUSED, str(refused))


async def act_on_collected_invoice(context: StripeContext, invoice_id: str) -> bool:
    """Have the collection of an invoice worked on; False where it is none of ours."""
    async with context.db.transaction() as tx:
        found = await collections.find_by_invoice(tx, invoice_id)
        if found is not None:
            await work.request(tx, f"collection:{found.reference}")
    return found is not None


async def _make(context: StripeContext, found: Collection) -> None:
    """Make the invoice final at Stripe, once, and note it; or leave it to a person."""
    small = minimum_fault(found.open_nano)
    if small or found.open_nano <= 0:
        async with context.db.transaction() as tx:
            await collections.move_collection(tx, found.document_id, CollectionStatus.ENDED, problem=small)
        return
    async with context.db.transaction() as tx:
        stored = await find_document(tx, found.document_id)
    assert stored is not None, "documents are never deleted; this is a bug"
    customer = await find_or_make_customer(context, found.account_id, f"{found.reference}:{found.attempt}")
    invoice, attempt = await _find_made(context, found, customer)
    if invoice is None:
        await context.client.update_customer(customer, customer_of(stored.document.draft.buyer))
        invoice = await _draft(context, found, stored.document, customer, f"{found.reference}:{attempt}")
    due, livemode = stored.document.draft.due_cents, context.config.livemode
    fault = total_fault(invoice, customer, due, livemode=livemode)
    if not fault and invoice.status == "draft":
        if len(found.name) <= NUMBER_LENGTH_MAX:
            await context.client.number_invoice(invoice.id, found.name)
        invoice = await context.client.finalize_invoice(invoice.id, f"finalize:{found.reference}:{attempt}")
        fault = total_fault(invoice, customer, due, livemode=livemode)
    if fault:
        await _discard(context, invoice)
        await _review(context, found, Cause.TOTAL_DIFFERS, f"Stripe's invoice for {found.name} is not ours: {fault}.")
        return
    async with context.db.transaction() as tx:
        await collections.move_collection(
            tx,
            found.document_id,
            CollectionStatus.OPEN,
            invoice=invoice.id,
            url=invoice.hosted_invoice_url,
            demanded=invoice.amount_remaining,
        )


async def _find_made(context: StripeContext, found: Collection, customer: str) -> tuple[Invoice | None, int]:
    """The invoice that an earlier turn made final, if it did, and the attempt that is next."""
    since, attempt = int((found.created_at - CLOCKS).timestamp()), found.attempt
    listed = [one async for one in context.client.invoices_of(customer, since)]
    ours = [one for one in listed if (one.metadata or {}).get("document") == found.reference]
    drafts = [one for one in ours if one.status == "draft"]
    if drafts:
        # First noted, then deleted: the key of the attempt would give a draft that is gone.
        async with context.db.transaction() as tx:
            await collections.next_attempt(tx, found.document_id)
        attempt += 1
    for draft in drafts:
        await context.client.delete_draft(draft.id)
    return next((one for one in ours if one.status in ("open", "paid", "uncollectible")), None), attempt


async def _draft(context: StripeContext, found: Collection, document: Document, customer: str, key: str) -> Invoice:
    draft = document.draft
    today = context.db.clock.now().date()
    days = max(0, ((draft.due_on or draft.issued_on) - today).days)
    params: dict[str, object] = {
        "customer": customer,
        "currency": CURRENCY,
        "collection_method": "send_invoice",
        "days_until_due": days,
        "auto_advance": False,
        "automatic_tax": {"enabled": False},
        "pending_invoice_items_behavior": "exclude",
        "description": f"{document.name}, {draft.since} to {draft.until}",
        "metadata": {"document": found.reference, "account": wire(AccountId, found.account_id)},
    }
    if len(found.name) > NUMBER_LENGTH_MAX:
        params["custom_fields"] = [{"name": "Number", "value": found.name}]
    made = await context.client.create_invoice(params, f"collect:{key}")
    lines: list[dict[str, object]] = [
        {"description": line.description[:5000], "amount": line.cents, "discountable": False}
        for line in lines_of(draft)
    ]
    return await context.client.add_lines(made.id, lines, f"lines:{key}:{made.id}")


def customer_of(buyer: BillingProfile) -> dict[str, object]:
    """Who pays, as Stripe names a customer."""
    address = buyer.address
    where = {"line1": address.line1, "line2": address.line2, "city": address.city, "postal_code": address.postcode}
    named: dict[str, object] = {
        "name": buyer.legal_name[:256],
        "address": {**where, "state": address.region, "country": address.country},
        "preferred_locales": [buyer.language],
    }
    if buyer.emails:
        named["email"] = buyer.emails[0]
    return named


async def _follow(context: StripeContext, found: Collection, invoice_id: str) -> None:
    """Book what was paid, have it mailed, and lower what Stripe demands to what is open."""
    invoice = await context.client.invoice(invoice_id)
    await _book_payments(context, found, invoice)
    if invoice.status == "open":
        found = await _read(context, found.document_id)
        lowering = lowering_of(
            invoice, found.open_cents, is_credited=found.is_credited, is_written_off=found.is_written_off
        )
        if lowering is not None:
            invoice = await _lower(context, found, invoice, *lowering)
        if invoice.status == "open" and found.sent_at is None:
            invoice = await context.client.send_invoice(invoice.id, f"send:{found.reference}:{found.attempt}")
            async with context.db.transaction() as tx:
                await collections.mark_sent(tx, found.document_id)
    async with context.db.transaction() as tx:
        now_is = await collections.find_collection(tx, found.document_id)
        if now_is is not None and now_is.status is CollectionStatus.OPEN and invoice.status == "paid":
            await _require_all_booked(tx, now_is)
        status = STATUS_OF.get(invoice.status or "")
        if status is not None:
            demanded = invoice.amount_remaining if status is CollectionStatus.OPEN else 0
            await collections.move_collection(tx, found.document_id, status, demanded=demanded)


async def _require_all_booked(tx: AsyncConnection, found: Collection) -> None:
    """What is paid at Stripe and open here was marked there by hand: a person records how it was paid."""
    if found.open_nano > 0:
        message = (
            f"Stripe says that {found.name} is paid, and {to_usd(found.open_nano)} USD of it came by no payment there. "
            "If it was paid elsewhere, record it: receivables pay."
        )
        subject = f"collection:{found.reference}"
        await open_review(tx, subject, Cause.PAID_ELSEWHERE, message, account_id=found.account_id)


async def _book_payments(context: StripeContext, found: Collection, invoice: Invoice) -> None:
    """Book each payment of the invoice once, from receivable to what Stripe has of ours."""
    async with context.db.transaction() as tx:
        known = await collections.known_payments(tx, found.document_id)
    async for paid in context.client.payments_of_invoice(invoice.id):
        if paid.status == "paid" and paid.payment.payment_intent is not None and paid.id not in known:
            intent = await context.client.intent(paid.payment.payment_intent)
            await _book_payment(context, found, paid, intent)


async def _book_payment(context: StripeContext, found: Collection, paid: InvoicePayment, intent: Intent) -> None:
    amount = Cents(paid.amount_paid or 0)
    customer = await find_customer(context, found.account_id) or ""
    if fault := payment_fault(intent, customer, amount, livemode=context.config.livemode):
        await _review(context, found, Cause.NOT_AS_ORDERED, f"A payment of {found.name} is not booked: {fault}.")
        return
    charge = intent.latest_charge
    assert charge is not None, "a payment that succeeded has a charge; this is a bug"
    async with context.db.transaction() as tx:
        facts = {"payment_id": paid.id, "intent_id": intent.id, "charge_id": charge}
        if not await collections.add_payment(tx, found.document_id, amount=amount, **facts):
            return
        before = await get_receivable(tx, found.receivable_id)
        now, into = context.db.clock.now(), LedgerKind.STRIPE_CLEARING
        source = f"stripe:{paid.id}"
        await pay(tx, found.receivable_id, nano_of(amount), now, source_ref=source, into=into, beyond=True)
        if nano_of(amount) > max(0, before.open):
            message = (
                f"{to_usd(nano_of(amount))} USD were paid of {found.name}, and less was open: the rest is in favour."
            )
            subject = f"collection:{found.reference}:{paid.id}"
            await open_review(tx, subject, Cause.PAID_TOO_MUCH, message, account_id=found.account_id)
        await work.request(tx, f"charge:{charge}")


async def _lower(context: StripeContext, found: Collection, invoice: Invoice, how: Lowering, cents: Cents) -> Invoice:
    """Bring Stripe to demand less. What it demands is read first, so that it is lowered once."""
    # Another amount is another request, and the same one is found done under its key.
    key = f"{how.value}:{found.reference}:{found.attempt}:{invoice.amount_remaining}"
    match how:
        case Lowering.VOID:
            return await context.client.void_invoice(invoice.id, key)
        case Lowering.UNCOLLECTIBLE:
            return await context.client.mark_uncollectible(invoice.id, key)
        case Lowering.PAID_ELSEWHERE:
            return await context.client.mark_paid_elsewhere(invoice.id, key)
        case Lowering.CREDIT:
            note: dict[str, object] = {"invoice": invoice.id, "amount": cents, "email_type": "none"}
            note |= {"memo": f"Of {found.name} {to_usd(found.open_nano)} USD are open."}
            await context.client.create_credit_note(note | {"metadata": {"document": found.reference}}, key)
            return await context.client.invoice(invoice.id)


async def _discard(context: StripeContext, invoice: Invoice) -> None:
    """Make an invoice one that nobody can pay."""
    if invoice.status == "draft":
        await context.client.delete_draft(invoice.id)
    elif invoice.status == "open":
        await context.client.void_invoice(invoice.id, f"void:{invoice.id}")


async def _review(context: StripeContext, found: Collection, cause: Cause, message: str) -> None:
    """Leave a collection to a person; one that is made already goes on."""
    async with context.db.transaction() as tx:
        subject = f"collection:{found.reference}:{found.attempt}"
        await open_review(tx, subject, cause, message, account_id=found.account_id)
        now_is = await collections.find_collection(tx, found.document_id)
        if now_is is not None and now_is.status is CollectionStatus.NEW:
            await collections.move_collection(tx, found.document_id, CollectionStatus.REVIEW, problem=message)


async def _read(context: StripeContext, document_id: DocumentId) -> Collection:
    async with context.db.transaction() as tx:
        found = await collections.find_collection(tx, document_id)
    assert found is not None, "a collection is a row before it is work; this is a bug"
    return found
