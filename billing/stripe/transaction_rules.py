"""Pure. Which entry each kind of movement of our balance at Stripe is.

A payment was booked when it was credited, so its transaction books the fee alone. Everything else is booked as it
stands. The legs of ``stripe_clearing`` of all transactions and payments sum to what Stripe has of ours. A kind that is
not here is booked as nothing and is for a person: the check "Stripe = clearing" stays red until then.
"""

from enum import StrEnum

import msgspec

from billing.chart import LedgerKind


class Movement(StrEnum):
    """What moved our balance; the value is the kind of its entry."""

    PAYMENT = "payment"
    REFUND = "refund"
    DISPUTE = "dispute"
    PAYOUT = "payout"
    FEE = "fee"


_MOVEMENTS = {
    "charge": Movement.PAYMENT,
    "payment": Movement.PAYMENT,
    "refund": Movement.REFUND,
    "payment_refund": Movement.REFUND,
    "refund_failure": Movement.REFUND,
    "payment_failure_refund": Movement.REFUND,
    "payout": Movement.PAYOUT,
    "payout_cancel": Movement.PAYOUT,
    "payout_failure": Movement.PAYOUT,
    "stripe_fee": Movement.FEE,
    "tax_fee": Movement.FEE,
}


class Leg(msgspec.Struct, frozen=True):
    """One leg in cents: positive is a credit, negative a debit; ``detail`` is a tax's jurisdiction."""

    kind: LedgerKind
    cents: int
    detail: str = ""


def movement_of(kind: str, category: str) -> Movement | None:
    """What a transaction is; None for what a person has to look at."""
    if kind == "adjustment":
        return Movement.DISPUTE if category.startswith("dispute") else None
    return _MOVEMENTS.get(kind)


def legs_of(
    movement: Movement, amount: int, fee: int, tax: int = 0, jurisdiction: str = "", *, is_collected: bool = False
) -> list[Leg]:
    """The legs of a transaction; ``amount`` in cents is negative where money left us. Legs of 0 are not booked.

    ``tax`` in cents, of the same sign, goes back with a refund or a dispute. ``is_collected``: of an invoice of drawn
    credit what goes back is owed again, with its tax, and nothing else changes.
    """
    net = amount - fee
    rest: list[Leg] = []
    match movement:
        case Movement.PAYMENT:
            net = -fee
        case Movement.REFUND | Movement.DISPUTE if is_collected:
            rest = [Leg(LedgerKind.CUSTOMER_RECEIVABLE, amount)]
        case Movement.REFUND:
            rest = [Leg(LedgerKind.REFUNDS, amount - tax), Leg(LedgerKind.TAX_PAYABLE, tax, jurisdiction)]
        case Movement.DISPUTE:
            rest = [Leg(LedgerKind.DISPUTES, amount - tax), Leg(LedgerKind.TAX_PAYABLE, tax, jurisdiction)]
        case Movement.PAYOUT:
            rest = [Leg(LedgerKind.BANK, amount)]
        case Movement.FEE:
            rest = [Leg(LedgerKind.STRIPE_FEES, amount)]
    return [Leg(LedgerKind.STRIPE_CLEARING, -net), *rest, Leg(LedgerKind.STRIPE_FEES, -fee)]
