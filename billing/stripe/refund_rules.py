"""Pure. How much of a payment a refund is, and what it may become.

What is refunded is purchased credit in whole cents and its share of the tax. The shares of several refunds of one
payment sum to its tax: each is what is due of all of them together, less what was refunded before. What a discount paid
is not refunded.
"""

from enum import StrEnum

import msgspec

from billing.stripe.values import Cents


class RefundStatus(StrEnum):
    """The life of a refund."""

    REQUESTED = "requested"
    """Its credit is still the customer's."""
    TAKEN = "taken"
    """The credit is taken; Stripe is asked next."""
    SENT = "sent"
    """Stripe has it."""
    SUCCEEDED = "succeeded"
    """The money is on its way to the customer."""
    FAILED = "failed"
    """It came back, or Stripe refused it: the credit is given back."""
    EMPTY = "empty"
    """Nothing was left to take."""


class Refundable(msgspec.Struct, frozen=True):
    """A payment as refunds see it: what was paid for credit, its tax, and both of what was refunded before."""

    credit: Cents
    tax: Cents
    refunded_credit: Cents = Cents(0)
    refunded_tax: Cents = Cents(0)

    @property
    def left(self) -> Cents:
        """The most credit that can still be refunded."""
        return Cents(self.credit - self.refunded_credit)

    def tax_share(self, credit: Cents) -> Cents:
        """The tax that goes back with so much credit."""
        if self.credit == 0:
            return Cents(0)
        due = self.tax * (self.refunded_credit + credit) // self.credit
        return Cents(max(0, due - self.refunded_tax))

    def credit_of(self, total: Cents) -> Cents:
        """The credit in a refund of so much in all, which somebody made at Stripe."""
        paid = self.credit + self.tax
        return Cents(0) if paid == 0 else Cents(min(self.credit, (self.credit * total + paid - 1) // paid))


class Part(msgspec.Struct, frozen=True):
    """How much of one top-up's credit is to be refunded."""

    position: int
    amount: Cents


def split(wanted: Cents, refundable: list[Cents]) -> list[Part]:
    """Take ``wanted`` from what is refundable of each top-up, in this order: the newest first."""
    parts: list[Part] = []
    for position, amount in enumerate(refundable):
        take = min(wanted - sum(part.amount for part in parts), amount)
        if take > 0:
            parts.append(Part(position, Cents(take)))
    return parts


def outcome_of(stripe_status: str | None) -> RefundStatus:
    """What Stripe's status of a refund makes of ours."""
    match stripe_status:
        case "succeeded":
            return RefundStatus.SUCCEEDED
        case "failed" | "canceled":
            return RefundStatus.FAILED
        case _:
            return RefundStatus.SENT
