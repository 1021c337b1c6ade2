"""Pure. When auto-recharge charges a saved card, what an attempt may become, and the words of the consent.

The moves stand in the database too (``check_recharge_move``). An attempt is one invoice: it can be paid once, so
however often a try is repeated, there is one payment. Credit follows it as with any top-up.
"""

from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from billing.money import to_usd
from billing.stripe.topup_rules import Payment, TopupStatus, Verdict
from billing.stripe.values import CURRENCY, Cents, Intent, Invoice, nano_of


class RechargeStatus(StrEnum):
    """The life of an attempt."""

    NEW = "new"
    """The credit fell below the threshold; jobs make the invoice."""
    OPEN = "open"
    """The invoice is final and is to be paid now."""
    DECLINED = "declined"
    """The bank declined; the next try is later."""
    ACTION = "action"
    """The bank wants the customer to confirm, who has a link; nothing is tried any more."""
    PROCESSING = "processing"
    """Paid by a method that settles later."""
    PAID = "paid"
    """Paid and credited, for good."""
    FAILED = "failed"
    """Given up, and the invoice is void: auto-recharge is off."""
    CANCELED = "canceled"
    """Not needed any more, or switched off: the invoice is void."""
    REVIEW = "review"
    """There is money, and it is not what was ordered: for a person, and auto-recharge is off."""


_MONEY = frozenset({RechargeStatus.PAID, RechargeStatus.REVIEW})
_ENDS = frozenset({RechargeStatus.FAILED, RechargeStatus.CANCELED})
MOVES: dict[RechargeStatus, frozenset[RechargeStatus]] = {
    RechargeStatus.NEW: _ENDS | {RechargeStatus.OPEN},
    RechargeStatus.OPEN: _MONEY | _ENDS | {RechargeStatus.DECLINED, RechargeStatus.ACTION, RechargeStatus.PROCESSING},
    RechargeStatus.DECLINED: _MONEY | _ENDS | {RechargeStatus.ACTION, RechargeStatus.PROCESSING},
    RechargeStatus.ACTION: _MONEY | _ENDS | {RechargeStatus.PROCESSING},
    RechargeStatus.PROCESSING: _MONEY | {RechargeStatus.FAILED},
    # Money may come after all: paid at the moment at which it was given up.
    RechargeStatus.FAILED: _MONEY,
    RechargeStatus.CANCELED: _MONEY,
    RechargeStatus.REVIEW: frozenset({RechargeStatus.PAID}),
    RechargeStatus.PAID: frozenset(),
}
# One of an account at most is in one of these, by a unique index.
UNDER_WAY = frozenset(MOVES) - _MONEY - _ENDS
# What the customer sees of it among the top-ups.
TOPUP_STATUS: dict[RechargeStatus, TopupStatus] = {
    RechargeStatus.NEW: TopupStatus.NEW,
    RechargeStatus.OPEN: TopupStatus.OPEN,
    RechargeStatus.DECLINED: TopupStatus.OPEN,
    RechargeStatus.ACTION: TopupStatus.OPEN,
    RechargeStatus.PROCESSING: TopupStatus.PROCESSING,
    RechargeStatus.PAID: TopupStatus.PAID,
    RechargeStatus.FAILED: TopupStatus.FAILED,
    RechargeStatus.CANCELED: TopupStatus.EXPIRED,
    RechargeStatus.REVIEW: TopupStatus.REVIEW,
}

# Pauses after the first decline and the second; after the third it is given up. Card networks fine merchants who press.
BACK_OFFS = (timedelta(hours=1), timedelta(hours=12))
TRIES_MAX = len(BACK_OFFS) + 1
# So long a customer has to confirm a payment.
CONFIRM_WITHIN = timedelta(days=7)
# A debit that settles later is read again so often, where no event comes.
SETTLING_LOOK = timedelta(hours=1)
# Where Stripe cannot be reached for so long, the charge would surprise: it begins anew where the credit is still low.
MADE_WITHIN = timedelta(hours=1)


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """What a person consented to: below ``threshold`` charge ``amount``, at most ``month_max`` in a UTC month."""

    threshold: Cents
    amount: Cents
    month_max: Cents


