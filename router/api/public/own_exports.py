"""``/v1/account/exports``: an owner orders one archive of all that the account has, and downloads it."""

from typing import Annotated, ClassVar, Literal

from fastapi import Query
from fastapi.responses import FileResponse
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.exports.requests import Export, ExportFile, ExportState, archives_of, list_own_exports
from router.admin.own_exports import find_own_export, order_own_export
from router.api.admin.request import NO_STORE
from router.api.fields import ExportIdText, Instant
from router.api.forms import Answer, Page, PageQuery
from router.api.operation import OCTETS, Operations, Who
from router.api.public.account_request import AccountRead, AccountReading, AccountWrite
from router.changes.transaction import UnitOfWork
from router.errors import NotFound
from router.identity.principals import MemberPrincipal
from router.identity.scopes import Scope
from store.ids import ExportId, wire

operations = Operations("exports", "/v1/account/exports", tag="Account", who=Who.MANAGER)
ONE = "/{export_id}"


class OwnExportOut(Answer):
    """An archive of all that the account has, and how far it is."""

    columns: ClassVar[tuple[str, ...]] = ("id", "state", "rows", "bytes", "requested_at", "expires_at")

    id: ExportIdText
    state: ExportState = Field(
        description="queued, running, done, failed, cancelled, or expired: the archive was removed."
    )
    failure: str = Field(description="Why it failed.")
    rows: int = Field(description="How many rows and documents are in it, so far.")
    file: str | None = Field(description="The archive's name; null until it is done, and when it was removed.")
    bytes: int | None
    sha256: str | None
    requested_by: str = Field(description="As the audit names them.")
    requested_at: Instant
    ended_at: Instant | None
    expires_at: Instant | None = Field(description="When the archive is removed.")
    object: Literal["account.export"] = "account.export"


@operations.get("", verb="list", name="list_own_exports", scope=Scope.OWNER, summary="List archives of the account")
async def list_(request: AccountRead, query: Annotated[PageQuery, Query()]) -> Page[OwnExportOut]:
    """Those that were ordered, the newest first."""
    before = query.after_id(ExportId)

    async def ask(connection: AsyncConnection) -> list[OwnExportOut]:
        found = await list_own_exports(connection, request.account_id, before, query.limit + 1)
        files = await archives_of(connection, [one.id for one in found if one.state is ExportState.DONE])
        return [_out(request, one, files.get(one.id)) for one in found]

    return request.page(query, await request.read(ask), lambda one: wire(ExportId, one.id))


@operations.post("", verb="create", name="create_own_export", scope=Scope.OWNER, summary="Order an archive", status=201)
async def create(request: AccountWrite) -> OwnExportOut:
    """Order an archive of all that the account has: members, keys without secrets, calls, usage, movements, documents.

    `gigarouter jobs` begins within seconds. At most five a day; each is removed after some days.
    """

    async def command(work: UnitOfWork) -> OwnExportOut:
        return _out(request, await order_own_export(work, request.account_id), None)

    return await request.change(command)


@operations.get(ONE, verb="show", name="retrieve_own_export", scope=Scope.OWNER, summary="Retrieve an archive's state")
async def retrieve(request: AccountRead, export_id: ExportIdText) -> OwnExportOut:
    """How far it is."""

    async def ask(connection: AsyncConnection) -> OwnExportOut:
        return await _read(request, connection, await find_own_export(connection, request.account_id, export_id))

    return await request.read(ask)


@operations.get(
    f"{ONE}/file",
    verb="download",
    name="download_own_export",
    scope=Scope.OWNER,
    summary="Download an archive",
    media=(OCTETS,),
)
async def download(request: AccountRead, export_id: ExportIdText) -> FileResponse:
    """The archive, a ZIP file; with Range, a part of it."""

    async def ask(connection: AsyncConnection) -> OwnExportOut:
        return await _read(request, connection, await find_own_export(connection, request.account_id, export_id))

    found = await request.read(ask)
    if found.file is None:
        raise NotFound(f"This archive is {found.state.value}: there is nothing to download.", param="export")
    path = request.context.exports.of(export_id) / found.file
    if not path.is_file():
        raise NotFound(
            "The file is not on this machine: GIGAROUTER_EXPORTS_DIR has to be one folder of `serve` and `jobs`.",
            param="export",
        )
    return FileResponse(path, media_type=OCTETS, filename=found.file, headers=NO_STORE)


async def _read(request: AccountReading, connection: AsyncConnection, export: Export) -> OwnExportOut:
    files = await archives_of(connection, [export.id] if export.state is ExportState.DONE else [])
    return _out(request, export, files.get(export.id))


def _out(request: AccountReading, export: Export, file: ExportFile | None) -> OwnExportOut:
    # An operator who sees the account as its owner learns that there is an archive, and does not carry it away.
    if isinstance(request.principal, MemberPrincipal) and request.principal.only_reads:
        file = None
    return OwnExportOut(
        id=export.id,
        state=export.state,
        failure=export.failure,
        rows=export.rows_done,
        file=None if file is None else file.name,
        bytes=None if file is None else file.size,
        sha256=None if file is None else file.sha256.hex(),
        requested_by=export.requested_by,
        requested_at=export.requested_at,
        ended_at=export.ended_at,
        expires_at=export.expires_at,
    )
