"""Keeps providers' invoices: the versions of their column maps, what was imported, and how far it is settled."""

from collections.abc import Sequence
from datetime import date, datetime
from enum import StrEnum

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.money import NanoUSD
from billing.reconciliation.invoice_csv import InvoiceLine
from store.ids import EntryId, ProviderId, ProviderInvoiceId, new_id

_MAP_COLUMNS = "m.provider_id, p.name, m.version, m.map, m.created_at, m.created_by"
_PUT_MAP = text("""
    INSERT INTO invoice_maps (provider_id, version, map, created_by)
    SELECT CAST(:provider AS uuid), coalesce(max(version), 0) + 1, :map, :by FROM invoice_maps
    WHERE provider_id = CAST(:provider AS uuid)
""")
_MAP = text(f"""
    SELECT {_MAP_COLUMNS} FROM invoice_maps m JOIN providers p ON p.id = m.provider_id
    WHERE m.provider_id = :provider ORDER BY m.version DESC LIMIT 1
""")  # noqa: S608 - constants
_MAPS = text(f"""
    SELECT DISTINCT ON (m.provider_id) {_MAP_COLUMNS} FROM invoice_maps m JOIN providers p ON p.id = m.provider_id
    WHERE CAST(:after AS uuid) IS NULL OR m.provider_id > CAST(:after AS uuid)
    ORDER BY m.provider_id, m.version DESC LIMIT :most
""")  # noqa: S608 - constants
_COLUMNS = (
    "id, provider_id, number, since, until, map_version, sha256, total_nano AS total, lines, tolerance_nano AS"
    " tolerance, state, imported_at, imported_by, settled_at, accrued_nano AS accrued, entry_id, paid_at"
)
_FIND = text(f"SELECT {_COLUMNS} FROM provider_invoices WHERE id = :id")  # noqa: S608 - constants
_LOCK = text(f"SELECT {_COLUMNS} FROM provider_invoices WHERE id = :id FOR UPDATE")  # noqa: S608 - constants
_FIND_FILE = text(f"""
    SELECT {_COLUMNS} FROM provider_invoices
    WHERE provider_id = :provider AND sha256 = :sha256 AND state <> 'void'
""")  # noqa: S608 - constants
_FIND_OTHER = text(f"""
    SELECT {_COLUMNS} FROM provider_invoices WHERE provider_id = :provider AND state <> 'void'
        AND (number = :number OR (since < :until AND until > :since)) ORDER BY (number = :number) DESC, since LIMIT 1
""")  # noqa: S608 - constants
_LIST = text(f"""
    SELECT {_COLUMNS} FROM provider_invoices
    WHERE (CAST(:provider AS uuid) IS NULL OR provider_id = CAST(:provider AS uuid))
        AND (CAST(:before AS uuid) IS NULL OR id < CAST(:before AS uuid)) ORDER BY id DESC LIMIT :most
""")  # noqa: S608 - constants
_WAITING = text(f"SELECT {_COLUMNS} FROM provider_invoices WHERE state = 'imported' ORDER BY id")  # noqa: S608
_INSERT = text("""
    INSERT INTO provider_invoices
        (id, provider_id, number, since, until, map_version, sha256, total_nano, lines, tolerance_nano, imported_by)
    VALUES (:id, :provider, :number, :since, :until, :map_version, :sha256, :total, :lines, :tolerance, :by)
""")
_INSERT_LINE = text("""
    INSERT INTO provider_invoice_lines (invoice_id, line, day, model, requests, tokens, amount_nano)
    VALUES (:invoice, :line, :day, :model, :requests, :tokens, :amount)
""")
_VOID = text("UPDATE provider_invoices SET state = 'void' WHERE id = :id")
_SETTLE = text("""
    UPDATE provider_invoices SET state = 'settled', settled_at = now(), accrued_nano = :accrued,
        entry_id = CAST(:entry AS uuid) WHERE id = :id
""")
_PAY = text("UPDATE provider_invoices SET paid_at = now() WHERE id = :id")


class InvoiceState(StrEnum):
    """How far it is: its lines are here, it is booked, or it was imported by mistake."""

    IMPORTED = "imported"
    SETTLED = "settled"
    VOID = "void"


class StoredMap(msgspec.Struct, frozen=True):
    """A version of a provider's map, as TOML."""

    provider_id: ProviderId
    provider_name: str
    version: int
    map: str
    created_at: datetime
    created_by: str


class ProviderInvoice(msgspec.Struct, frozen=True):
    """An invoice of the days from ``since`` up to ``until``; ``accrued`` is what those were booked to cost."""

    id: ProviderInvoiceId
    provider_id: ProviderId
    number: str
    since: date
    until: date
    map_version: int
    sha256: bytes
    total: NanoUSD
    lines: int
    tolerance: NanoUSD
    state: InvoiceState
    imported_at: datetime
    imported_by: str
    settled_at: datetime | None
    accrued: NanoUSD | None
    entry_id: EntryId | None
    paid_at: datetime | None


async def put_map(tx: AsyncConnection, provider_id: ProviderId, map: str, by: str) -> StoredMap:
    """Store the next version of a provider's map."""
    await tx.execute(_PUT_MAP, {"provider": provider_id, "map": map, "by": by})
    stored = await find_map(tx, provider_id)
    assert stored is not None, "the map was just written; this is a bug"
    return stored


