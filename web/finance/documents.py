"""Lists documents to finance, shows one with its lines and files, and whether computing it again finds the same."""

import csv
import io
from datetime import date
from typing import Any, ClassVar

import msgspec

from web.answers import Answer, Crumb, File, Page, Redirect
from web.customer.documents import FILE_WORDS, SUFFIXES, WORDS
from web.finance.facts import DoneQuery, Fact, read_one
from web.finance.listing import FINANCE, Cell, Listing, Way, account, instant, link, number, state, words
from web.ops.write import Field
from web.parts.tables import Column
from web.request import PageRequest

DOCUMENTS = Crumb("Documents", "/finance/documents")
LINES_SHOWN = 200
KINDS = (("", "Any"), *WORDS.items())
ACCOUNT = Field(name="account", label="Account", hint="Its id or name.")
LIST = Listing(
    operation="list_documents",
    title="Documents",
    explanation="Invoices, credit notes and statements as they were issued, the newest first. Amounts are USD.",
    caption="Issued documents",
    head=(
        Column("Number"),
        Column("Kind"),
        Column("Customer"),
        Column("Month"),
        Column("Issued on"),
        Column("Total", "USD", is_number=True),
        Column("Due", "USD", is_number=True),
        Column("Collection"),
    ),
    cells=lambda row: (
        link(row["number"], f"/finance/documents/{row['number']}"),
        words(WORDS.get(row["kind"], row["kind"])),
        words(row["customer"]),
        words(row["period"]),
        words(row["issued_on"]),
        number(row["total"]),
        number(row["due"]),
        state(row["collection"]) if row["collection"] else words("none"),
    ),
    fields=(
        Field(name="search", label="Search", hint="Number, customer, order number, or a total such as 12.50."),
        ACCOUNT,
        Field(name="kind", label="Kind", kind="choice", options=KINDS),
        Field(name="period", label="Month", hint="Such as 2026-10."),
    ),
    ways=(
        Way("/finance/documents/find", "Find by number"),
        Way("/finance/documents/issue", "Issue a document"),
        Way("/finance/document-requests", "What was ordered"),
    ),
    empty="No document is issued yet. Jobs issue a month's once it is over and a seller is known.",
    empty_way=Way("/finance/documents/issue", "Issue a document"),
)
REQUESTS = Listing(
    operation="list_document-requests",
    title="What was ordered",
    explanation="All orders, the newest first. Jobs issue a document within seconds, or say what is wrong.",
    caption="Orders of documents",
    head=(
        Column("Order"),
        Column("Kind"),
        Column("Account"),
        Column("State"),
        Column("What is wrong"),
        Column("Document"),
        Column("Ordered"),
        Column("Again"),
    ),
    cells=lambda row: (
        words(row["id"]),
        words(WORDS.get(row["kind"], row["kind"])),
        account(row["account"]),
        state(row["state"]),
        words(row["fault"]),
        link(row["number"], f"/finance/documents/{row['number']}") if row["number"] else words("none"),
        instant(row["created_at"]),
        link("Try again", f"/finance/document-requests/{row['id']}/retry") if row["state"] == "refused" else words(""),
    ),
    fields=(ACCOUNT,),
    crumbs=(DOCUMENTS,),
    empty="Nothing was ordered yet.",
    empty_way=Way("/finance/documents/issue", "Issue a document"),
)


class _File(msgspec.Struct, frozen=True):
    format: str
    sha256: str


class Document(msgspec.Struct, frozen=True):
    """An issued document, as its operation answers it."""

    number: str
    kind: str
    account: str
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
    credit_notes: tuple[str, ...]
    collection: str | None
    lines: int
    files: list[_File] | None = None


class _Content(msgspec.Struct, frozen=True):
    media: str
    content: bytes


class DocumentFile(msgspec.Struct, frozen=True):
    """One of a document's files; ``sha256`` is of its bytes."""

    name: str
    href: str
    sha256: str


class DocumentPage(Page, frozen=True, kw_only=True):
    """One document: what it says, its lines as its file has them, its files, and the ways to its writes."""

    template: ClassVar[str] = "finance/document.html"

    facts: tuple[Fact, ...]
    related: tuple[Fact, ...]
    ways: tuple[Way, ...]
    rows: tuple[tuple[Cell, ...], ...]
    lines: int
    files: tuple[DocumentFile, ...]
    is_done: bool = False
    head: tuple[Column, ...] = (
        Column("Line"),
        Column("Description"),
        Column("Lane"),
        Column("Calls", is_number=True),
        Column("Tokens", is_number=True),
        Column("Price", "USD per 1M", is_number=True),
        Column("Exact", "USD", is_number=True),
        Column("Amount", "USD", is_number=True),
    )


class VerificationPage(Page, frozen=True, kw_only=True):
    """What computing a document again from usage and prices found."""

    template: ClassVar[str] = "finance/verification.html"

    number: str
    is_right: bool
    lines: int
    calls: int
    faults: tuple[str, ...]


