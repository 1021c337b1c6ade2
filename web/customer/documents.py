"""``/accounts/{account}/documents``: invoices, credit notes and statements, each with its files."""

from datetime import date
from typing import ClassVar
from urllib.parse import urlencode

import msgspec

from router.api.in_process import OperationRefused
from web.answers import Answer, Crumb, File, Page, Redirect
from web.customer.money import nano
from web.faults import NotFound
from web.forms import Change, ConfirmPage, Form, Hidden
from web.parts.money import exact
from web.parts.tables import address
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
DETAIL_WORDS = {"legal_name": "Name", "tax_ids": "Tax ids", "po_number": "Your order number"}


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


class _DetailChange(msgspec.Struct, frozen=True):
    field: str
    before: str
    after: str


class _Correction(msgspec.Struct, frozen=True):
    changes: list[_DetailChange]


class _Content(msgspec.Struct, frozen=True):
    media: str
    content: bytes


class DocumentRow(msgspec.Struct, frozen=True):
    """A document in the list. Amounts are text, in USD; a statement demands none, and has none."""

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
    form: Form
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
    can_correct: bool
    fault: str = ""
    notice: str = ""


class DocumentQuery(msgspec.Struct, frozen=True):
    """``corrected``: a correction was ordered a moment ago."""

    corrected: bool = False


class CorrectForm(msgspec.Struct, frozen=True):
    """The button, and the one of the page that shows what it does."""

    confirm: str = ""


class DocumentsQuery(msgspec.Struct, frozen=True):
    """Which part of the list. ``search``: words of what is looked for."""

    cursor: str | None = None
    search: str | None = None


async def show(request: PageRequest) -> DocumentsPage:
    """The account's documents, the newest first."""
    query = request.query_as(DocumentsQuery)
    cursor, searched = query.cursor, {"search": query.search} if query.search else {}
    wanted = {"limit": PAGE_ROWS} | searched | ({"cursor": cursor} if cursor else {})
    found = (await request.run("list_own_documents", _Documents, query=wanted)).value
    base = _base(request)
    following = {**searched, "cursor": found.next_cursor}
    return DocumentsPage(
        title="Documents",
        base=base,
        rows=tuple(_row(one) for one in found.data),
        form=Form(searched),
        next_href=f"{base}?{urlencode(following)}" if found.next_cursor else None,
        first_href=address(base, tuple(searched.items())) if cursor else None,
    )


async def show_one(request: PageRequest) -> DocumentPage:
    """One document, with its files."""
    is_corrected = request.query_as(DocumentQuery).corrected
    notice = "It is being taken back and issued anew, which takes a moment." if is_corrected else ""
    return await _one(request, notice=notice)


async def correct(request: PageRequest) -> Answer:
    """Show what a correction would do, then have it done."""
    number, form = request.values["number"], request.form_as(CorrectForm)
    path = {"number": number}
    try:
        if form.confirm == "1":
            await request.run("correct_own_document", _Correction, path=path)
            return Redirect(to=f"{_base(request)}/{number}?corrected=1")
        would = (await request.run("correct_own_document", _Correction, path=path, dry_run=True)).value
    except OperationRefused as refused:
        if refused.status != 409:
            raise _not_found(refused) from None
        return await _one(request, fault=refused.error.message, status=409)
    here = f"{_base(request)}/{number}"
    return ConfirmPage(
        title=f"Correct {number}",
        crumbs=(Crumb("Documents", _base(request)), Crumb(number, here), Crumb("Correct")),
        action=f"{here}/correct",
        button=f"Take {number} back and issue it anew",
        back=here,
        changes=tuple(Change(_detail(one.field), one.before, one.after) for one in would.changes),
        hidden=(Hidden("confirm", "1"),),
        notes=(
            f"A credit note takes {number} back, all of it. A new invoice with another number follows it, for the same "
            "calls and amounts, with the billing details of today and the tax that they lead to. Both are mailed.",
        ),
    )


async def _one(request: PageRequest, *, fault: str = "", notice: str = "", status: int = 200) -> DocumentPage:
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
        can_correct=one.kind == "invoice" and one.corrected_by is None,
        fault=fault,
        notice=notice,
        status=status,
    )


def _detail(field: str) -> str:
    return DETAIL_WORDS.get(field, field.capitalize())


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
        total="" if one.kind == "statement" else _usd(one.total),
        due="" if one.kind == "statement" else _usd(one.due),
        corrected_by=one.corrected_by,
    )


def _usd(text: str) -> str:
    return exact(nano(text))


def _base(request: PageRequest) -> str:
    return f"/accounts/{request.values['account']}/documents"
