"""Pure. What a top-up may become, and what Stripe's objects say that it is.

The moves stand in the database too (``check_topup_move``). Credit follows the payment: only a session that is our own
row's, paid in full and in our currency by our customer, makes a top-up ``paid``. Anything else that has money in it is
for a person.
"""

from enum import StrEnum

import msgspec

from billing.stripe.values import CURRENCY, Cents, Intent, Session


class TopupStatus(StrEnum):
    """The life of a top-up."""

    NEW = "new"
    """Ordered; jobs make the page."""
    OPEN = "open"
    """Its page can be paid."""
    PROCESSING = "processing"
    """Paid by a method that settles later."""
    PAID = "paid"
    """Paid and credited, for good."""
    FAILED = "failed"
    """The payment failed, or there was never a page."""
    EXPIRED = "expired"
    """Nobody paid in time."""
    REVIEW = "review"
    """There is money, and it is not what was ordered: for a person."""


_PAYABLE = frozenset({TopupStatus.PROCESSING, TopupStatus.PAID, TopupStatus.REVIEW})
MOVES: dict[TopupStatus, frozenset[TopupStatus]] = {
    TopupStatus.NEW: frozenset({TopupStatus.OPEN, TopupStatus.FAILED, TopupStatus.EXPIRED}),
    TopupStatus.OPEN: _PAYABLE | {TopupStatus.FAILED, TopupStatus.EXPIRED},
    TopupStatus.PROCESSING: frozenset({TopupStatus.PAID, TopupStatus.FAILED, TopupStatus.REVIEW}),
    # Money may come after all: a bank debit that was given up, a page that was closed while it was paid.
    TopupStatus.FAILED: _PAYABLE,
    TopupStatus.EXPIRED: _PAYABLE,
    TopupStatus.REVIEW: frozenset({TopupStatus.PAID}),
    TopupStatus.PAID: frozenset(),
}


class Order(msgspec.Struct, frozen=True):
    """What our own row says."""

    reference: str
    session_id: str | None
    customer_id: str
    amount: Cents
    livemode: bool


class Payment(msgspec.Struct, frozen=True):
    """What was paid: the ordered amount less a discount, and tax."""

    intent_id: str | None
    charge_id: str | None
    paid: Cents
    discount: Cents
    tax: Cents
    # Where the tax is owed, as a country or ``US-CA``; empty where there is none.
    jurisdiction: str = ""


class Verdict(msgspec.Struct, frozen=True):
    """What a top-up is by Stripe's objects; ``problem`` where it is not as it should be."""

    status: TopupStatus
    payment: Payment | None = None
    problem: str = ""


def judge(order: Order, session: Session, intent: Intent | None) -> Verdict:
    """What the row is to become. ``intent`` is the session's own, read after it."""
    if session.status == "expired":
        return Verdict(TopupStatus.EXPIRED)
    if session.status != "complete":
        return Verdict(TopupStatus.OPEN)
    if session.payment_status == "unpaid":
        if intent is not None and intent.status in ("requires_payment_method", "canceled"):
            return Verdict(TopupStatus.FAILED, problem="The payment failed at the bank.")
        return Verdict(TopupStatus.PROCESSING)
    details = session.total_details
    discount, tax = (details.amount_discount, details.amount_tax) if details else (0, 0)
    if differences := _differences(order, session, intent, discount, tax):
        return Verdict(
            TopupStatus.REVIEW, problem=f"It is paid, and {', '.join(differences)} not those that were ordered."
        )
    payment = Payment(
        intent_id=session.payment_intent,
        charge_id=None if intent is None else intent.latest_charge,
        paid=Cents(session.amount_total or 0),
        discount=Cents(discount),
        tax=Cents(tax),
        jurisdiction=session.jurisdiction if tax else "",
    )
    return Verdict(TopupStatus.PAID, payment)


def _differences(order: Order, session: Session, intent: Intent | None, discount: int, tax: int) -> list[str]:
    total = session.amount_total
    facts = {
        "session": session.id == order.session_id and session.client_reference_id == order.reference,
        "mode": session.livemode is order.livemode,
        "customer": session.customer == order.customer_id,
        "currency": session.currency == CURRENCY,
        "amount": session.amount_subtotal == order.amount and total == order.amount - discount + tax,
    }
    if session.payment_status == "no_payment_required":
        facts["payment"] = total == 0
    else:
        facts["payment"] = (
            intent is not None
            and intent.id == session.payment_intent
            and intent.status == "succeeded"
            and intent.amount_received == total
            and intent.currency == CURRENCY
            and intent.customer == order.customer_id
            and intent.latest_charge is not None
        )
    return [name for name, is_right in facts.items() if not is_right]
