"""``/admin/v1/documents``: invoices, statements, credit notes. Asked for here, issued by the jobs process."""

from typing import Annotated, ClassVar, Literal

from fastapi import Query, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.documents.document import DocumentKind
from billing.documents.drafts import prepare
from billing.documents.faults import DocumentCarried, DocumentRefused, DocumentWaits
from billing.documents.requests import DocumentRequest, list_requests, preview_of
from billing.documents.store import (
    find_document,
    find_named,
    list_documents,
    list_files,
    read_file,
    read_names,
)
from billing.documents.verify import verify
from billing.stripe.values import nano_of
from router.admin.documents import (
    ask_for_all,
    ask_for_credit_note,
    ask_for_month,
    collect_document,
    found_document,
    retry_request,
    send_document,
)
from router.api.admin.references import account_of
from router.api.admin.request import Read, Write
from router.api.document_answers import (
    SEARCH,
    ContentOut,
    DocumentOut,
    DraftOut,
    FileFormat,
    Month,
    RequestOut,
    SearchText,
    content_out,
    document_out,
    draft_out,
    request_out,
)
from router.api.fields import AccountRef, DocumentRequestIdText, EmailAddress, UsdCents, text_of
from router.api.forms import Answer, Body, Page, PageQuery
from router.api.operation import ALL, JSON, MONEY, OCTETS, V1, Operations
from router.changes.second_person import MoneyKind
from router.changes.transaction import UnitOfWork
from router.errors import Conflict, NotFound
from store.ids import AccountId, DocumentId, DocumentRequestId, wire

operations = Operations("documents", f"{V1}/documents", tag="Documents")
requests = Operations("document-requests", f"{V1}/document-requests", tag="Documents")
ONE = "/{number}"


class DocumentQuery(PageQuery):
    """Which documents."""

    account: AccountRef | None = Field(None, description="Those of this account.")


class IssuedQuery(DocumentQuery):
    """Which issued documents."""

    kind: DocumentKind | None = Field(None, description="Those of this kind.")
    period: Month | None = Field(None, description="Those of this month.")
    search: SearchText | None = Field(None, description=SEARCH)


class DocumentIssue(Body):
    """A month's document of an account."""

    account: AccountRef = Field(description="Whose usage.")
    period: Month = Field(description="The month, such as 2026-10; it must be over.")
    kind: Literal["invoice", "statement"] = Field("invoice", description="invoice, or statement of the balance.")
    seller: str = Field("", max_length=63, description="Who sells; by default the only seller that there is.")


class MonthIssue(Body):
    """A month of all accounts."""

    period: Month = Field(description="The month, such as 2026-10; it must be over for an hour.")
    seller: str = Field("", max_length=63, description="Who sells; by default the only seller that there is.")


class MonthRequestedOut(Answer):
    """How many documents were asked for; one that was asked for before is not among them."""

    period: Month
    invoices: int
    statements: int
    object: Literal["document.month"] = "document.month"


