"""Serves ``/v1/account/billing-profile`` and ``/v1/account/documents``: who pays, and what they were given to file."""

from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

from fastapi import Depends, Query, Response
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.documents.profiles import count_todays_versions, read_profile
from billing.documents.receipts import Proof
from billing.documents.store import StoredDocument, find_named, list_documents, list_files, read_file
from billing.documents.verify import prove
from router.admin.corrections import correct_document
from router.admin.parties import set_profile
from router.api.accept import preferred
from router.api.document_answers import (
    SEARCH,
    ContentOut,
    CorrectionOut,
    DetailChangeOut,
    DocumentOut,
    FileFormat,
    SearchText,
    content_out,
    document_out,
)
from router.api.fields import Flag
from router.api.forms import Page, PageQuery, answer_of
from router.api.operation import JSON, OCTETS, Operations, Who, check_request
from router.api.party_forms import ProfileOut, ProfileSet, profile_of, profile_out
from router.api.public.postgres import read
from router.api.public.request import Private
from router.api.request_ids import RequestIdText
from router.api.structs import StructValue
from router.changes.transaction import UnitOfWork, transact
from router.errors import Conflict, InvalidRequest, NotFound
from router.identity.scopes import Scope
from router.request.body import printable_excerpt
from store.ids import AccountId, DocumentId, wire

T = TypeVar("T")

profile_operations = Operations("billing-profiles", "/v1/account/billing-profile", tag="Account", who=Who.KEY)
operations = Operations("documents", "/v1/account/documents", tag="Account", who=Who.KEY)
ONE = "/{number}"
# A proof reads its month's calls again.
TOO_LARGE = InvalidRequest(
    "This takes longer to read than one question may. Ask for fewer documents at once; of a month with too many calls "
    "to prove one here, the operator can verify the document.",
    param="number",
)
# Each is a row of the audit, which stays.
CHANGES_A_DAY_MAX = 50
DryRun = Annotated[Flag, Query(description="1: answer what would be, and do nothing.")]
_Checked = Annotated[None, Depends(check_request)]


@profile_operations.get(
    "", verb="show", scope=Scope.BILLING_READ, name="retrieve_own_billing_profile", summary="Who pays?"
)
async def retrieve_profile(request: Private) -> ProfileOut:
    """The account's billing profile, as documents name it."""

    async def ask(connection: AsyncConnection) -> ProfileOut:
        stored = await read_profile(connection, request.account_id)
        if stored is None:
            raise NotFound("The account has no billing profile: POST one.", param="billing_profile")
        return profile_out(request.account_id, stored)

    return await _read(request, ask)


@profile_operations.post(
    "", verb="set", scope=Scope.BILLING_WRITE, name="set_own_billing_profile", summary="Set who pays"
)
async def write_profile(request: Private, body: ProfileSet, _: _Checked) -> ProfileOut:
    """Replace the account's billing profile: name, address, tax ids, e-mails, order number, language.

    Terms and exemptions stay as the operator set them; documents that are issued keep their own copy.
    """
    account_id = request.account_id
    # Read first, so that a wrong tax id is answered before anything is written.
    profile_of(body)

    async def command(work: UnitOfWork) -> ProfileOut:
        before = await read_profile(work.connection, account_id, locked=True)
        if await count_todays_versions(work.connection, account_id) >= CHANGES_A_DAY_MAX:
            raise Conflict(f"The billing profile was changed {CHANGES_A_DAY_MAX} times within a day. Try tomorrow.")
        profile = profile_of(body, before.profile if before else None)
        return profile_out(account_id, await set_profile(work, account_id, profile))

    return await transact(request.context.db, request.actor, command)


class OwnDocumentQuery(PageQuery):
    """Which documents."""

    search: SearchText | None = Field(None, description=SEARCH)


@operations.get("", verb="list", scope=Scope.BILLING_READ, name="list_own_documents", summary="Invoices and statements")
async def list_own(request: Private, query: Annotated[OwnDocumentQuery, Query()], _: _Checked) -> Page[DocumentOut]:
    """The account's issued documents, the newest first."""
    before = query.after_id(DocumentId)

    async def ask(connection: AsyncConnection) -> list[DocumentOut]:
        account_id, most = request.account_id, query.limit + 1
        found = await list_documents(connection, account_id=account_id, search=query.search, before=before, limit=most)
        return [document_out(one) for one in found]

    return request.paging.page(
        query,
        await _read(request, ask),
        lambda row: wire(DocumentId, row.id),
    )


