"""Stores maps of columns, imports and settles providers' invoices through the one write path.

What a file and a comparison are is in :mod:`billing.reconciliation`.
"""

from collections.abc import Sequence
from datetime import date
from hashlib import sha256

import msgspec
from sqlalchemy.exc import DBAPIError, IntegrityError

from billing.ledger import Posting
from billing.money import NanoUSD, to_usd
from billing.reconciliation import differences, invoices
from billing.reconciliation.column_map import MapRefused, read_map
from billing.reconciliation.compare import Compared
from billing.reconciliation.invoice_csv import FileRefused, read_invoice
from billing.reconciliation.invoices import InvoiceState, ProviderInvoice, StoredMap
from billing.reconciliation.provider_run import examine, scope_of
from billing.reconciliation.settle import pay_invoice, settle_invoice
from router.changes.audit import Change
from router.changes.transaction import UnitOfWork
from router.errors import Conflict, InvalidRequest, NotFound
from router.tables import Json
from store.ids import ProviderId, ProviderInvoiceId, wire


class Import(msgspec.Struct, frozen=True):
    """An invoice that is to be imported: its days, from ``since`` up to ``until``, and what it says it comes to."""

    provider_id: ProviderId
    number: str
    since: date
    until: date
    total: NanoUSD
    content: bytes


async def store_map(work: UnitOfWork, provider_id: ProviderId, map: str) -> StoredMap:
    """Store the next version of a provider's map; the same text makes none. Raises ``InvalidRequest``."""
    try:
        read_map(map)
    except MapRefused as refused:
        raise InvalidRequest(str(refused), param="map") from None
    before = await invoices.find_map(work.connection, provider_id)
    stored = before if before is not None and before.map == map else None
    stored = stored or await invoices.put_map(work.connection, provider_id, map, work.actor)
    work.record_change(Change("invoice_map.set", wire(ProviderId, provider_id), after={"version": stored.version}))
    return stored


async def import_invoice(work: UnitOfWork, order: Import) -> tuple[ProviderInvoice, Sequence[Compared]]:
    """Import the lines of an invoice, and compare them with our own cost.

    Raises ``InvalidRequest`` with line and column for what is wrong in the file, ``Conflict`` for one that is here.
    """
    stored = await invoices.find_map(work.connection, order.provider_id)
    if stored is None:
        raise Conflict("The provider has no map of columns: store one with `invoice-maps set`.")
    digest = sha256(order.content).digest()
    await _refuse_known(work, order, digest)
    map = read_map(stored.map)
    try:
        lines = read_invoice(order.content, map, order.since, order.until, order.total)
    except FileRefused as refused:
        faults = [msgspec.structs.asdict(fault) for fault in refused.faults]
        raise InvalidRequest(str(refused), param="file", details={"file_faults": faults}) from None
    invoice = invoices.new_invoice(
        order.provider_id,
        order.number,
        order.since,
        order.until,
        map_version=stored.version,
        sha256=digest,
        lines=lines,
        tolerance=map.tolerance,
        by=work.actor,
        now=work.now,
    )
    try:
        invoice = await invoices.add_invoice(work.connection, invoice, lines)
    except IntegrityError as error:
        raise Conflict("Another import of this invoice, or of these days, was faster. Look at `list`.") from error
    compared = await examine(work.connection, invoice)
    facts: Json = {"number": order.number, "total_usd": to_usd(order.total), "sha256": digest.hex()}
    work.record_change(Change("provider_invoice.import", wire(ProviderInvoiceId, invoice.id), after=facts))
    return invoice, compared


