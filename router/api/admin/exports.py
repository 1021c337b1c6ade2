"""``/admin/v1/finance/exports``: usage, movements and journals as files, which ``gigarouter jobs`` writes."""

from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from fastapi import Query
from fastapi.responses import FileResponse
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.exports.formats import PROGRAMS, TABLES, ExportFormat, ExportKind, Grain
from billing.exports.mapping import MappingRefused, check_complete, read_mapping
from billing.exports.postings import sealed_accounts
from billing.exports.requests import (
    Export,
    ExportFile,
    ExportState,
    Filters,
    find_export,
    find_manifest,
    list_exports,
    list_files,
)
from billing.exports.storage import MANIFEST
from router.admin.exports import cancel_export, request_export
from router.api.admin.references import account_of, key_of, model_id_of, provider_of
from router.api.admin.request import NO_STORE, Read, Write
from router.api.fields import AccountRef, DayOrInstant, ExportIdText, Instant, KeyRef, ModelRef, ProviderRef
from router.api.forms import Answer, Body, Page, PageQuery, Resource, answer_of
from router.api.operation import ALL, MONEY, OCTETS, V1, Operations
from router.api.periods import Period, PeriodText, month_of, span_of
from router.changes.transaction import UnitOfWork
from router.errors import InvalidRequest, NotFound
from store.ids import ExportId, wire

operations = Operations("exports", f"{V1}/finance/exports", tag="Finance")


class ExportFileOut(Answer):
    """A file of an export."""

    name: str
    rows: int
    bytes: int
    sha256: str
    sums: dict[str, str] = Field(description="The sums of its columns of numbers; amounts are USD.")
    read_at: Instant = Field(description="The instant of which its rows are.")


class ExportOut(Resource):
    """An export: what it is of, how far it is; with its files where it is shown by itself."""

    volatile: ClassVar[frozenset[str]] = frozenset({"rows_done", "rows_total"})
    columns: ClassVar[tuple[str, ...]] = (
        "id",
        "kind",
        "format",
        "since",
        "until",
        "state",
        "rows_done",
        "requested_at",
    )

    id: ExportIdText
    kind: ExportKind
    format: ExportFormat
    since: Instant = Field(serialization_alias="from")
    until: Instant = Field(serialization_alias="to")
    filters: dict[str, Any] = Field(description="What is exported of it.")
    state: ExportState = Field(
        description="queued, running, done, failed, cancelled, or expired: its files were removed."
    )
    failure: str = Field(description="Why it failed.")
    rows_done: int
    rows_total: int | None = Field(description="About how many rows there will be; null where that is not known yet.")
    requested_by: str
    requested_at: Instant
    started_at: Instant | None
    ended_at: Instant | None
    expires_at: Instant | None = Field(description="When its files are removed.")
    object: Literal["export"] = "export"


class SingleExportOut(ExportOut):
    """An export with its files."""

    files: list[ExportFileOut] = Field(description="Those that are written whole.")
    manifest: dict[str, Any] | None = Field(
        description="What it has, with the head of the ledger's chain; null until it is done."
    )


class ExportCreate(Body):
    """What is to be exported."""

    kind: ExportKind = Field(
        description="usage, grants, payments, movements, tax, audit, documents (with their files), or journal."
    )
    format: ExportFormat = Field(
        description="csv, csv.gz or parquet; of a journal hledger, beancount, generic, quickbooks, xero or datev."
    )
    period: PeriodText | None = Field(
        None, description="A month, quarter or year in UTC, such as 2026-11, 2026-Q4, 2026; by default last month."
    )
    since: DayOrInstant | None = Field(None, alias="from", description="From this day (UTC) or instant on.")
    until: DayOrInstant | None = Field(None, alias="to", description="Up to this day (UTC) or instant.")
    account: AccountRef | None = Field(None, description="Of this account alone, by id or name.")
    key: KeyRef | None = Field(None, description="Usage of this key.")
    model: ModelRef | None = Field(None, description="Usage of this model.")
    provider: ProviderRef | None = Field(None, description="Usage that this provider served.")
    grain: Grain | None = Field(
        None,
        description="One transaction of a journal for each entry, day or month; by default day for hledger and "
        "beancount, month for the others.",
    )
    mapping: str | None = Field(
        None,
        description="The codes of accounts for generic, quickbooks, xero and datev: the text of a TOML file.",
        json_schema_extra={"contentMediaType": "application/toml"},
    )