class PreviewQuery(BaseModel):
    """A month's document of an account."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    account: AccountRef = Field(description="Whose usage.")
    period: Month = Field(description="The month, such as 2026-10; it must be over.")
    kind: Literal["invoice", "statement"] = Field("invoice", description="invoice, or statement of the balance.")
    seller: str = Field("", max_length=63, description="Who sells; by default the only seller that there is.")


class DocumentCredit(Body):
    """How much of an invoice is taken back, and why."""

    reason: Annotated[str, text_of(300)] = Field(description="Why; it is printed.")
    amount_usd: UsdCents | None = Field(
        None, description="A net amount in whole cents, of which the tax is a share; null: all of the invoice, or line."
    )
    line: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        None, description="The line that it is of, by its place; null: of the whole."
    )


class DocumentVoid(Body):
    """Why an invoice is wrong."""

    reason: Annotated[str, text_of(300)] = Field(description="Why; it is printed.")
    reissue: bool = Field(True, description="Issue a new invoice of the month once the credit note is issued.")


class DocumentSend(Body):
    """To whom a document is mailed."""

    emails: Annotated[tuple[EmailAddress, ...], Field(max_length=20)] = Field(
        (), description="The addresses; by default those of the document's billing profile."
    )


class MailsOut(Answer):
    """To whom a document is mailed."""

    number: str
    addresses: tuple[str, ...]
    object: Literal["document.mails"] = "document.mails"


class VerificationOut(Answer):
    """What computing a document again from usage and prices found."""

    columns: ClassVar[tuple[str, ...]] = ("ok", "document", "lines", "calls", "faults")

    ok: bool
    document: str
    lines: int
    calls: int
    faults: tuple[str, ...] = Field(description="What differs, by line.")
    object: Literal["document.verification"] = "document.verification"


@operations.get("", verb="list", summary="List documents", roles=ALL)
async def list_(admin: Read, query: Annotated[IssuedQuery, Query()]) -> Page[DocumentOut]:
    """Issued documents, the newest first."""
    before = query.after_id(DocumentId)

    async def ask(connection: AsyncConnection) -> list[DocumentOut]:
        account_id = await _account(connection, query.account)
        found = await list_documents(
            connection,
            account_id=account_id,
            kind=query.kind,
            period=query.period,
            search=query.search,
            before=before,
            limit=query.limit + 1,
        )
        return [document_out(one) for one in found]

    return admin.page(query, await admin.read(ask), lambda row: wire(DocumentId, row.id))


@operations.get(ONE, verb="show", summary="Retrieve a document", roles=ALL)
async def retrieve(admin: Read, number: str) -> DocumentOut:
    """One document, by its number."""

    async def ask(connection: AsyncConnection) -> DocumentOut:
        stored = found_document(await find_named(connection, number), number)
        return document_out(stored, await list_files(connection, stored.id))

    return await admin.read(ask)


@operations.get(
    f"{ONE}/files/{{format}}",
    verb="download",
    summary="A document's file",
    roles=ALL,
    answer=ContentOut,
    media=(OCTETS, JSON),
)
async def download(admin: Read, number: str, format: FileFormat) -> Response:
    """A file as it was stored when the document was issued: pdf, facturx (PDF/A-3 with XML), ubl, json, csv.

    The bytes; with ``Accept: application/json`` an object that has them in base64.
    """

    async def ask(connection: AsyncConnection) -> Response:
        stored = found_document(await find_named(connection, number), number)
        file = await read_file(connection, stored.id, format)
        if file is None:
            raise NotFound(f"{number} has no file {format}.", param="format")
        if admin.media == JSON:
            return admin.respond(content_out(file).model_dump_json().encode())
        return admin.respond(file.content, OCTETS)

    return await admin.read(ask)


@operations.get(":preview", verb="preview", name="preview_document", summary="Preview a month's document", roles=ALL)
async def preview(admin: Read, query: Annotated[PreviewQuery, Query()]) -> DraftOut:
    """A draft as it would be issued now: lines, deductions, rounding, tax. It has no number, and nothing is stored.

    What would refuse it is the error; only the rules of EN 16931 and the fonts are looked at when it is issued.
    """

    async def ask(connection: AsyncConnection) -> DraftOut:
        account, now = await account_of(connection, query.account), admin.context.db.clock.now()
        wanted = preview_of(DocumentKind(query.kind), account.id, query.period, query.seller, now)
        try:
            return draft_out(await prepare(connection, wanted, now))
        except DocumentRefused as refused:
            raise Conflict(f"It cannot be issued: {refused}.", param=refused.field) from refused
        except DocumentCarried as carried:
            raise Conflict(f"It is not issued: {carried}.") from carried
        except DocumentWaits as waits:
            raise Conflict(f"It cannot be issued yet: {waits}.") from waits

    return await admin.read(ask)


@operations.post(":issue", verb="issue", name="issue_document", summary="Issue a month's document", roles=MONEY)
async def issue(admin: Write, body: DocumentIssue) -> RequestOut:
    """Ask for an account's invoice or statement; the jobs process issues it, or says what is wrong with it.

    One month has one; after it was credited there may be another. A refused one is tried again.
    """

    async def command(work: UnitOfWork) -> RequestOut:
        account = await account_of(work.connection, body.account)
        request = await ask_for_month(work, account.id, DocumentKind(body.kind), body.period, body.seller)
        return await _request_out(work.connection, request)

    return await admin.change(command)


@operations.post(
    ":issue-month", verb="issue-month", name="issue_month", summary="Issue a month's documents of all", roles=MONEY
)
async def issue_month(admin: Write, body: MonthIssue) -> MonthRequestedOut:
    """Ask for every account's document of a month that nobody has asked for: an invoice where its line was drawn.

    Others with a billing profile whose balance moved get a statement. Jobs do the same an hour after the month's end,
    where there is one seller (GIGAROUTER_MONTHLY_DOCUMENTS).
    """

    async def command(work: UnitOfWork) -> MonthRequestedOut:
        requested = await ask_for_all(work, body.period, body.seller)
        return MonthRequestedOut(period=body.period, invoices=requested.invoices, statements=requested.statements)

    return await admin.change(command)


@operations.post(f"{ONE}/credit", verb="credit", summary="Credit an invoice", roles=MONEY)
async def credit(admin: Write, number: str, body: DocumentCredit) -> RequestOut:
    """Ask for a credit note: of all of an invoice, whose month can be invoiced again then, or of a part of it.

    A part is an allowance: nothing of the usage is invoiced again, and never more is credited than is left.
    """

    async def command(work: UnitOfWork) -> RequestOut:
        request = await ask_for_credit_note(
            work, number, body.reason, net_cents=body.amount_usd or 0, line=body.line or 0
        )
        if request.facts.is_partial:
            amount = nano_of(request.facts.net_cents)
            await admin.require_second_person(work, MoneyKind.WRITE_OFF, request.account_id, amount)
        return await _request_out(work.connection, request)

    return await admin.change(command)


@operations.post(f"{ONE}/void", verb="void", summary="Void an invoice", roles=MONEY)
async def void(admin: Write, number: str, body: DocumentVoid) -> RequestOut:
    """Correct a month's invoice: ask for the credit note of all of it and, after it, for a new invoice."""

    async def command(work: UnitOfWork) -> RequestOut:
        request = await ask_for_credit_note(work, number, body.reason, reissues=body.reissue)
        return await _request_out(work.connection, request)

    return await admin.change(command)


