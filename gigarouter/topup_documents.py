"""Asks for the tax invoice of each paid top-up and the credit note of each refund, in the transaction that books it.

Payments and documents do not know each other; here they meet. Where Stripe worked out a tax, its decision goes before
our table of rates.
"""

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.documents.requests import issue_refund_note, issue_topup_document
from billing.documents.tax import TaxCategory, TaxDecision
from billing.stripe.context import PaidTopup
from billing.stripe.refund_rules import RefundStatus
from billing.stripe.refunds import RefundRow
from billing.stripe.topups import Topup

# Rates are whole percents nearly everywhere, then halves and tenths; all in hundredths of a percent.
_STEPS = (100, 50, 10, 1)


async def request_topup_document(tx: AsyncConnection, paid: PaidTopup) -> None:
    """Ask for the document, once per top-up. One that was paid by a promotion code alone has none."""
    payment = paid.payment
    if not payment.paid:
        return
    net = payment.paid - payment.tax
    await issue_topup_document(
        tx,
        paid.topup.account_id,
        payment_ref=paid.topup.reference,
        net_cents=net,
        tax_cents=payment.tax,
        tax=decision_of(net, payment.tax, payment.jurisdiction),
        paid_on=paid.paid_at.date(),
        paid_by="Stripe",
    )


async def request_refund_document(tx: AsyncConnection, refund: RefundRow, topup: Topup) -> None:
    """Ask for the credit note of a refund; of one that came back afterwards for a tax invoice of the same amounts."""
    net, tax = refund.credit_cents or 0, refund.tax_cents or 0
    if refund.status is RefundStatus.SUCCEEDED:
        await issue_refund_note(
            tx,
            refund.account_id,
            payment_ref=topup.reference,
            refund_ref=refund.reference,
            net_cents=net,
            tax_cents=tax,
            paid_by="Stripe",
        )
        return
    await issue_topup_document(
        tx,
        refund.account_id,
        payment_ref=f"{refund.reference}:back",
        net_cents=net,
        tax_cents=tax,
        tax=decision_of(net, tax, topup.jurisdiction),
        paid_on=refund.changed_at.date(),
        paid_by="Stripe",
    )


def decision_of(net: int, tax: int, jurisdiction: str) -> TaxDecision | None:
    """Stripe's decision of a tax; None where there is none, which our table then has to confirm. Both in cents."""
    return TaxDecision(TaxCategory.STANDARD, rate_of(net, tax), jurisdiction, "") if tax else None


def rate_of(net: int, tax: int) -> int:
    """The roundest rate, in hundredths of a percent, by which so much tax is due of ``net``; both in cents."""
    for step in _STEPS:
        rate = (tax * 10_000 * 2 + net * step) // (2 * net * step) * step
        if abs(net * rate - tax * 10_000) < 10_000:
            return rate
    return tax * 10_000 // net
