"""Orders the archive of all that an account has, for its owner; ``jobs`` writes it (:mod:`router.admin.own_data`)."""

from datetime import UTC, datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.exports.formats import ExportFormat, ExportKind
from billing.exports.requests import Export, Filters, count_own_exports, find_export
from billing.exports.requests import request_export as queue
from router.changes.audit import Change
from router.changes.transaction import UnitOfWork
from router.errors import Conflict, NotFound
from router.tables import Json
from store.ids import AccountId, ExportId, wire

A_DAY_MAX = 5
# Before anything was stored.
SINCE = datetime(2020, 1, 1, tzinfo=UTC)
_LOCK = text("SELECT id FROM accounts WHERE id = :account FOR NO KEY UPDATE")


async def order_own_export(work: UnitOfWork, account_id: AccountId) -> Export:
    """Order an archive. Raises ``Conflict`` while another one is written, and beyond five a day."""
    await work.connection.execute(_LOCK, {"account": account_id})
    under_way, today = await count_own_exports(work.connection, account_id)
    if under_way:
        raise Conflict("An archive of this account is being written: it is there within minutes.")
    if today >= A_DAY_MAX:
        raise Conflict(f"{A_DAY_MAX} archives were ordered within a day. Take one of them, or order one tomorrow.")
    filters = Filters(account_id=account_id)
    export = await queue(
        work.connection, ExportKind.ACCOUNT, ExportFormat.ZIP, SINCE, work.now, filters, str(work.actor)
    )
    after: Json = {"export": wire(ExportId, export.id)}
    work.record_change(Change("account.export", wire(AccountId, account_id), account_id, after=after))
    return export


async def find_own_export(connection: AsyncConnection, account_id: AccountId, export_id: ExportId) -> Export:
    """One of an account's. Raises ``NotFound``, for those of others and of finance too."""
    export = await find_export(connection, export_id)
    if export is None or export.kind is not ExportKind.ACCOUNT or export.filters.account_id != account_id:
        raise NotFound(f"There is no export {wire(ExportId, export_id)}.", param="export")
    return export