async def find_map(tx: AsyncConnection, provider_id: ProviderId) -> StoredMap | None:
    """The newest version of a provider's map."""
    row = (await tx.execute(_MAP, {"provider": provider_id})).one_or_none()
    return None if row is None else StoredMap(*row)


async def list_maps(tx: AsyncConnection, after: ProviderId | None, most: int) -> list[StoredMap]:
    """The newest version of each provider's map."""
    return [StoredMap(*row) for row in await tx.execute(_MAPS, {"after": after, "most": most})]


async def add_invoice(tx: AsyncConnection, invoice: ProviderInvoice, lines: Sequence[InvoiceLine]) -> ProviderInvoice:
    """Store an invoice with its lines. The database's ``IntegrityError`` where one has its number, file or days."""
    facts = {name: getattr(invoice, name) for name in ("id", "number", "since", "until", "map_version", "sha256")}
    facts |= {"total": invoice.total, "lines": invoice.lines, "tolerance": invoice.tolerance}
    await tx.execute(_INSERT, {**facts, "provider": invoice.provider_id, "by": invoice.imported_by})
    rows = [{"invoice": invoice.id, **msgspec.structs.asdict(line)} for line in lines]
    await tx.execute(_INSERT_LINE, rows)
    return await require_invoice(tx, invoice.id)


def new_invoice(
    provider_id: ProviderId,
    number: str,
    since: date,
    until: date,
    *,
    map_version: int,
    sha256: bytes,
    lines: Sequence[InvoiceLine],
    tolerance: NanoUSD,
    by: str,
    now: datetime,
) -> ProviderInvoice:
    """An invoice that is not stored yet."""
    return ProviderInvoice(
        id=ProviderInvoiceId(new_id()),
        provider_id=provider_id,
        number=number,
        since=since,
        until=until,
        map_version=map_version,
        sha256=sha256,
        total=NanoUSD(sum(line.amount for line in lines)),
        lines=len(lines),
        tolerance=tolerance,
        state=InvoiceState.IMPORTED,
        imported_at=now,
        imported_by=by,
        settled_at=None,
        accrued=None,
        entry_id=None,
        paid_at=None,
    )


async def find_invoice(
    tx: AsyncConnection, invoice_id: ProviderInvoiceId, *, locked: bool = False
) -> ProviderInvoice | None:
    """One invoice."""
    row = (await tx.execute(_LOCK if locked else _FIND, {"id": invoice_id})).one_or_none()
    return None if row is None else _invoice(row._mapping)


async def require_invoice(tx: AsyncConnection, invoice_id: ProviderInvoiceId) -> ProviderInvoice:
    """One invoice that is there."""
    found = await find_invoice(tx, invoice_id)
    assert found is not None, "the invoice was just there; this is a bug"
    return found


async def find_file(tx: AsyncConnection, provider_id: ProviderId, sha256: bytes) -> ProviderInvoice | None:
    """The invoice that was imported from the same bytes."""
    row = (await tx.execute(_FIND_FILE, {"provider": provider_id, "sha256": sha256})).one_or_none()
    return None if row is None else _invoice(row._mapping)


async def find_other(
    tx: AsyncConnection, provider_id: ProviderId, number: str, since: date, until: date
) -> ProviderInvoice | None:
    """An invoice of the provider with the same number, or else with some of the same days."""
    facts = {"provider": provider_id, "number": number, "since": since, "until": until}
    row = (await tx.execute(_FIND_OTHER, facts)).one_or_none()
    return None if row is None else _invoice(row._mapping)


async def list_invoices(
    tx: AsyncConnection, provider_id: ProviderId | None, before: ProviderInvoiceId | None, most: int
) -> list[ProviderInvoice]:
    """List invoices, the newest first."""
    rows = await tx.execute(_LIST, {"provider": provider_id, "before": before, "most": most})
    return [_invoice(row._mapping) for row in rows]


async def list_waiting(tx: AsyncConnection) -> list[ProviderInvoice]:
    """The invoices that are neither settled nor void."""
    return [_invoice(row._mapping) for row in await tx.execute(_WAITING)]


async def void_invoice(tx: AsyncConnection, invoice_id: ProviderInvoiceId) -> None:
    """Mark an invoice as imported by mistake; its number, file and days are free again."""
    await tx.execute(_VOID, {"id": invoice_id})


async def mark_settled(
    tx: AsyncConnection, invoice_id: ProviderInvoiceId, accrued: NanoUSD, entry_id: EntryId | None
) -> None:
    """Say which entry booked it."""
    await tx.execute(_SETTLE, {"id": invoice_id, "accrued": accrued, "entry": entry_id})


async def mark_paid(tx: AsyncConnection, invoice_id: ProviderInvoiceId) -> None:
    """Say that it was paid."""
    await tx.execute(_PAY, {"id": invoice_id})


def _invoice(row: object) -> ProviderInvoice:
    fields = dict(row)  # type: ignore[call-overload]
    return ProviderInvoice(**{**fields, "state": InvoiceState(fields["state"])})
