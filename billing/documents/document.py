"""Pure. A document as a value: parties, lines, tax and totals. All its files are rendered from it, and nothing else.

Amounts of usage are nano-dollars (``…_nano``), what is paid is cents (``…_cents``). A credit note has the amounts of
the invoice that it takes back, positive, as EN 16931 wants it.
"""

from datetime import date, datetime, timedelta
from enum import StrEnum

import msgspec

from billing.documents.parties import BillingProfile, Seller
from billing.documents.rounding import NANO_PER_CENT, cents_of, half_even, share_cents, tax_cents
from billing.documents.tax import TaxDecision

NUMBER_DIGITS = 6
# A price is nano-dollars per so many tokens.
TOKENS_PER_PRICE = 1_000_000


class DocumentKind(StrEnum):
    """What a document is."""

    INVOICE = "invoice"
    """A month's usage."""
    TOPUP = "topup"
    """Credit that was bought and paid: a tax invoice."""
    CREDIT_NOTE = "credit_note"
    """Takes an invoice or a tax invoice back."""
    STATEMENT = "statement"
    """A month's movements of the balance: no invoice, no tax."""


SERIES_LETTERS = {
    DocumentKind.INVOICE: "INV",
    DocumentKind.TOPUP: "TOP",
    DocumentKind.CREDIT_NOTE: "CN",
    DocumentKind.STATEMENT: "ST",
}


class LineUsage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A month's calls of one model, lane and price.

    Each call is rounded up to a nano-dollar and never costs more than was held for it: ``amount_nano`` is tokens by
    price, plus ``rounded_up_femto`` (10^-15 USD, over all calls), less ``waived_nano``. ``root`` is the root of the
    Merkle tree over the calls, in hex, ordered by their ids.
    """

    model: str
    lane: str
    nano_per_mtok: int
    calls: int
    tokens: int
    rounded_up_femto: int
    waived_nano: int
    root: str
    month: date | msgspec.UnsetType = msgspec.UNSET
    """Whose calls they are, on an invoice of several months."""


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line: what for, how much, and its cents of the document's total."""

    description: str
    amount_nano: int
    cents: int
    usage: LineUsage | None = None