@operations.get("", verb="list", summary="List exports", roles=ALL)
async def list_(admin: Read, query: Annotated[PageQuery, Query()]) -> Page[ExportOut]:
    """The newest first."""
    before = query.after_id(ExportId)

    async def ask(connection: AsyncConnection) -> list[ExportOut]:
        return [_out(export) for export in await list_exports(connection, before, query.limit + 1)]

    return admin.page(query, await admin.read(ask), lambda export: wire(ExportId, export.id))


@operations.get("/{export_id}", verb="show", summary="Retrieve an export", roles=ALL)
async def retrieve(admin: Read, export_id: ExportIdText) -> SingleExportOut:
    """How far it is, its files, and its manifest."""

    async def ask(connection: AsyncConnection) -> SingleExportOut:
        return await _single(connection, await _find(connection, export_id))

    return await admin.read(ask)


@operations.post("", verb="create", summary="Export", roles=MONEY, status=201)
async def create(admin: Write, body: ExportCreate) -> SingleExportOut:
    """Queue an export, which `gigarouter jobs` begins within seconds."""
    span = _span(body, admin.exchange.now)

    async def command(work: UnitOfWork) -> SingleExportOut:
        filters = await _filters(work.connection, body)
        await _check(work.connection, body, span, filters)
        export = await request_export(work, body.kind, body.format, span.since, span.until, filters)
        return await _single(work.connection, export)

    return await admin.change(command)


@operations.post("/{export_id}/cancel", verb="cancel", summary="Cancel an export", roles=MONEY)
async def cancel(admin: Write, export_id: ExportIdText) -> SingleExportOut:
    """Stop an export that waits or is being written; what it has of files is removed."""

    async def command(work: UnitOfWork) -> SingleExportOut:
        return await _single(work.connection, await cancel_export(work, export_id))

    return await admin.change(command)


@operations.get(
    "/{export_id}/files/{name}",
    verb="download",
    name="download_export",
    summary="Download a file of an export",
    roles=ALL,
    media=(OCTETS,),
)
async def download(admin: Read, export_id: ExportIdText, name: str) -> FileResponse:
    """The bytes of one file, or of manifest.json; with Range, a part of them."""

    async def ask(connection: AsyncConnection) -> Export:
        export = await _find(connection, export_id)
        names = {file.name for file in await list_files(connection, export_id)} | {MANIFEST}
        if export.state is not ExportState.DONE or name not in names:
            raise NotFound(f"This export is {export.state.value} and has no such file.", param="name")
        return export

    path = admin.context.exports.of((await admin.read(ask)).id) / name
    if not path.is_file():
        raise NotFound(
            "The file is not on this machine: GIGAROUTER_EXPORTS_DIR has to be one folder of `serve` and `jobs`.",
            param="name",
        )
    return FileResponse(path, media_type=OCTETS, filename=name, headers=NO_STORE)


def _span(body: ExportCreate, now: datetime) -> Period:
    last_month = month_of(month_of(now).since - timedelta(days=1))
    span = span_of(body.period, body.since, body.until, now) or last_month
    if span.since >= now:
        raise InvalidRequest("Nothing has happened in that time yet.", param="period")
    return span


