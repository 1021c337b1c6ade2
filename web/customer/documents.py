"""``/accounts/{account}/documents``: invoices, credit notes and statements, each with its files."""

from datetime import date
from typing import ClassVar
from urllib.parse import urlencode

import msgspec

from router.api.in_process import OperationRefused
from web.answers import Crumb, File, Page
from web.customer.money import nano
from web.faults import NotFound
from web.parts.money import exact
from web.request import PageRequest

PAGE_ROWS = "50"
WORDS = {"invoice": "invoice", "topup": "invoice, paid", "credit_note": "credit note", "statement": "statement"}
# What each form of a file is for.
FILE_WORDS = {
    "pdf": "PDF",
    "facturx": "PDF with the invoice as XML in it (Factur-X)",
    "ubl": "XML (UBL)",
    "csv": "lines as CSV",
    "json": "JSON, with what proves each call",
}
SUFFIXES = {"facturx": "pdf", "ubl": "xml"}


class _File(msgspec.Struct, frozen=True):
    format: str
    media: str
    sha256: str


class _Document(msgspec.Struct, frozen=True):
    number: str
    kind: str
    seller: str
    customer: str
    period: str | None
    issued_on: date
    due_on: date | None
    net: str
    tax: str
    total: str
    due: str
    tax_reason: str | None
    corrects: str | None
    corrected_by: str | None
    payment_url: str | None = None
    credit_notes: tuple[str, ...] = ()
    lines: int = 0
    files: list[_File] | None = None


class _Documents(msgspec.Struct, frozen=True):
    data: list[_Document]
    next_cursor: str | None = None


class _Content(msgspec.Struct, frozen=True):
    media: str
    content: bytes


class DocumentRow(msgspec.Struct, frozen=True):
    """A document in the list. Amounts are text, in USD."""

    number: str
    words: str
    period: str | None
    issued_on: date
    due_on: date | None
    total: str
    due: str
    corrected_by: str | None


class DocumentFile(msgspec.Struct, frozen=True):
    """One of a document's files; ``sha256`` is of its bytes."""

    name: str
    href: str
    sha256: str


class DocumentsPage(Page, frozen=True, kw_only=True):
    """The list."""

    template: ClassVar[str] = "customer/documents.html"

    base: str
    rows: tuple[DocumentRow, ...]
    next_href: str | None = None
    first_href: str | None = None


class DocumentPage(Page, frozen=True, kw_only=True):
    """One document."""

    template: ClassVar[str] = "customer/document.html"

    base: str
    details: str
    row: DocumentRow
    seller: str
    customer: str
    net: str
    tax: str
    tax_reason: str | None
    corrects: str | None
    credit_notes: tuple[str, ...]
    lines: int
    payment_url: str | None
    files: tuple[DocumentFile, ...]


class DocumentsQuery(msgspec.Struct, frozen=True):
    """Which part of the list."""

    cursor: str | None = None


async def show(request: PageRequest) -> DocumentsPage:
    """The account's documents, the oldest first."""
    cursor = request.query_as(DocumentsQuery).cursor
    wanted = {"limit": PAGE_ROWS} | ({"cursor": cursor} if cursor else {})
    found = (await request.run("list_own_documents", _Documents, query=wanted)).value
    base = _base(request)
    return DocumentsPage(
        title="Documents",
        base=base,
        rows=tuple(_row(one) for one in found.data),
        next_href=f"{base}?{urlencode({'cursor': found.next_cursor})}" if found.next_cursor else None,
        first_href=base if cursor else None,
    )


async def show_one(request: PageRequest) -> DocumentPage:
    """One document, with its files."""
    number = request.values["number"]
    try:
        one = (await request.run("retrieve_own_document", _Document, path={"number": number})).value
    except OperationRefused as refused:
        raise _not_found(refused) from None
    base = _base(request)
    return DocumentPage(
        title=f"{WORDS.get(one.kind, one.kind).capitalize()} {one.number}",
        crumbs=(Crumb("Documents", base), Crumb(one.number)),
        base=base,
        details=f"/accounts/{request.values['account']}/billing",
        row=_row(one),
        seller=one.seller,
        customer=one.customer,
        net=_usd(one.net),
        tax=_usd(one.tax),
        tax_reason=one.tax_reason,
        corrects=one.corrects,
        credit_notes=one.credit_notes,
        lines=one.lines,
        payment_url=one.payment_url,
        files=tuple(
            DocumentFile(FILE_WORDS.get(file.format, file.format), f"{base}/{one.number}/{file.format}", file.sha256)
            for file in one.files or ()
        ),
    )


async def download(request: PageRequest) -> File:
    """A file as it was stored when the document was issued."""
    number, form = request.values["number"], request.values["format"]
    path = {"number": number, "format": form}
    try:
        file = (await request.run("download_own_document", _Content, path=path)).value
    except OperationRefused as refused:
        raise _not_found(refused) from None
    return File(body=file.content, media=file.media, name=f"{number}-{form}.{SUFFIXES.get(form, form)}")


def _not_found(refused: OperationRefused) -> Exception:
    return NotFound() if refused.status in (400, 404, 422) else refused


def _row(one: _Document) -> DocumentRow:
    return DocumentRow(
        number=one.number,
        words=WORDS.get(one.kind, one.kind),
        period=one.period,
        issued_on=one.issued_on,
        due_on=one.due_on,
        total=_usd(one.total),
        due=_usd(one.due),
        corrected_by=one.corrected_by,
    )


def _usd(text: str) -> str:
    return exact(nano(text))


def _base(request: PageRequest) -> str:
    return f"/accounts/{request.values['account']}/documents"
