"""Recharges step by step: makes the invoice, charges the saved card, credits what was paid, or stops and says so.

Each step is found done when it is repeated, by what Stripe says of the invoice now. An attempt has one invoice, which
can be paid once; drafts that nobody knows are never charged, since Stripe does nothing with them by itself.
"""

from datetime import datetime

from sqlalchemy import text

from billing.ledger import CreditTooLarge
from billing.money import to_usd
from billing.stripe import work
from billing.stripe.checkout import find_customer, find_or_make_customer
from billing.stripe.context import StripeContext
from billing.stripe.errors import StripeDeclined, StripeFailed, StripeRefused
from billing.stripe.recharge_moves import apply, end, move, move_in, read
from billing.stripe.recharge_rules import (
    CONFIRM_WITHIN,
    MADE_WITHIN,
    SETTLING_LOOK,
    UNDER_WAY,
    Need,
    RechargeOrder,
    RechargeStatus,
    Step,
    judge_invoice,
    next_step,
    next_try,
)
from billing.stripe.recharges import Recharge, find_recharge, mail_declined, read_need
from billing.stripe.reviews import Cause, open_review
from billing.stripe.topup_rules import TopupStatus, Verdict
from billing.stripe.topups import Topup, find_topup
from billing.stripe.values import CURRENCY, Intent, Invoice, nano_of
from mail import enqueue
from mail.kinds import RechargeConfirm
from store.ids import AccountId, TopupId, parse, wire

NOT_NEEDED = "It was not needed any more, and was not charged."
DECLINED = "A payment was declined three times."
NOT_CONFIRMED = "A payment that the bank wanted to be confirmed was not confirmed within seven days."
NOTHING_SAVED = "No card or other means of payment is saved any more."
REFUSED = "Stripe refused the payment."

_KEEP_INVOICE = text("UPDATE recharges SET invoice_id = :invoice, changed_at = now() WHERE topup_id = :topup")
_NEXT_ATTEMPT = text("UPDATE recharges SET attempt = attempt + 1 WHERE topup_id = :topup")


async def act_on_recharge(context: StripeContext, reference: str) -> None:
    """Do what an attempt's state and its invoice ask for. Raises :class:`billing.stripe.errors.StripeUnavailable`."""
    topup_id = TopupId(parse(TopupId, reference))
    recharge, topup = await read(context, topup_id)
    try:
        if recharge.invoice_id is None:
            if recharge.status is not RechargeStatus.NEW or not await _make_invoice(context, recharge, topup):
                return
            recharge, topup = await read(context, topup_id)
        await _follow(context, recharge, topup)
    except StripeFailed:
        # Its key answers with this failure for a day.
        async with context.db.transaction() as tx:
            await tx.execute(_NEXT_ATTEMPT, {"topup": topup_id})
        raise
    except StripeRefused as refused:
        recharge, topup = await read(context, topup_id)
        if (invoice := await _discard(context, recharge)) is not None and invoice.status == "paid":
            # It was paid at the moment at which something else was to be done about it.
            await _credit(context, recharge, topup, invoice)
            return
        async with context.db.transaction() as tx:
            facts = {"topup_id": topup_id, "account_id": recharge.account_id}
            await open_review(tx, f"recharge:{reference}", Cause.REFUSED, str(refused), **facts)  # type: ignore[arg-type]
        await end(context, recharge, RechargeStatus.FAILED, REFUSED)


async def act_on_recharge_invoice(context: StripeContext, invoice_id: str) -> bool:
    """Have the attempt of an invoice worked on; False where it is none of ours."""
    async with context.db.transaction() as tx:
        recharge = await find_recharge(tx, "invoice", invoice_id)
        if recharge is not None:
            await work.request(tx, f"recharge:{recharge.reference}")
    return recharge is not None