WORDING = "2026-11"


def words_of(rule: Rule) -> str:
    """The sentences that a person consents to; they are kept as they were. A new text has a new :data:`WORDING`."""
    threshold, amount, most = (to_usd(nano_of(cents)) for cents in (rule.threshold, rule.amount, rule.month_max))
    return (
        f"Whenever the credit of this account falls below {threshold} USD, charge {amount} USD and the tax that is due "
        "to the card or other means of payment that is saved for this account at Stripe, without asking again, and add "
        f"it as credit; at most {most} USD before tax in a calendar month (UTC). This holds until it is switched off, "
        "which can be done at any time. It is switched off by itself after a payment that is declined three times."
    )


class Need(StrEnum):
    """Whether credit is to be bought now."""

    NONE = "none"
    BUY = "buy"
    CEILING = "ceiling"
    """It would be, and the month's most is reached."""


def need_of(rule: Rule | None, credit_nano: int, *, bought_cents: int, is_active: bool) -> Need:
    """Whether an account needs a recharge.

    ``credit_nano``: its own credit, without what is lent; ``bought_cents``: this month's recharges, what is under
    way too.
    """
    if rule is None or not is_active or credit_nano >= nano_of(rule.threshold):
        return Need.NONE
    return Need.BUY if bought_cents + rule.amount <= rule.month_max else Need.CEILING


class Step(StrEnum):
    """What is done next about an open invoice."""

    PAY = "pay"
    WAIT = "wait"
    CANCEL = "cancel"
    GIVE_UP = "give_up"


def next_step(status: RechargeStatus, *, tries: int, is_due: bool, is_wanted: bool) -> Step:
    """What is done about an invoice that is open at Stripe.

    ``is_due``: ``look_at`` has come; ``is_wanted``: the rule is on and the credit is still below its threshold.
    """
    if status is RechargeStatus.PROCESSING:
        return Step.WAIT
    if tries >= TRIES_MAX:
        return Step.GIVE_UP
    if not is_wanted:
        return Step.CANCEL
    match status:
        case RechargeStatus.ACTION:
            return Step.GIVE_UP if is_due else Step.WAIT
        case RechargeStatus.DECLINED:
            return Step.PAY if is_due else Step.WAIT
        case _:
            return Step.PAY


def next_try(tries: int, now: datetime) -> datetime:
    """When the next try is after so many that were declined; now where it is to be given up."""
    return now + BACK_OFFS[tries - 1] if tries < TRIES_MAX else now


class RechargeOrder(msgspec.Struct, frozen=True):
    """What our own row says of an attempt."""

    invoice_id: str
    customer_id: str
    amount: Cents
    livemode: bool


def judge_invoice(order: RechargeOrder, invoice: Invoice, intent: Intent | None) -> Verdict:
    """What a paid invoice makes of the top-up: paid, or for a person where it is not what was ordered."""
    tax, discount = invoice.tax, invoice.discount
    facts = {
        "invoice": invoice.id == order.invoice_id and invoice.status == "paid",
        "mode": invoice.livemode is order.livemode,
        "customer": invoice.customer == order.customer_id,
        "currency": invoice.currency == CURRENCY,
        "amount": invoice.subtotal == order.amount
        and invoice.total == invoice.amount_paid == order.amount - discount + tax,
        "payment": intent is not None
        and intent.status == "succeeded"
        and intent.amount_received == invoice.total
        and intent.currency == CURRENCY
        and intent.customer == order.customer_id
        and intent.latest_charge is not None,
    }
    if differences := [name for name, is_right in facts.items() if not is_right]:
        return Verdict(
            TopupStatus.REVIEW, problem=f"It is paid, and {', '.join(differences)} not those that were ordered."
        )
    assert intent is not None, "else the payment differs"
    payment = Payment(
        intent_id=intent.id,
        charge_id=intent.latest_charge,
        paid=Cents(invoice.total),
        discount=Cents(discount),
        tax=Cents(tax),
        jurisdiction=invoice.jurisdiction if tax else "",
    )
    return Verdict(TopupStatus.PAID, payment)
