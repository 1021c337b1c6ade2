"""Answers of documents: what customers and operators see of one, its files, and what became of a request for one."""

import base64
from datetime import date
from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import Field

from billing.documents.document import DocumentKind, Draft, Line, LineUsage
from billing.documents.files import DocumentFile
from billing.documents.requests import DocumentRequest, RequestState
from billing.documents.store import StoredDocument
from billing.documents.words import cents_text, femto_text
from billing.money import NanoUSD
from billing.stripe.collection_rules import CollectionStatus
from router.api.fields import AccountIdText, DocumentIdText, DocumentRequestIdText, Instant, TextValue, Usd, text_of
from router.api.forms import Answer, Resource
from router.api.periods import Period, period_of

FileFormat: TypeAlias = Literal["pdf", "json", "csv", "ubl", "facturx"]
SearchText: TypeAlias = Annotated[str, text_of(200)]
SEARCH = "Words that begin words of the number, the customer's name or their order number; or a total, such as 12.50."


def _month(text: str) -> date:
    found: Period = period_of(text)
    if len(text) != len("2026-11"):
        raise ValueError(text)
    return found.since.date()


Month: TypeAlias = Annotated[
    date,
    TextValue(
        _month, lambda day: f"{day:%Y-%m}", "a month in UTC, such as 2026-11", pattern="^[0-9]{4}-(0[1-9]|1[0-2])$"
    ),
]


class FileOut(Answer):
    """One of a document's files, without its content."""

    format: str
    media: str
    sha256: str = Field(description="Of its bytes, in hex.")


class ContentOut(FileOut):
    """One of a document's files, as it was stored when it was issued."""

    content: str = Field(description="Its bytes in base64.")
    object: Literal["document.file"] = "document.file"


class DocumentOut(Resource):
    """An issued document: amounts are USD as decimal text. It never changes; a credit note takes it back."""

    volatile: ClassVar[frozenset[str]] = frozenset({"corrected_by", "credit_notes", "payment_url", "collection"})
    columns: ClassVar[tuple[str, ...]] = ("number", "kind", "customer", "period", "issued_on", "total", "due")

    id: DocumentIdText
    number: str
    kind: DocumentKind
    account: AccountIdText
    seller: str
    customer: str
    period: Month | None = Field(description="The month whose usage it is of; null for top-ups and what corrects them.")
    issued_on: date
    due_on: date | None
    net: str
    tax: str
    total: str
    due: str = Field(description="What is still to be paid when it was issued.")
    tax_category: str | None = Field(
        description="EN 16931's code: S, AE (reverse charge), O (outside of VAT), E (exempt)."
    )
    tax_reason: str | None
    corrects: str | None = Field(description="The number of the document that this credit note takes back.")
    corrected_by: str | None = Field(description="The number of the credit note that took all of it back.")
    credit_notes: tuple[str, ...] = Field(description="The numbers of its credit notes, those of a part of it, too.")
    payment_url: str | None = Field(description="The page at Stripe on which it can be paid, while it can.")
    collection: CollectionStatus | None = Field(
        description="How far Stripe's collecting is; null where Stripe does not collect it. review: for a person."
    )
    lines: int
    files: list[FileOut] | None = Field(None, description="Null in a list.")
    currency: Literal["USD"] = "USD"
    object: Literal["document"] = "document"


class RequestOut(Answer):
    """A document that somebody wants. The jobs process issues it within seconds, or says why it cannot."""

    columns: ClassVar[tuple[str, ...]] = ("id", "kind", "state", "fault", "number", "created_by", "created_at")

    id: DocumentRequestIdText
    kind: DocumentKind
    account: AccountIdText
    state: RequestState
    fault: str = Field(description="Where it was refused: the rule that it fails, the field, and why.")
    number: str | None = Field(description="The number of the document that was issued.")
    created_at: Instant
    created_by: str
    object: Literal["document_request"] = "document_request"


class DetailChangeOut(Answer):
    """One of the billing details, as the document has it and as the new one will."""

    field: Literal["legal_name", "address", "tax_ids", "po_number", "language"]
    before: str
    after: str


class CorrectionOut(Answer):
    """That an invoice is taken back, by a credit note of all of it, and issued anew; jobs do so within seconds."""

    number: str = Field(description="The invoice that is taken back.")
    request: DocumentRequestIdText
    state: RequestState
    changes: list[DetailChangeOut]
    object: Literal["document.correction"] = "document.correction"


