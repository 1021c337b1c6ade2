"""Requests and cancels exports through the one write path; ``jobs`` writes them."""

from datetime import datetime

from billing.exports.formats import ExportFormat, ExportKind
from billing.exports.requests import OPEN_MAX, Export, Filters, cancel, find_export, open_exports
from billing.exports.requests import request_export as queue
from router.changes.audit import Change
from router.changes.transaction import UnitOfWork
from router.errors import Conflict, NotFound
from router.tables import Json
from store.ids import ExportId, wire


async def request_export(
    work: UnitOfWork, kind: ExportKind, format: ExportFormat, since: datetime, until: datetime, filters: Filters
) -> Export:
    """Queue an export. Raises ``Conflict`` where too many are open."""
    if await open_exports(work.connection) >= OPEN_MAX:
        raise Conflict(f"{OPEN_MAX} exports are being written or wait: cancel one, or wait for `gigarouter jobs`.")
    export = await queue(work.connection, kind, format, since, until, filters, work.actor)
    after: Json = {"kind": kind.value, "format": format.value, "from": since.isoformat(), "to": until.isoformat()}
    work.record_change(Change("export.request", wire(ExportId, export.id), filters.account_id, after=after))
    return export


async def cancel_export(work: UnitOfWork, export_id: ExportId) -> Export:
    """Stop an export and give its files up. Raises ``NotFound``, ``Conflict`` where it has ended."""
    export = await find_export(work.connection, export_id)
    if export is None or export.kind is ExportKind.ACCOUNT:
        raise NotFound(f"There is no export {wire(ExportId, export_id)}.", param="export")
    if not await cancel(work.connection, export_id):
        raise Conflict(f"It cannot be cancelled any more: it is {export.state.value}.")
    work.record_change(
        Change(
            "export.cancel",
            wire(ExportId, export_id),
            export.filters.account_id,
            before={"state": export.state.value},
            after={"state": "cancelled"},
        )
    )
    cancelled = await find_export(work.connection, export_id)
    assert cancelled is not None, "an export disappeared; this is a bug"
    return cancelled
