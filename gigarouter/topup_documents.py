"""Asks for the tax invoice of each paid top-up, in the transaction that credits it.

Payments and documents do not know each other; here they meet. Where Stripe worked out a tax, its decision goes before
our table of rates.
"""

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.documents.requests import issue_topup_document
from billing.documents.tax import TaxCategory, TaxDecision
from billing.stripe.context import PaidTopup

# Rates are whole percents nearly everywhere, then halves and tenths; all in hundredths of a percent.
_STEPS = (100, 50, 10, 1)


async def request_topup_document(tx: AsyncConnection, paid: PaidTopup) -> None:
    """Ask for the document, once per top-up. One that was paid by a promotion code alone has none."""
    payment = paid.payment
    if not payment.paid:
        return
    net = payment.paid - payment.tax
    decision = None
    if payment.tax:
        decision = TaxDecision(TaxCategory.STANDARD, rate_of(net, payment.tax), payment.jurisdiction, "")
    await issue_topup_document(
        tx,
        paid.topup.account_id,
        payment_ref=paid.topup.reference,
        net_cents=net,
        tax_cents=payment.tax,
        tax=decision,
        paid_on=paid.paid_at.date(),
        paid_by="Stripe",
    )


def rate_of(net: int, tax: int) -> int:
    """The roundest rate, in hundredths of a percent, by which so much tax is due of ``net``; both in cents."""
    for step in _STEPS:
        rate = (tax * 10_000 * 2 + net * step) // (2 * net * step) * step
        if abs(net * rate - tax * 10_000) < 10_000:
            return rate
    return tax * 10_000 // net