@operations.post(f"{ONE}/send", verb="send", summary="Mail a document", roles=MONEY)
async def send(admin: Write, number: str, body: DocumentSend) -> MailsOut:
    """Mail a document again, to whom it was made out to or to the addresses that are given; jobs send it."""

    async def command(work: UnitOfWork) -> MailsOut:
        addresses = await send_document(work, number, body.emails)
        return MailsOut(number=number, addresses=addresses)

    return await admin.change(command)


@operations.post(f"{ONE}/collect", verb="collect", summary="Have an invoice collected", roles=MONEY)
async def collect(admin: Write, number: str) -> DocumentOut:
    """Have Stripe collect an invoice that it does not: issued without a key for it, or after a person has looked.

    Invoices of drawn credit that are issued where Stripe has a key are collected by themselves.
    """

    async def command(work: UnitOfWork) -> DocumentOut:
        return document_out(await collect_document(work, admin.context.stripe, number))

    return await admin.change(command)


@operations.get(f"{ONE}/verification", verb="verify", summary="Is a document right?", roles=ALL)
async def verify_(admin: Read, number: str) -> VerificationOut:
    """Computes a document's lines, roots, cents and entry again from usage and prices; names what differs."""

    async def ask(connection: AsyncConnection) -> VerificationOut:
        found = await verify(connection, found_document(await find_named(connection, number), number))
        return VerificationOut(
            ok=not found.faults, document=found.document, lines=found.lines, calls=found.calls, faults=found.faults
        )

    return await admin.read(ask, snapshot=True)


@requests.get("", verb="list", summary="List requests for documents", roles=ALL)
async def list_requests_(admin: Read, query: Annotated[DocumentQuery, Query()]) -> Page[RequestOut]:
    """What documents were asked for, the newest first, and what became of each."""
    before = query.after_id(DocumentRequestId)

    async def ask(connection: AsyncConnection) -> list[RequestOut]:
        account_id = await _account(connection, query.account)
        found = await list_requests(connection, account_id=account_id, before=before, limit=query.limit + 1)
        names = await read_names(connection, [one.document_id for one in found if one.document_id])
        return [request_out(one, names.get(one.document_id) if one.document_id else None) for one in found]

    return admin.page(query, await admin.read(ask), lambda row: wire(DocumentRequestId, row.id))


@requests.post("/{request_id}/retry", verb="retry", summary="Try a refused document again", roles=MONEY)
async def retry(admin: Write, request_id: DocumentRequestIdText) -> RequestOut:
    """Try again what was refused, once what was wrong is mended. A new billing profile does so by itself."""

    async def command(work: UnitOfWork) -> RequestOut:
        return await _request_out(work.connection, await retry_request(work, request_id))

    return await admin.change(command)


async def _account(connection: AsyncConnection, account_ref: str | None) -> AccountId | None:
    return None if account_ref is None else (await account_of(connection, account_ref)).id


async def _request_out(connection: AsyncConnection, request: DocumentRequest) -> RequestOut:
    stored = None if request.document_id is None else await find_document(connection, request.document_id)
    return request_out(request, stored.document.name if stored else None)