async def _make_invoice(context: StripeContext, recharge: Recharge, topup: Topup) -> bool:
    """Make the draft and keep its id, once; False where the attempt has ended instead."""
    is_old = context.db.clock.now() - recharge.created_at > MADE_WITHIN
    if is_old or not await _is_wanted(context, recharge, topup):
        await end(context, recharge, RechargeStatus.CANCELED, NOT_NEEDED)
        return False
    key = f"{recharge.reference}:{recharge.attempt}"
    customer = await find_or_make_customer(context, recharge.account_id, key)
    metadata = {"topup": recharge.reference, "account": wire(AccountId, recharge.account_id)}
    invoice: dict[str, object] = {
        "customer": customer,
        "currency": CURRENCY,
        "collection_method": "charge_automatically",
        "auto_advance": False,
        "pending_invoice_items_behavior": "exclude",
        "metadata": metadata,
    }
    if context.config.automatic_tax:
        invoice["automatic_tax"] = {"enabled": True}
    made = await context.client.create_invoice(invoice, f"invoice:{key}")
    line = {
        "customer": customer,
        "invoice": made.id,
        "amount": topup.amount_cents,
        "currency": CURRENCY,
        "tax_behavior": "exclusive",
        "description": f"Credit of {to_usd(nano_of(topup.amount_cents))} USD, recharged automatically",
        "metadata": metadata,
    }
    await context.client.create_invoice_item(line, f"line:{key}:{made.id}")
    async with context.db.transaction() as tx:
        await tx.execute(_KEEP_INVOICE, {"topup": recharge.topup_id, "invoice": made.id})
    return True


async def _follow(context: StripeContext, recharge: Recharge, topup: Topup) -> None:
    assert recharge.invoice_id is not None, "the caller has made it; this is a bug"
    invoice = await context.client.invoice(recharge.invoice_id)
    if invoice.status == "draft" and recharge.status is RechargeStatus.NEW:
        key = f"finalize:{recharge.reference}:{recharge.attempt}"
        invoice = await context.client.finalize_invoice(invoice.id, key)
    if recharge.status is RechargeStatus.NEW and invoice.status in ("open", "paid"):
        await move(context, recharge, RechargeStatus.OPEN, url=invoice.hosted_invoice_url)
        recharge, topup = await read(context, recharge.topup_id)
    if invoice.status == "paid":
        await _credit(context, recharge, topup, invoice)
    elif recharge.status in UNDER_WAY:
        if invoice.status == "open" and invoice.subtotal != topup.amount_cents:
            raise StripeRefused(
                f"The invoice is about {invoice.subtotal} cents, and {topup.amount_cents} were ordered."
            )
        await _advance(context, recharge, topup, invoice)


async def _advance(context: StripeContext, recharge: Recharge, topup: Topup, invoice: Invoice) -> None:
    """Do what is next about an invoice that is not paid."""
    status, now = recharge.status, context.db.clock.now()
    if status is RechargeStatus.PROCESSING:
        await _watch_settling(context, recharge, invoice)
        return
    is_wanted = await _is_wanted(context, recharge, topup)
    step = next_step(status, tries=recharge.tries, is_due=recharge.look_at <= now, is_wanted=is_wanted)
    is_payable = invoice.status == "open"
    if step is Step.GIVE_UP:
        await _discard(context, recharge)
        reason = NOT_CONFIRMED if status is RechargeStatus.ACTION else DECLINED
        await end(context, recharge, RechargeStatus.FAILED, reason)
    elif step is Step.CANCEL or not is_payable:
        await _discard(context, recharge)
        await end(context, recharge, RechargeStatus.CANCELED, NOT_NEEDED)
    elif step is Step.PAY:
        await _pay(context, recharge, invoice)


async def _pay(context: StripeContext, recharge: Recharge, invoice: Invoice) -> None:
    method = await _find_method(context, invoice.customer)
    if method is None:
        await _discard(context, recharge)
        await end(context, recharge, RechargeStatus.FAILED, NOTHING_SAVED)
        return
    key = f"pay:{recharge.reference}:{recharge.attempt}:{recharge.tries}"
    try:
        invoice = await context.client.pay_invoice(invoice.id, method, key)
    except StripeDeclined as declined:
        await _note_decline(context, recharge, invoice, declined)
        return
    recharge, topup = await read(context, recharge.topup_id)
    if invoice.status == "paid":
        await _credit(context, recharge, topup, invoice)
    else:
        look_at = context.db.clock.now() + SETTLING_LOOK
        await move(context, recharge, RechargeStatus.PROCESSING, look_at=look_at)