@operations.get(
    ONE, verb="show", scope=Scope.BILLING_READ, name="retrieve_own_document", summary="An invoice or statement"
)
async def retrieve(request: Private, number: str) -> DocumentOut:
    """One of the account's documents, by its number, with the hashes of its files."""

    async def ask(connection: AsyncConnection) -> DocumentOut:
        stored = await _own(connection, request.account_id, number)
        return document_out(stored, await list_files(connection, stored.id))

    return await _read(request, ask)


@operations.post(
    f"{ONE}/correct",
    verb="correct",
    scope=Scope.BILLING_WRITE,
    name="correct_own_document",
    summary="Correct who is billed",
    status=202,
)
async def correct(request: Private, number: str, _: _Checked, dry_run: DryRun = False) -> CorrectionOut:
    """Have an invoice that is not paid taken back, and issued anew with the billing details of today.

    The credit note takes back all of it; the new invoice has the same calls, another number, and the tax that today's
    details lead to. Sent twice, it is one correction.
    """

    async def command(work: UnitOfWork) -> CorrectionOut:
        made = await correct_document(work, request.account_id, number)
        return CorrectionOut(
            number=number,
            request=made.request.id,
            state=made.request.state,
            changes=[answer_of(DetailChangeOut, change) for change in made.changes],
        )

    return await transact(request.context.db, request.actor, command, dry_run=dry_run)


@operations.get(
    f"{ONE}/files/{{format}}",
    verb="download",
    scope=Scope.BILLING_READ,
    name="download_own_document",
    summary="A document's file",
    answer=ContentOut,
    media=(OCTETS, JSON),
)
async def download(request: Private, number: str, format: FileFormat) -> Response:
    """A file as it was stored when the document was issued: pdf, facturx (PDF/A-3 with XML), ubl, json, csv.

    The bytes; with ``Accept: application/json`` an object that has them in base64.
    """

    async def ask(connection: AsyncConnection) -> Response:
        stored = await _own(connection, request.account_id, number)
        file = await read_file(connection, stored.id, format)
        if file is None:
            raise NotFound(f"{stored.document.name} has no file {format}.", param="format")
        headers = {"cache-control": "no-store"}
        if preferred(request.accept, (OCTETS, JSON)) == JSON:
            return Response(content_out(file).model_dump_json(), media_type=JSON, headers=headers)
        suffix = "pdf" if format == "facturx" else "xml" if format == "ubl" else format
        headers["content-disposition"] = f'attachment; filename="{stored.document.name}-{format}.{suffix}"'
        return Response(file.content, media_type=OCTETS, headers=headers)

    return await _read(request, ask)


@operations.get(
    f"{ONE}/proofs/{{request_id}}",
    verb="prove",
    scope=Scope.BILLING_READ,
    name="prove_own_call",
    summary="Prove a call",
)
async def proof(request: Private, number: str, request_id: RequestIdText) -> Annotated[Proof, StructValue()]:
    """The path of hashes from a call to a line of a document: `gigarouter verify-receipt` checks it offline."""

    async def ask(connection: AsyncConnection) -> Proof:
        found = await prove(connection, await _own(connection, request.account_id, number), request_id)
        if found is None:
            raise NotFound(f"{number} has no such call, or it cost nothing.", param="request_id")
        return found

    return await _read(request, ask, snapshot=True)


async def _own(connection: AsyncConnection, account_id: AccountId, number: str) -> StoredDocument:
    """The same whether there is no such document, or it is another account's."""
    stored = await find_named(connection, number)
    if stored is None or stored.account_id != account_id:
        raise NotFound(f"This account has no document {printable_excerpt(number)}.", param="number")
    return stored


async def _read(request: Private, ask: Callable[[AsyncConnection], Awaitable[T]], *, snapshot: bool = False) -> T:
    return await read(request.context, ask, what="Documents", too_large=TOO_LARGE, snapshot=snapshot)
