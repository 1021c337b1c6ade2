"""Credits a paid top-up, or moves one that is not paid. Each is done by whoever has the top-up's row locked."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.chart import LedgerKind
from billing.credits import GrantKind, grant
from billing.ledger import Posting, post
from billing.money import NanoUSD, to_usd
from billing.stripe import work
from billing.stripe.context import PaidTopup, StripeContext
from billing.stripe.reviews import Cause, open_review
from billing.stripe.topup_rules import Payment, TopupStatus
from billing.stripe.topups import Topup
from billing.stripe.values import nano_of
from mail import enqueue
from mail.kinds import PaymentFailed

_MOVE = text("UPDATE topups SET status = :status, problem = :problem, changed_at = now() WHERE id = :id")
_PAID = text("""
    UPDATE topups SET status = 'paid', problem = '', intent_id = :intent, charge_id = :charge, paid_cents = :paid,
        tax_cents = :tax, discount_cents = :discount, jurisdiction = :jurisdiction, paid_at = now(), changed_at = now()
    WHERE id = :id
""")


async def move_topup(tx: AsyncConnection, topup: Topup, status: TopupStatus, problem: str) -> None:
    """Move a top-up that was not paid; one that is for a person comes into the queue."""
    await tx.execute(_MOVE, {"id": topup.id, "status": status.value, "problem": problem})
    if status is TopupStatus.REVIEW:
        facts = {"topup_id": topup.id, "account_id": topup.account_id}
        await open_review(tx, f"topup:{topup.reference}", Cause.NOT_AS_ORDERED, problem, **facts)  # type: ignore[arg-type]
    # Whoever pays on the page sees there that it failed; a payment that settles later fails in silence.
    if status is TopupStatus.FAILED and topup.status is TopupStatus.PROCESSING and not topup.is_recharge:
        failed = PaymentFailed(amount_usd=to_usd(nano_of(topup.amount_cents)), reason=problem)
        await enqueue(tx, failed, topup.account_id, dedupe=f"topup-failed:{topup.reference}")


async def credit_topup(context: StripeContext, tx: AsyncConnection, topup: Topup, payment: Payment) -> None:
    """Book what was paid as purchased credit, what a discount paid as a gift, and the tax; in one transaction."""
    account_id, source = topup.account_id, f"stripe:{topup.reference}"
    bought = nano_of(payment.paid - payment.tax)
    if bought:
        await grant(
            tx, account_id, bought, GrantKind.PURCHASED, source_ref=source, paid_from=LedgerKind.STRIPE_CLEARING
        )
    if payment.discount:
        gift = nano_of(payment.discount)
        await grant(tx, account_id, gift, GrantKind.PROMOTIONAL, source_ref=f"{source}:discount")
    if payment.tax:
        tax = nano_of(payment.tax)
        legs = [
            Posting(LedgerKind.STRIPE_CLEARING, NanoUSD(-tax)),
            Posting(LedgerKind.TAX_PAYABLE, tax, detail=payment.jurisdiction),
        ]
        await post(tx, "tax", f"{source}:tax", legs, account_id=account_id)
    await tx.execute(
        _PAID,
        {
            "id": topup.id,
            "intent": payment.intent_id,
            "charge": payment.charge_id,
            "paid": payment.paid,
            "tax": payment.tax,
            "discount": payment.discount,
            "jurisdiction": payment.jurisdiction,
        },
    )
    if payment.charge_id is not None:
        await work.request(tx, f"charge:{payment.charge_id}")
    await context.issue_document(tx, PaidTopup(topup, payment, context.db.clock.now()))
