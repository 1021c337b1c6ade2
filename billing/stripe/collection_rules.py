"""Pure. How an invoice of drawn credit is collected at Stripe: its states, its lines there, and what ends it.

Stripe demands what is open of our receivable and nothing else: the lines are those of our document in cents, tax is a
line, and what is paid elsewhere, credited or given up here lowers or ends what Stripe demands.
"""

from enum import StrEnum

import msgspec

from billing.documents.document import Draft
from billing.documents.words import WORDS
from billing.stripe.values import CURRENCY, Cents, Intent, Invoice

# Stripe takes 250 lines of an invoice; what is beyond is one line, and our own file has each.
LINES_MAX = 200
# Longer numbers go into a field of their own (a prefix of twelve letters makes 27).
NUMBER_LENGTH_MAX = 26


class CollectionStatus(StrEnum):
    """How far a collection is."""

    NEW = "new"
    """To be made at Stripe."""
    OPEN = "open"
    """Final at Stripe: the customer can pay it."""
    PAID = "paid"
    ENDED = "ended"
    """Nothing is demanded there any more."""
    REVIEW = "review"
    """Not made, and for a person."""


MOVES: dict[CollectionStatus, frozenset[CollectionStatus]] = {
    CollectionStatus.NEW: frozenset(
        {CollectionStatus.OPEN, CollectionStatus.PAID, CollectionStatus.ENDED, CollectionStatus.REVIEW}
    ),
    CollectionStatus.REVIEW: frozenset({CollectionStatus.NEW, CollectionStatus.ENDED}),
    CollectionStatus.OPEN: frozenset({CollectionStatus.PAID, CollectionStatus.ENDED}),
    # What was given up may still be paid on its page.
    CollectionStatus.ENDED: frozenset({CollectionStatus.PAID}),
    CollectionStatus.PAID: frozenset(),
}
# What Stripe's invoice is -> what the collection is.
STATUS_OF = {
    "open": CollectionStatus.OPEN,
    "paid": CollectionStatus.PAID,
    "void": CollectionStatus.ENDED,
    "uncollectible": CollectionStatus.ENDED,
}


class ItemLine(msgspec.Struct, frozen=True):
    """A line of Stripe's invoice."""

    description: str
    cents: int


class Lowering(StrEnum):
    """How Stripe is brought to demand less."""

    CREDIT = "credit"
    """A credit note of Stripe's, of a part."""
    VOID = "void"
    UNCOLLECTIBLE = "uncollectible"
    PAID_ELSEWHERE = "paid_elsewhere"


def lines_of(draft: Draft) -> list[ItemLine]:
    """The document's lines, what is taken off, and its tax, which sum to what is to be paid."""
    lines = [ItemLine(line.description, line.cents) for line in draft.lines]
    lines += [ItemLine(one.reason, -one.cents) for one in draft.deductions]
    if len(lines) > LINES_MAX:
        words = WORDS[draft.buyer.language]["more_lines"]
        rest = sum(line.cents for line in lines[LINES_MAX - 1 :])
        lines = [*lines[: LINES_MAX - 1], ItemLine(words.format(count=len(lines) - LINES_MAX + 1), rest)]
    words = WORDS[draft.buyer.language]["set_off"]
    lines += [ItemLine(words.format(number=one.name), -one.cents) for one in draft.set_off or ()]
    if draft.tax_cents:
        lines.append(ItemLine(draft.tax.reason if draft.tax else "", draft.tax_cents))
    return lines


def total_fault(invoice: Invoice, customer: str, due_cents: int, *, livemode: bool) -> str:
    """How Stripe's invoice is not ours; nothing where it is. A final one demands all of its total."""
    checks = (
        (invoice.livemode is livemode, f"its livemode is {invoice.livemode}"),
        (invoice.currency == CURRENCY, f"its currency is {invoice.currency}"),
        (invoice.customer == customer, f"its customer is {invoice.customer}, not {customer}"),
        (invoice.total == due_cents, f"its total is {invoice.total} cents, ours {due_cents}"),
        (
            invoice.status == "draft" or invoice.amount_due == invoice.total,
            f"it demands {invoice.amount_due} cents of {invoice.total}: a balance of the customer's was taken off",
        ),
    )
    return "; ".join(fault for is_right, fault in checks if not is_right)


def payment_fault(intent: Intent, customer: str, amount: Cents, *, livemode: bool) -> str:
    """How a payment is not of the collection; nothing where it is."""
    checks = (
        (intent.status == "succeeded" and intent.latest_charge is not None, f"it is {intent.status}"),
        (intent.livemode is livemode, f"its livemode is {intent.livemode}"),
        (intent.currency == CURRENCY, f"its currency is {intent.currency}"),
        (intent.customer == customer, f"its customer is {intent.customer}, not {customer}"),
        (intent.amount_received == amount, f"{intent.amount_received} cents were received, {amount} are paid by it"),
    )
    return "; ".join(fault for is_right, fault in checks if not is_right)


def lowering_of(
    invoice: Invoice, open_cents: int, *, is_credited: bool, is_written_off: bool
) -> tuple[Lowering, Cents] | None:
    """How Stripe is brought to demand no more than is open, and by how much less; None where it does not."""
    gap = Cents(invoice.amount_remaining - max(0, open_cents))
    if invoice.status != "open" or gap <= 0:
        return None
    if open_cents > 0 or (is_credited and invoice.amount_paid):
        return Lowering.CREDIT, gap
    if is_written_off:
        return Lowering.UNCOLLECTIBLE, gap
    return (Lowering.VOID if is_credited else Lowering.PAID_ELSEWHERE), gap
