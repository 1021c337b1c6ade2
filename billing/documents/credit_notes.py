"""Pure. Makes credit notes: of a whole document, whose usage is then on no invoice, or of a part of it.

A part is a net amount, or a line's, with its share of the tax: the shares of all parts sum to the document's tax. No
more than what is left of a document is taken back.
"""

from collections.abc import Sequence
from datetime import date
from fractions import Fraction

import msgspec

from billing.documents.document import Document, DocumentKind, Draft, Line, LocalTax, Reference
from billing.documents.faults import DocumentRefused
from billing.documents.rounding import NANO_PER_CENT, half_even
from billing.documents.words import WORDS, cents_text

RULE = "credits-what-is-left"


class Credited(msgspec.Struct, frozen=True):
    """What a part is: its net and tax in cents; ``tax_cents`` None: its share. ``paid_by``: how it was paid back."""

    net_cents: int
    reason: str
    line: int = 0
    tax_cents: int | None = None
    paid_by: str = ""


def credit_note_of(document: Document, issued_on: date, reason: str) -> Draft:
    """The credit note that takes a whole document back. Parties, lines and tax are those of the document."""
    return msgspec.structs.replace(
        document.draft,
        kind=DocumentKind.CREDIT_NOTE,
        issued_on=issued_on,
        due_on=None,
        paid_cents=0,
        set_off=msgspec.UNSET,
        corrects=Reference(document.name, document.draft.issued_on, reason),
    )


def rest_note_of(document: Document, notes: Sequence[Document], issued_on: date, reason: str) -> Draft:
    """The credit note of all that credit notes of parts left of a document.

    Raises :class:`DocumentRefused` where they left nothing.
    """
    net, tax = left_of(document, notes)
    if net <= 0 and tax <= 0:
        raise DocumentRefused(RULE, "amount", f"of {document.name} nothing is left to credit")
    draft = document.draft
    words = WORDS[draft.buyer.language]["credited_rest"]
    return msgspec.structs.replace(
        credit_note_of(document, issued_on, reason),
        lines=(Line(words.format(what=document.name), net * NANO_PER_CENT, net),),
        deductions=(),
        net_cents=net,
        rounding_nano=0,
        tax_cents=tax,
        local_tax=_local(draft.local_tax, tax),
        corrects=Reference(document.name, draft.issued_on, reason, is_rest=True),
    )


def left_of(document: Document, notes: Sequence[Document]) -> tuple[int, int]:
    """Net and tax of a document that no credit note has taken back yet, in cents."""
    net = document.draft.net_cents - sum(note.draft.net_cents for note in notes)
    return net, document.draft.tax_cents - sum(note.draft.tax_cents for note in notes)


def partial_note_of(document: Document, notes: Sequence[Document], part: Credited, issued_on: date) -> Draft:
    """The credit note of a part. Raises :class:`DocumentRefused` where less is left of the document."""
    draft = document.draft
    if not 0 <= part.line <= len(draft.lines):
        raise DocumentRefused(RULE, "line", f"{document.name} has {len(draft.lines)} lines")
    net = part.net_cents or (draft.lines[part.line - 1].cents if part.line else 0)
    net_left, tax_left = left_of(document, notes)
    most = min(net_left, draft.lines[part.line - 1].cents) if part.line else net_left
    if not 0 < net <= most:
        raise DocumentRefused(RULE, "amount", f"of {document.name} {cents_text(most)} USD net are left to credit")
    tax = part.tax_cents
    if tax is None:
        due = half_even(draft.tax_cents * (draft.net_cents - net_left + net), draft.net_cents)
        tax = max(0, min(tax_left, due - (draft.tax_cents - tax_left)))
    if tax > tax_left:
        raise DocumentRefused(RULE, "tax_cents", f"of {document.name} {cents_text(tax_left)} USD of tax are left")
    return msgspec.structs.replace(
        draft,
        kind=DocumentKind.CREDIT_NOTE,
        issued_on=issued_on,
        lines=(Line(_description(document, part), net * NANO_PER_CENT, net),),
        deductions=(),
        net_cents=net,
        rounding_nano=0,
        tax_cents=tax,
        local_tax=_local(draft.local_tax, tax),
        paid_cents=net + tax if part.paid_by else 0,
        paid_by=part.paid_by,
        due_on=None,
        set_off=msgspec.UNSET,
        corrects=Reference(document.name, draft.issued_on, part.reason, is_partial=True),
    )


def _description(document: Document, part: Credited) -> str:
    words = WORDS[document.draft.buyer.language]
    if document.draft.kind is DocumentKind.TOPUP:
        return words["refunded"]
    what = document.draft.lines[part.line - 1].description if part.line else document.name
    return words["credited"].format(what=what)


def _local(local: LocalTax | None, tax_cents: int) -> LocalTax | None:
    """The part's tax in the currency of the seller's books, by the rate of the document."""
    if local is None or not tax_cents:
        return None
    rate = Fraction(local.per_usd)
    return msgspec.structs.replace(local, cents=half_even(tax_cents * rate.numerator, rate.denominator))
