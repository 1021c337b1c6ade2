"""Pure. Stripe's objects as far as we read them, and cents.

Everything else in Stripe's answers is left out here; identifiers of other objects are ids, never the objects.
"""

from typing import NewType

import msgspec

from billing.money import NanoUSD

Cents = NewType("Cents", int)

NANO_PER_CENT = 10_000_000
CURRENCY = "usd"


def nano_of(cents: int) -> NanoUSD:
    """Cents as the ledger has them."""
    return NanoUSD(cents * NANO_PER_CENT)


def whole_cents(amount: int) -> Cents:
    """The whole cents in an amount that is not negative; what is left is less than a cent."""
    return Cents(amount // NANO_PER_CENT)


class StripeObject(msgspec.Struct, frozen=True, kw_only=True):
    """What all of them have."""

    id: str


class InvoiceSettings(msgspec.Struct, frozen=True):
    """What a customer chose in the portal."""

    default_payment_method: str | None = None


class Customer(StripeObject, frozen=True):
    """Who pays, as Stripe knows them."""

    invoice_settings: InvoiceSettings | None = None


class Aggregation(msgspec.Struct, frozen=True):
    """What a meter makes of its events."""

    formula: str


class Meter(StripeObject, frozen=True):
    """A meter; ``event_time_window``: of each such window only the newest event counts."""

    event_name: str
    default_aggregation: Aggregation
    event_time_window: str | None = None


class MeterSummary(StripeObject, frozen=True):
    """What a meter has of a customer and a span of time, which begins at ``start_time`` (Unix time)."""

    aggregated_value: float
    start_time: int


class PaymentMethod(StripeObject, frozen=True):
    """A card, or another means of payment, that is saved."""

    type: str


class PortalSession(StripeObject, frozen=True):
    """A link to the billing portal."""

    url: str
    customer: str | None = None


class TotalDetails(msgspec.Struct, frozen=True):
    """What a page added to the ordered amount."""

    amount_discount: int = 0
    amount_tax: int = 0


class Address(msgspec.Struct, frozen=True):
    """As much of an address as says which tax is owed."""

    country: str | None = None
    state: str | None = None


class CustomerDetails(msgspec.Struct, frozen=True):
    """What a customer typed on the page, as far as it is read here."""

    address: Address | None = None


def jurisdiction_of(address: Address | None) -> str:
    """Where a customer is for tax: a country, with a state in the United States and Canada."""
    if address is None or address.country is None:
        return ""
    is_federal = address.country in ("US", "CA") and address.state
    return f"{address.country}-{address.state}" if is_federal else address.country


class Session(StripeObject, frozen=True):
    """A page of Checkout. ``payment_status``: unpaid, paid, no_payment_required."""

    status: str | None
    payment_status: str
    currency: str | None
    amount_subtotal: int | None
    amount_total: int | None
    customer: str | None
    livemode: bool
    url: str | None = None
    client_reference_id: str | None = None
    payment_intent: str | None = None
    total_details: TotalDetails | None = None
    customer_details: CustomerDetails | None = None

    @property
    def jurisdiction(self) -> str:
        """Where the customer is for tax."""
        return jurisdiction_of(self.customer_details.address if self.customer_details else None)


class Part(msgspec.Struct, frozen=True):
    """A tax or a discount of an invoice."""

    amount: int


class Invoice(StripeObject, frozen=True):
    """An invoice. ``status``: draft, open, paid, void, uncollectible."""

    status: str | None
    livemode: bool
    currency: str
    customer: str
    subtotal: int
    total: int
    amount_paid: int
    amount_due: int = 0
    amount_remaining: int = 0
    metadata: dict[str, str] | None = None
    hosted_invoice_url: str | None = None
    customer_address: Address | None = None
    total_taxes: tuple[Part, ...] | None = None
    total_discount_amounts: tuple[Part, ...] | None = None

    @property
    def tax(self) -> int:
        """All of its taxes, which are on top of the subtotal."""
        return sum(one.amount for one in self.total_taxes or ())

    @property
    def discount(self) -> int:
        """What codes took off."""
        return sum(one.amount for one in self.total_discount_amounts or ())

    @property
    def jurisdiction(self) -> str:
        """Where the customer is for tax."""
        return jurisdiction_of(self.customer_address)


class CreditNote(StripeObject, frozen=True):
    """What lowers an invoice of Stripe's."""

    amount: int


class AssociatedPayment(msgspec.Struct, frozen=True):
    """What an invoice was paid by."""

    payment_intent: str | None = None


class InvoicePayment(StripeObject, frozen=True):
    """A payment of an invoice."""

    invoice: str
    status: str
    payment: AssociatedPayment
    amount_paid: int | None = None


class Intent(StripeObject, frozen=True):
    """A payment with all its attempts."""

    status: str
    livemode: bool
    amount_received: int = 0
    currency: str | None = None
    customer: str | None = None
    latest_charge: str | None = None
    metadata: dict[str, str] | None = None


class Charge(StripeObject, frozen=True):
    """One attempt of a payment; the one that succeeded has a balance transaction."""

    amount: int
    status: str
    livemode: bool
    payment_intent: str | None = None
    balance_transaction: str | None = None


class Refund(StripeObject, frozen=True):
    """Money on its way back. ``status``: pending, requires_action, succeeded, failed, canceled."""

    amount: int
    currency: str
    status: str | None = None
    charge: str | None = None
    payment_intent: str | None = None
    metadata: dict[str, str] | None = None


class DisputeEvidence(msgspec.Struct, frozen=True):
    """What Stripe says of our answer to a dispute; ``due_by`` is a Unix time."""

    due_by: int | None = None


class Dispute(StripeObject, frozen=True):
    """A payment that the card's owner disputes."""

    amount: int
    currency: str
    charge: str
    status: str
    reason: str
    evidence_details: DisputeEvidence | None = None


class Transaction(StripeObject, frozen=True):
    """A movement of our balance at Stripe; ``net`` is what it changed."""

    type: str
    reporting_category: str
    currency: str
    amount: int
    fee: int
    net: int
    created: int
    source: str | None = None


class Payout(StripeObject, frozen=True):
    """Money on its way to our bank. ``status``: pending, in_transit, paid, failed, canceled."""

    amount: int
    currency: str
    status: str
    created: int


class TaxRateDetails(Address, frozen=True):
    """Whose tax it is, and its percentage as decimal text."""

    percentage_decimal: str = "0"
    tax_type: str | None = None


class TaxBreakdown(msgspec.Struct, frozen=True):
    """One tax of a calculation."""

    amount: int
    taxability_reason: str
    tax_rate_details: TaxRateDetails


class TaxCalculation(msgspec.Struct, frozen=True):
    """What Stripe works out as the tax of a supply; nothing is kept of it there."""

    currency: str
    amount_total: int
    tax_amount_exclusive: int
    tax_amount_inclusive: int
    tax_breakdown: tuple[TaxBreakdown, ...] = ()


class Event(StripeObject, frozen=True):
    """Something happened to ``object_id``, which is an object of the kind ``object_kind``."""

    type: str
    created: int
    livemode: bool
    object_id: str
    object_kind: str
    charge: str | None = None


class Amount(msgspec.Struct, frozen=True):
    """Money in one currency."""

    amount: int
    currency: str


class Balance(msgspec.Struct, frozen=True):
    """What Stripe has of ours: not yet, and already, ours to pay out."""

    pending: tuple[Amount, ...]
    available: tuple[Amount, ...]

    @property
    def cents(self) -> Cents:
        """All of it in our currency."""
        return Cents(sum(one.amount for one in (*self.pending, *self.available) if one.currency == CURRENCY))