async def _filters(connection: AsyncConnection, body: ExportCreate) -> Filters:
    """Raises ``NotFound``, ``Conflict`` and ``ModelUnknown`` for what is named."""
    return Filters(
        account_id=None if body.account is None else (await account_of(connection, body.account)).id,
        key_id=None if body.key is None else (await key_of(connection, body.key)).id,
        model_id=None if body.model is None else await model_id_of(connection, body.model),
        provider_id=None if body.provider is None else (await provider_of(connection, body.provider)).id,
        grain=body.grain,
        mapping=body.mapping or "",
    )


async def _check(connection: AsyncConnection, body: ExportCreate, span: Period, filters: Filters) -> None:
    """Raise ``InvalidRequest`` for what does not go together."""
    if body.kind is ExportKind.ACCOUNT:
        raise InvalidRequest("What an account has of its own is ordered by its owners, signed in.", param="kind")
    is_journal = body.kind is ExportKind.JOURNAL
    if is_journal == (body.format in TABLES):
        raise InvalidRequest(f"{body.kind.value} cannot be had as {body.format.value}.", param="format")
    if body.kind is not ExportKind.USAGE and (body.key or body.model or body.provider):
        raise InvalidRequest("'key', 'model' and 'provider' are of usage alone.", param="kind")
    if not is_journal and (body.grain or body.mapping):
        raise InvalidRequest("'grain' and 'mapping' are of journals alone.", param="kind")
    if (body.format in PROGRAMS) != (body.mapping is not None):
        raise InvalidRequest(
            "'mapping' has the codes of accounts, which generic, quickbooks, xero and datev need, and no other.",
            param="mapping",
        )
    if is_journal:
        await _check_journal(connection, body, span)


async def _check_journal(connection: AsyncConnection, body: ExportCreate, span: Period) -> None:
    if any(at != at.replace(hour=0, minute=0, second=0, microsecond=0) for at in (span.since, span.until)):
        raise InvalidRequest("A journal is of whole days in UTC.", param="from")
    if body.format not in PROGRAMS:
        if body.grain is Grain.MONTH:
            raise InvalidRequest("hledger and beancount have a transaction for each entry or day.", param="grain")
        return
    if body.grain is Grain.ENTRY:
        raise InvalidRequest("In cents there is a journal for each day or month.", param="grain")
    if body.account is not None:
        raise InvalidRequest("In cents the books are one: 'account' is of hledger and beancount.", param="account")
    if (span.since.day, span.until.day) != (1, 1):
        raise InvalidRequest("Programs import whole months: give 'period'.", param="period")
    try:
        # What is booked later is checked again before the first byte is written.
        check_complete(read_mapping(body.mapping or "", body.format), await sealed_accounts(connection))
    except MappingRefused as refused:
        raise InvalidRequest(str(refused), param="mapping") from None


async def _find(connection: AsyncConnection, export_id: ExportId) -> Export:
    found = await find_export(connection, export_id)
    if found is None or found.kind is ExportKind.ACCOUNT:
        raise NotFound(f"There is no export {wire(ExportId, export_id)}.", param="export")
    return found


async def _single(connection: AsyncConnection, export: Export) -> SingleExportOut:
    manifest = await find_manifest(connection, export.id)
    return answer_of(
        SingleExportOut,
        export,
        filters=_filters_out(export.filters),
        files=[_file(file) for file in await list_files(connection, export.id)],
        manifest=None if manifest is None else msgspec.json.decode(manifest, type=dict[str, Any]),
    )


def _out(export: Export) -> ExportOut:
    return answer_of(ExportOut, export, filters=_filters_out(export.filters))


def _filters_out(filters: Filters) -> dict[str, Any]:
    """What was set, without the text of the mapping."""
    found = msgspec.to_builtins(filters)
    return {name: value for name, value in found.items() if value is not None and name != "mapping"}


def _file(file: ExportFile) -> ExportFileOut:
    return answer_of(ExportFileOut, file, bytes=file.size, sha256=file.sha256.hex())
