"""Shows finance the exports: the list, one with its progress, manifest and files, and the order for another."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from store.ids import ExportId, parse
from web.answers import Crumb, File, Page
from web.faults import NotFound
from web.finance.facts import DoneQuery, Fact, read_one
from web.finance.listing import FINANCE, Cell, Listing, Way, instant, link, number, state, words
from web.ops.write import Field, Write
from web.parts.tables import Column
from web.request import PageRequest

EXPORTS = Crumb("Exports", "/finance/exports")
MANIFEST = "manifest.json"
CHUNK = 256 * 1024
KINDS = ("usage", "grants", "payments", "movements", "tax", "audit", "documents", "journal")
FORMATS = ("csv", "csv.gz", "parquet", "hledger", "beancount", "generic", "quickbooks", "xero", "datev")
LIST = Listing(
    operation="list_exports",
    title="Exports",
    explanation="Usage, movements, documents and journals as files, the newest first. Jobs write them.",
    caption="Exports",
    head=(
        Column("Export"),
        Column("Kind"),
        Column("Form"),
        Column("From"),
        Column("To"),
        Column("State"),
        Column("Rows", is_number=True),
        Column("Ordered"),
    ),
    cells=lambda row: (
        link(row["id"], f"/finance/exports/{row['id']}"),
        words(row["kind"]),
        words(row["format"]),
        instant(row["from"]),
        instant(row["to"]),
        state(row["state"]),
        number(row["rows_done"]),
        instant(row["requested_at"]),
    ),
    ways=(Way("/finance/exports/new", "Export"),),
    empty="Nothing was exported yet.",
    empty_way=Way("/finance/exports/new", "Export"),
)


class _File(msgspec.Struct, frozen=True):
    name: str
    rows: int
    bytes: int
    sha256: str


class Export(msgspec.Struct, frozen=True, rename={"since": "from", "until": "to"}):
    """An export, as its operation answers it."""

    id: str
    kind: str
    format: str
    since: datetime
    until: datetime
    filters: dict[str, Any]
    state: str
    failure: str
    rows_done: int
    rows_total: int | None
    requested_by: str
    requested_at: datetime
    ended_at: datetime | None
    expires_at: datetime | None
    files: list[_File]
    manifest: dict[str, Any] | None


class ExportFile(msgspec.Struct, frozen=True):
    """A file that is written whole; ``href`` is None until all are."""

    name: str
    href: str | None
    rows: int
    size: int
    sha256: str


class ExportPage(Page, frozen=True, kw_only=True):
    """One export. ``rows_total`` is about how many rows there will be."""

    template: ClassVar[str] = "finance/export.html"

    facts: tuple[Fact, ...]
    ways: tuple[Way, ...]
    failure: str
    rows_done: int
    rows_total: int | None
    is_going_on: bool
    files: tuple[ExportFile, ...]
    manifest: str | None
    is_done: bool = False
    head: tuple[Column, ...] = (
        Column("File"),
        Column("Rows", is_number=True),
        Column("Bytes", is_number=True),
        Column("SHA-256"),
    )


async def show(request: PageRequest) -> ExportPage:
    """How far it is, its files, and its manifest."""
    is_done = request.query_as(DoneQuery).done
    one = await read_one(request, "retrieve_export", Export, export_id=request.values["export"])
    base, is_going_on = f"/finance/exports/{one.id}", one.state in ("queued", "running")
    ways = [Way(f"{base}/cancel", "Cancel it"), Way(base, "Look again")] if is_going_on else []
    if one.state == "done":
        ways.append(Way(f"{base}/files/{MANIFEST}", "Download the manifest"))
    return ExportPage(
        title=f"Export of {one.kind}",
        crumbs=(FINANCE, EXPORTS, Crumb(one.id)),
        facts=_facts(one),
        ways=tuple(ways),
        failure=one.failure,
        rows_done=one.rows_done,
        rows_total=one.rows_total,
        is_going_on=is_going_on,
        files=tuple(
            ExportFile(
                file.name,
                f"{base}/files/{file.name}" if one.state == "done" else None,
                file.rows,
                file.bytes,
                file.sha256,
            )
            for file in one.files
        ),
        manifest=None if one.manifest is None else json.dumps(one.manifest, indent=2),
        is_done=is_done,
    )


async def download(request: PageRequest) -> File:
    """The bytes of one file, or of the manifest, as they are read from the folder. Raises ``NotFound``."""
    one, name = await read_one(request, "retrieve_export", Export, export_id=request.values["export"]), request.values
    if one.state != "done" or name["name"] not in {MANIFEST, *(file.name for file in one.files)}:
        raise NotFound
    path = request.context.reads.exports.of(ExportId(parse(ExportId, one.id))) / name["name"]
    # A folder that this process does not reach has no such file.
    if not await asyncio.to_thread(path.is_file):
        raise NotFound
    return File(body=_pieces(path), media="application/octet-stream", name=path.name)


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    with await asyncio.to_thread(path.open, "rb") as file:
        while piece := await asyncio.to_thread(file.read, CHUNK):
            yield piece


def _facts(one: Export) -> tuple[Fact, ...]:
    chosen = ", ".join(f"{name.removesuffix('_id')} {value}" for name, value in one.filters.items())
    return (
        Fact("State", state(one.state)),
        Fact("Form", words(one.format)),
        Fact("From", Cell("", kind="time", at=one.since)),
        Fact("To", Cell("", kind="time", at=one.until)),
        Fact("Of", words(chosen or "everything")),
        Fact("Ordered by", words(one.requested_by)),
        Fact("Ordered", Cell("", kind="time", at=one.requested_at)),
        Fact("Ended", Cell("", kind="time", at=one.ended_at)),
        Fact("Files are removed", Cell("", kind="time", at=one.expires_at)),
    )


_SPAN = {"from": "From", "to": "To"}
NEW = Write(
    operation="create_export",
    verb="Export",
    name="kind",
    explanation="Jobs begin within seconds. The manifest says what the files add up to.",
    fields=(
        Field(name="kind", label="What", kind="choice", options=tuple((kind, kind) for kind in KINDS)),
        Field(
            name="format",
            label="Form",
            kind="choice",
            options=tuple((form, form) for form in FORMATS),
            hint="The first three are tables; the others are journals for a program.",
        ),
        Field(
            name="period", label="Period", hint="Such as 2026-11, 2026-Q4 or 2026; empty: last month, or from and to."
        ),
        Field(name="from", label="From", hint="A day, such as 2026-11-01."),
        Field(name="to", label="To", hint="Up to this day."),
        Field(name="account", label="Account", hint="Its id or name; empty: all."),
        Field(name="model", label="Model", hint="Usage of it alone."),
        Field(name="provider", label="Provider", hint="Usage that it served alone."),
        Field(
            name="grain",
            label="One transaction of a journal for each",
            kind="choice",
            options=(("", "As the program wants it"), ("entry", "Entry"), ("day", "Day"), ("month", "Month")),
        ),
        Field(
            name="mapping",
            label="Codes of accounts",
            kind="area",
            hint="TOML, which generic, quickbooks, xero and datev need.",
        ),
    ),
    names={"kind": "What", "format": "Form", **_SPAN, "state": "State"},
    back="/finance/exports",
    done="/finance/exports/{id}",
    crumbs=(FINANCE, EXPORTS),
)
CANCEL = Write(
    operation="cancel_export",
    verb="Cancel the export of",
    name="kind",
    explanation="It stops, and what it has of files is removed.",
    values={"export_id": "export"},
    reads="retrieve_export",
    names={"format": "Form", **_SPAN, "state": "State"},
    back="/finance/exports/{export}",
    crumbs=(FINANCE, EXPORTS),
    has_body=False,
    is_dangerous=True,
)