async def void_invoice(work: UnitOfWork, invoice_id: ProviderInvoiceId, reason: str) -> ProviderInvoice:
    """Take back an import that is not settled. Raises ``NotFound``, ``Conflict``."""
    invoice = await require_invoice(work, invoice_id)
    if invoice.state is not InvoiceState.IMPORTED:
        raise Conflict(
            f"The invoice is {invoice.state.value}. What was booked is corrected by the provider's next invoice."
        )
    await invoices.void_invoice(work.connection, invoice_id)
    await differences.resolve_scope(work.connection, scope_of(invoice_id), work.actor, f"void: {reason}", None)
    work.record_change(Change("provider_invoice.void", wire(ProviderInvoiceId, invoice_id), reason=reason))
    return await invoices.require_invoice(work.connection, invoice_id)


async def settle(
    work: UnitOfWork, invoice_id: ProviderInvoiceId, reason: str
) -> tuple[ProviderInvoice, Sequence[Posting]]:
    """Book an invoice, and return the legs of its entry. What of it nothing explains needs a reason.

    Raises ``NotFound``, ``Conflict``.
    """
    invoice = await require_invoice(work, invoice_id)
    if invoice.state is not InvoiceState.IMPORTED:
        raise Conflict(f"The invoice is {invoice.state.value}.")
    # What came since the import counts, too.
    await examine(work.connection, invoice)
    unexplained = await differences.count_open(work.connection, scope_of(invoice_id))
    if unexplained and not reason.strip():
        raise Conflict(
            f"Nothing explains {unexplained} of its lines: resolve each (`differences list`), or give a 'reason'."
        )
    try:
        legs = await settle_invoice(work.connection, invoice, work.actor, reason.strip())
    except DBAPIError as error:
        if "is closed" in str(error.orig):
            raise Conflict("Its month is being closed at this moment. Try again when that is over.") from error
        raise
    after = await invoices.require_invoice(work.connection, invoice_id)
    facts: Json = {"total_usd": to_usd(after.total), "accrued_usd": to_usd(after.accrued or NanoUSD(0))}
    work.record_change(
        Change("provider_invoice.settle", wire(ProviderInvoiceId, invoice_id), after=facts, reason=reason)
    )
    return after, legs


async def pay(
    work: UnitOfWork, invoice_id: ProviderInvoiceId, reference: str
) -> tuple[ProviderInvoice, Sequence[Posting]]:
    """Record that a settled invoice was paid from the bank, and return the legs. Raises ``NotFound``, ``Conflict``."""
    invoice = await require_invoice(work, invoice_id)
    if invoice.state is not InvoiceState.SETTLED or invoice.paid_at is not None:
        raise Conflict(f"The invoice is {'paid' if invoice.paid_at else invoice.state.value}.")
    legs = await pay_invoice(work.connection, invoice, reference)
    facts: Json = {"total_usd": to_usd(invoice.total), "reference": reference}
    work.record_change(Change("provider_invoice.pay", wire(ProviderInvoiceId, invoice_id), after=facts))
    return await invoices.require_invoice(work.connection, invoice_id), legs


async def require_invoice(work: UnitOfWork, invoice_id: ProviderInvoiceId) -> ProviderInvoice:
    """An invoice, its row locked. Raises ``NotFound``."""
    found = await invoices.find_invoice(work.connection, invoice_id, locked=True)
    if found is None:
        raise NotFound(f"There is no invoice {wire(ProviderInvoiceId, invoice_id)}.", param="invoice")
    return found


async def _refuse_known(work: UnitOfWork, order: Import, digest: bytes) -> None:
    same = await invoices.find_file(work.connection, order.provider_id, digest)
    if same is not None:
        named = wire(ProviderInvoiceId, same.id)
        raise Conflict(f"This file was imported before, as {named} ({same.number}). Nothing was changed.")
    other = await invoices.find_other(work.connection, order.provider_id, order.number, order.since, order.until)
    if other is not None:
        named = wire(ProviderInvoiceId, other.id)
        what = "has this number" if other.number == order.number else f"has days up to {other.until} among these"
        raise Conflict(f"Invoice {named} ({other.number}) {what}. Void it, if it was imported by mistake.")