class _Verification(msgspec.Struct, frozen=True):
    ok: bool
    lines: int
    calls: int
    faults: tuple[str, ...]


class FindQuery(msgspec.Struct, frozen=True):
    """``number``: that of a document."""

    number: str = ""


class FindPage(Page, frozen=True, kw_only=True):
    """The search for one document."""

    template: ClassVar[str] = "finance/find.html"

    number: str = ""


async def find(request: PageRequest) -> Answer:
    """The way to the document of a number, or the search for one."""
    typed = request.query_as(FindQuery).number.strip()
    if typed and "/" not in typed:
        found = await read_one(request, "retrieve_document", Document, number=typed)
        return Redirect(to=f"/finance/documents/{found.number}", status=302)
    return FindPage(title="Find a document", crumbs=(FINANCE, DOCUMENTS, Crumb("Find")), number=typed)


async def show(request: PageRequest) -> DocumentPage:
    """One document."""
    is_done = request.query_as(DoneQuery).done
    one = await read_one(request, "retrieve_document", Document, number=request.values["number"])
    base = f"/finance/documents/{one.number}"
    files = one.files or []
    rows: tuple[tuple[Cell, ...], ...] = ()
    if any(file.format == "csv" for file in files):
        file = await read_one(request, "download_document", _Content, number=one.number, format="csv")
        rows = _lines(file.content)
    title = f"{WORDS.get(one.kind, one.kind).capitalize()} {one.number}"
    return DocumentPage(
        title=title,
        crumbs=(FINANCE, DOCUMENTS, Crumb(one.number)),
        facts=_facts(one),
        related=_related(one),
        ways=_ways(one, base),
        rows=rows,
        lines=one.lines,
        files=tuple(
            DocumentFile(FILE_WORDS.get(file.format, file.format), f"{base}/files/{file.format}", file.sha256)
            for file in files
        ),
        is_done=is_done,
    )


async def download(request: PageRequest) -> File:
    """A file as it was stored when the document was issued."""
    one, form = request.values["number"], request.values["format"]
    file = await read_one(request, "download_document", _Content, number=one, format=form)
    return File(body=file.content, media=file.media, name=f"{one}-{form}.{SUFFIXES.get(form, form)}")


async def verify(request: PageRequest) -> VerificationPage:
    """Compute a document again, and say what differs."""
    one = request.values["number"]
    found = await read_one(request, "verify_document", _Verification, number=one)
    return VerificationPage(
        title=f"Is {one} right?",
        crumbs=(FINANCE, DOCUMENTS, Crumb(one, f"/finance/documents/{one}"), Crumb("Verification")),
        number=one,
        is_right=found.ok,
        lines=found.lines,
        calls=found.calls,
        faults=found.faults,
    )


def _lines(content: bytes) -> tuple[tuple[Cell, ...], ...]:
    rows: list[dict[str, Any]] = list(csv.DictReader(io.StringIO(content.decode(), newline="")))
    names = ("calls", "tokens", "usd_per_mtok", "exact_usd", "amount_usd")
    return tuple(
        (words(row["line"]), words(row["description"]), words(row["lane"]), *(number(row[name]) for name in names))
        for row in rows[:LINES_SHOWN]
    )


def _facts(one: Document) -> tuple[Fact, ...]:
    amounts = (("Net, USD", one.net), ("Tax, USD", one.tax), ("Total, USD", one.total), ("Due, USD", one.due))
    return (
        Fact("Customer", words(one.customer)),
        Fact("Account", account(one.account)),
        Fact("Seller", words(one.seller)),
        Fact("Month", words(one.period, "none")),
        Fact("Issued on", words(one.issued_on)),
        Fact("Due on", words(one.due_on, "none")),
        *(Fact(name, number(amount)) for name, amount in amounts),
        Fact("Why this tax", words(one.tax_reason, "none")),
        Fact("Collection", state(one.collection) if one.collection else words("not by Stripe")),
    )


def _related(one: Document) -> tuple[Fact, ...]:
    others = [("Takes back", one.corrects), ("Taken back by", one.corrected_by)]
    others += [("Credit note", name) for name in one.credit_notes if name != one.corrected_by]
    return tuple(Fact(what, link(name, f"/finance/documents/{name}")) for what, name in others if name)


def _ways(one: Document, base: str) -> tuple[Way, ...]:
    ways = [Way(f"{base}/verification", "Verify it"), Way(f"{base}/send", f"Mail {one.number}")]
    if one.kind in ("invoice", "topup") and one.corrected_by is None:
        ways.append(Way(f"{base}/credit", f"Credit {one.number}"))
    if one.kind == "invoice" and one.corrected_by is None:
        ways += [Way(f"{base}/void", f"Void {one.number}"), Way(f"{base}/collect", f"Collect {one.number}")]
    return tuple(ways)