class LineOut(Answer):
    """A line: a month's calls of one model, lane and price."""

    description: str
    lane: str
    calls: int
    tokens: int
    usd_per_mtok: Usd
    rounded_up_usd: str = Field(description="What rounding each call up to a billionth of a dollar adds.")
    waived_usd: Usd = Field(description="What calls cost beyond what was held for them, which nobody pays.")
    exact_usd: Usd
    amount: str = Field(description="Its share of the cents.")


class AmountOut(Answer):
    """What is taken off before tax, or a change of the balance."""

    description: str
    exact_usd: Usd


class DraftOut(Answer):
    """A document as it would be issued now. It has no number, and nothing is stored."""

    kind: DocumentKind
    seller: str
    customer: str
    since: date
    until: date
    lines: list[LineOut]
    deductions: list[AmountOut]
    movements: list[AmountOut]
    opening_usd: Usd | None
    closing_usd: Usd | None
    net: str
    rounding_usd: Usd = Field(description="What cents differ by from the exact sum; it is booked.")
    tax: str
    tax_category: str | None
    tax_reason: str | None
    total: str
    due_on: date | None
    currency: Literal["USD"] = "USD"
    object: Literal["document.draft"] = "document.draft"


def draft_out(draft: Draft) -> DraftOut:
    """A draft as it is answered."""
    statement = draft.statement
    return DraftOut(
        kind=draft.kind,
        seller=draft.seller.id,
        customer=draft.buyer.legal_name,
        since=draft.since,
        until=draft.until,
        lines=[_line_out(line, line.usage) for line in draft.lines if line.usage],
        deductions=[AmountOut(description=one.reason, exact_usd=NanoUSD(-one.amount_nano)) for one in draft.deductions],
        movements=[
            AmountOut(description=f"{one.kind}: {one.description}", exact_usd=NanoUSD(one.amount_nano))
            for one in (statement.movements if statement else ())
        ],
        opening_usd=NanoUSD(statement.opening_nano) if statement else None,
        closing_usd=NanoUSD(statement.closing_nano) if statement else None,
        net=cents_text(draft.net_cents),
        rounding_usd=NanoUSD(draft.rounding_nano),
        tax=cents_text(draft.tax_cents),
        tax_category=draft.tax.category.value if draft.tax else None,
        tax_reason=draft.tax.reason if draft.tax else None,
        total=cents_text(draft.total_cents),
        due_on=draft.due_on,
    )


def _line_out(line: Line, usage: LineUsage) -> LineOut:
    return LineOut(
        description=line.description,
        lane=usage.lane,
        calls=usage.calls,
        tokens=usage.tokens,
        usd_per_mtok=NanoUSD(usage.nano_per_mtok),
        rounded_up_usd=femto_text(usage.rounded_up_femto),
        waived_usd=NanoUSD(usage.waived_nano),
        exact_usd=NanoUSD(line.amount_nano),
        amount=cents_text(line.cents),
    )


def document_out(stored: StoredDocument, files: list[DocumentFile] | None = None) -> DocumentOut:
    """A document as it is answered."""
    draft = stored.document.draft
    monthly = draft.kind in (DocumentKind.INVOICE, DocumentKind.STATEMENT)
    return DocumentOut(
        id=stored.id,
        number=stored.document.name,
        kind=draft.kind,
        account=stored.account_id,
        seller=draft.seller.id,
        customer=draft.buyer.legal_name,
        period=draft.period if monthly else None,
        issued_on=draft.issued_on,
        due_on=draft.due_on,
        net=cents_text(draft.net_cents),
        tax=cents_text(draft.tax_cents),
        total=cents_text(draft.total_cents),
        due=cents_text(draft.due_cents),
        tax_category=draft.tax.category.value if draft.tax else None,
        tax_reason=draft.tax.reason if draft.tax else None,
        corrects=draft.corrects.name if draft.corrects else None,
        corrected_by=stored.corrected_by,
        credit_notes=stored.credit_notes,
        payment_url=stored.payment_url,
        collection=CollectionStatus(stored.collection) if stored.collection else None,
        lines=len(draft.lines),
        files=None if files is None else [file_out(one) for one in files],
    )


def file_out(file: DocumentFile) -> FileOut:
    """A file without its content."""
    return FileOut(format=file.format, media=file.media, sha256=file.sha256.hex())


def content_out(file: DocumentFile) -> ContentOut:
    """A file with its content."""
    content = base64.b64encode(file.content).decode()
    return ContentOut(format=file.format, media=file.media, sha256=file.sha256.hex(), content=content)


def request_out(request: DocumentRequest, number: str | None) -> RequestOut:
    """A request as it is answered."""
    return RequestOut(
        id=request.id,
        kind=request.kind,
        account=request.account_id,
        state=request.state,
        fault=request.fault,
        number=number,
        created_at=request.created_at,
        created_by=request.created_by,
    )