class Deduction(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is taken off before tax, and why: given credit, credit that was invoiced when it was bought, debt."""

    reason: str
    amount_nano: int
    cents: int


class LocalTax(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The tax in the currency of the seller's books, in hundredths of it, by a day's rate."""

    currency: str
    cents: int
    per_usd: str
    on_day: date
    source: str


class Reference(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """An earlier document that this one takes back, or a part of it, and why.

    Documents that were issued before there were parts have the same bytes still.
    """

    name: str
    issued_on: date
    reason: str
    is_partial: bool = False
    is_rest: bool = False
    """Whether parts of it were taken back before, and this takes back what is left."""


class Movement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One change of the balance, or all of a kind, in a month: positive is credit."""

    kind: str
    description: str
    amount_nano: int
    on: date | None = None


class SetOff(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What of an invoice is paid from what was paid of an earlier one, which was taken back."""

    name: str
    cents: int


class Statement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A month's opening and closing balance, and what lies between; debt is a negative balance."""

    opening_nano: int
    movements: tuple[Movement, ...]
    closing_nano: int


class Draft(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A document without a number. ``since`` and ``until``: the first and the last day of its supply."""

    kind: DocumentKind
    account: str
    seller: Seller
    buyer: BillingProfile
    issued_on: date
    since: date
    until: date
    lines: tuple[Line, ...]
    deductions: tuple[Deduction, ...] = ()
    net_cents: int = 0
    rounding_nano: int = 0
    tax: TaxDecision | None = None
    tax_cents: int = 0
    local_tax: LocalTax | None = None
    paid_cents: int = 0
    due_on: date | None = None
    paid_by: str = ""
    corrects: Reference | None = None
    statement: Statement | None = None
    set_off: tuple[SetOff, ...] | msgspec.UnsetType = msgspec.UNSET
    in_favour_cents: int | msgspec.UnsetType = msgspec.UNSET
    """What was paid of the invoice that a credit note takes back, which is the customer's."""
    carries: tuple[date, ...] | msgspec.UnsetType = msgspec.UNSET
    """Earlier months that an invoice has beside its own, which is the month of ``until``."""

    @property
    def period(self) -> date:
        """The month of an invoice or statement."""
        return self.until.replace(day=1)

    @property
    def months(self) -> tuple[date, ...]:
        """The months whose usage is on it, the oldest first."""
        return (*(self.carries or ()), self.period)

    @property
    def total_cents(self) -> int:
        """With tax."""
        return self.net_cents + self.tax_cents

    @property
    def due_cents(self) -> int:
        """What is still to be paid."""
        return self.total_cents - self.paid_cents

    @property
    def is_partial(self) -> bool:
        """Whether it is a credit note of a part of a document."""
        return self.corrects is not None and self.corrects.is_partial

    @property
    def is_share(self) -> bool:
        """Whether it is a credit note that has an amount of a document and not its lines."""
        return self.corrects is not None and (self.corrects.is_partial or self.corrects.is_rest)

    @property
    def series(self) -> str:
        """The series of its number: seller, kind and year."""
        return f"{self.seller.prefix}-{SERIES_LETTERS[self.kind]}-{self.issued_on.year}"


class Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A draft with its number: what is issued."""

    schema: str = "gigarouter.document/1"
    number: int
    draft: Draft

    @property
    def name(self) -> str:
        """The number as it is printed, such as ACME-INV-2026-000042."""
        return f"{self.draft.series}-{self.number:0{NUMBER_DIGITS}d}"


def encode(document: Document | Draft) -> bytes:
    """The document as JSON: the same bytes for the same document."""
    return msgspec.json.encode(document)


def decode(stored: bytes) -> Document:
    """The document that :func:`encode` wrote."""
    return msgspec.json.decode(stored, type=Document)


def exact_line(usage: LineUsage) -> int:
    """The amount that tokens, price and the line's own figures of rounding come to, in femto-dollars."""
    waived = usage.waived_nano * TOKENS_PER_PRICE
    return usage.tokens * usage.nano_per_mtok + usage.rounded_up_femto - waived


def with_totals(
    draft: Draft, amounts: list[tuple[str, int, LineUsage | None]], taken_off: list[tuple[str, int]]
) -> Draft:
    """The draft with lines and deductions of these nano-dollars, its cents, and its tax.

    Cents are made once, of the net amount; each line has its share of them. What they differ by is ``rounding_nano``.
    """
    net_nano = sum(nano for _, nano, _ in amounts) - sum(nano for _, nano in taken_off)
    shares = share_cents([*(nano for _, nano, _ in amounts), *(-nano for _, nano in taken_off)])
    lines = tuple(Line(what, nano, cents, usage) for (what, nano, usage), cents in zip(amounts, shares, strict=False))
    rest = shares[len(amounts) :]
    deductions = tuple(Deduction(why, nano, -cents) for (why, nano), cents in zip(taken_off, rest, strict=True) if nano)
    net = cents_of(net_nano)
    tax = 0 if draft.tax is None else tax_cents(net, draft.tax.rate)
    return msgspec.structs.replace(
        draft,
        lines=lines,
        deductions=deductions,
        net_cents=net,
        rounding_nano=net * NANO_PER_CENT - net_nano,
        tax_cents=tax,
    )


def local_tax(draft: Draft, numerator: int, denominator: int, on_day: date, source: str) -> LocalTax:
    """The draft's tax in the currency of its seller's books, by a rate of so much per US dollar."""
    cents = half_even(draft.tax_cents * numerator, denominator)
    whole, rest = divmod(numerator * 10**10, denominator)
    assert rest == 0, "a rate has at most ten decimals; this is a bug"
    rate = f"{whole // 10**10}.{whole % 10**10:010d}".rstrip("0").rstrip(".")
    return LocalTax(draft.seller.currency, cents, rate, on_day, source)


def due_on(buyer: BillingProfile, issued_on: date) -> date:
    """When an invoice is due."""
    return issued_on + timedelta(days=buyer.terms_days)


def month_of(period: date) -> tuple[date, date]:
    """The first and the last day of a month."""
    following = (period.replace(day=1) + timedelta(days=31)).replace(day=1)
    return period.replace(day=1), following - timedelta(days=1)


def month_bounds(period: date) -> tuple[datetime, datetime]:
    """The instants from which and before which calls belong to a month, as text that Postgres reads in UTC."""
    since, last = month_of(period)
    return _midnight(since), _midnight(last + timedelta(days=1))


def _midnight(day: date) -> datetime:
    return datetime.fromisoformat(f"{day}T00:00:00+00:00")