async def _note_decline(context: StripeContext, recharge: Recharge, invoice: Invoice, declined: StripeDeclined) -> None:
    now = context.db.clock.now()
    if declined.wants_confirmation:
        await _ask_to_confirm(context, recharge, invoice, until=now + CONFIRM_WITHIN)
        return
    tries = recharge.tries + 1
    problem = f"The bank declined the payment ({declined.code or 'without a reason'})."
    again = next_try(tries, now)
    async with context.db.transaction() as tx:
        moved = await move_in(tx, recharge, RechargeStatus.DECLINED, tries=tries, look_at=again, problem=problem)
        topup = await find_topup(tx, "id", recharge.topup_id)
        if moved and topup is not None and again > now:
            await mail_declined(tx, recharge, topup.amount_cents, problem, again)


async def _ask_to_confirm(context: StripeContext, recharge: Recharge, invoice: Invoice, *, until: datetime) -> None:
    async with context.db.transaction() as tx:
        topup = await find_topup(tx, "id", recharge.topup_id)
        found = await read_need(tx, recharge.account_id)
        assert topup is not None, "top-ups are never deleted; this is a bug"
        assert found.stored is not None, "the attempt is by a rule; this is a bug"
        confirm = RechargeConfirm(
            amount_usd=to_usd(nano_of(topup.amount_cents)),
            threshold_usd=to_usd(nano_of(found.stored.threshold_cents)),
            until=until,
            url=invoice.hosted_invoice_url or topup.url or "",
        )
        source = f"recharge-confirm:{recharge.reference}"
        await enqueue(tx, confirm, recharge.account_id, dedupe=source)
        problem = "The bank wants you to confirm the payment: open its url."
        await move_in(tx, recharge, RechargeStatus.ACTION, look_at=until, problem=problem)


async def _watch_settling(context: StripeContext, recharge: Recharge, invoice: Invoice) -> None:
    intent = await _intent_of(context, invoice)
    if invoice.status == "open" and (intent is None or intent.status in ("processing", "succeeded")):
        await move(context, recharge, RechargeStatus.PROCESSING, look_at=context.db.clock.now() + SETTLING_LOOK)
        return
    await _discard(context, recharge)
    await end(context, recharge, RechargeStatus.FAILED, "A payment failed at the bank.")


async def _credit(context: StripeContext, recharge: Recharge, topup: Topup, invoice: Invoice) -> None:
    """Book a paid invoice as any top-up; what is not as ordered is for a person."""
    if topup.status is TopupStatus.PAID:
        return
    customer = await find_customer(context, recharge.account_id) or ""
    order = RechargeOrder(recharge.invoice_id or "", customer, topup.amount_cents, context.config.livemode)
    verdict = judge_invoice(order, invoice, await _intent_of(context, invoice))
    try:
        await apply(context, recharge, verdict)
    except CreditTooLarge:
        problem = "It is paid, and the account cannot hold so much credit."
        await apply(context, recharge, Verdict(TopupStatus.REVIEW, problem=problem))


async def _is_wanted(context: StripeContext, recharge: Recharge, topup: Topup) -> bool:
    """Whether the rule is still on and the credit still low; a rule that was changed meanwhile is as good."""
    async with context.db.transaction() as tx:
        found = await read_need(tx, recharge.account_id, without=topup.amount_cents)
    return found.need is Need.BUY


async def _find_method(context: StripeContext, customer_id: str) -> str | None:
    """What the customer chose for invoices in the portal, else what was saved last."""
    customer = await context.client.customer(customer_id)
    if customer.invoice_settings and customer.invoice_settings.default_payment_method:
        return customer.invoice_settings.default_payment_method
    async for method in context.client.payment_methods(customer_id):
        return method.id
    return None


async def _intent_of(context: StripeContext, invoice: Invoice) -> Intent | None:
    """The payment of an invoice; None where it was paid in another way, or by several."""
    async for paid in context.client.payments_of_invoice(invoice.id):
        if paid.payment.payment_intent is not None and paid.status != "canceled":
            return await context.client.intent(paid.payment.payment_intent)
    return None


async def _discard(context: StripeContext, recharge: Recharge) -> Invoice | None:
    """Make the invoice one that nobody can pay, and say what it was; None where there is none.

    Raises ``StripeRefused`` where it was paid at this moment.
    """
    if recharge.invoice_id is None:
        return None
    try:
        invoice = await context.client.invoice(recharge.invoice_id)
    except StripeRefused as refused:
        if refused.is_missing:
            return None
        raise
    if invoice.status == "draft":
        await context.client.delete_draft(invoice.id)
    elif invoice.status == "open":
        await context.client.void_invoice(invoice.id, f"void:{recharge.reference}:{recharge.attempt}")
    return invoice
