"""``/admin/v1/finance/provider-invoices``: what providers bill us, compared with what our calls cost there."""

import base64
import binascii
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Annotated, Any, ClassVar

from fastapi import Query
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.ledger import Posting
from billing.reconciliation.compare import Compared, Verdict
from billing.reconciliation.invoices import InvoiceState, ProviderInvoice, find_invoice, list_invoices
from billing.reconciliation.provider_run import compare_invoice
from router.admin import provider_invoices as commands
from router.admin.provider_invoices import Import
from router.api.admin.references import provider_of
from router.api.admin.request import Read, Write
from router.api.fields import EntryIdText, Instant, ProviderIdText, ProviderInvoiceIdText, ProviderRef, Usd, text_of
from router.api.forms import Answer, Body, Page, PageQuery, Reason
from router.api.operation import ALL, MONEY, V1, Operations
from router.api.periods import PeriodText
from router.changes.transaction import UnitOfWork
from router.errors import InvalidRequest, NotFound
from store.ids import ProviderInvoiceId, wire

operations = Operations("provider-invoices", f"{V1}/finance/provider-invoices", tag="Finance")

# The file's bytes, and the body with those in base64.
FILE_MAX, BODY_MAX = 8 * 1024 * 1024, 12 * 1024 * 1024


class ProviderInvoiceOut(Answer):
    """An invoice of a provider."""

    columns: ClassVar[tuple[str, ...]] = ("id", "provider", "number", "since", "until", "total_usd", "state", "paid_at")

    id: ProviderInvoiceIdText
    provider: ProviderIdText
    number: str
    since: date = Field(description="Its first day (UTC).")
    until: date = Field(description="The day after its last.")
    total_usd: Usd
    lines: int
    map_version: int
    sha256: str = Field(description="Of the file, in hexadecimal digits.")
    state: InvoiceState = Field(description="imported, settled: it is booked, or void.")
    imported_at: Instant
    imported_by: str
    settled_at: Instant | None
    accrued_usd: Usd | None = Field(description="What the calls of its days were booked to cost when it was settled.")
    entry: EntryIdText | None
    paid_at: Instant | None


class ComparedOut(Answer):
    """A model, and a day where the invoice has days."""

    day: date | None
    model: str = Field(description="Ours; where the provider has one name for several, all of them.")
    billed_usd: Usd
    cost_usd: Usd = Field(description="What the calls that were delivered cost.")
    undelivered_usd: Usd = Field(description="What of the rest attempts explain that nobody was delivered.")
    difference_usd: Usd = Field(description="What nothing explains.")
    billed_tokens: int | None
    tokens: int
    verdict: Verdict


class SingleProviderInvoiceOut(ProviderInvoiceOut):
    """An invoice and its comparison."""

    compared: list[ComparedOut]


class LegOut(Answer):
    """A leg of an entry: positive is a credit, negative a debit."""

    ledger_account: str
    detail: str = Field(description="Of a payable, the provider.")
    amount_usd: Usd


class BookedProviderInvoiceOut(ProviderInvoiceOut):
    """An invoice with the entry that was booked; of a dry run, the one that would be."""

    postings: list[LegOut]


class ProviderInvoiceImport(Body):
    """An invoice as a CSV file."""

    provider: ProviderRef = Field(description="Who bills.")
    number: Annotated[str, text_of(100)] = Field(description="The invoice's number.")
    period: PeriodText = Field(description="The month, quarter or year that it is of, such as 2026-11.")
    total_usd: Usd = Field(description="What the invoice says it comes to; its lines have to.")
    file: str = Field(
        description="The CSV file.",
        json_schema_extra={"contentEncoding": "base64", "contentMediaType": "text/csv", "format": "byte"},
    )


class ProviderPayment(Body):
    """How it was paid."""

    reference: Annotated[str, text_of(200)] = Field(description="The bank's reference.")


class ProviderInvoiceQuery(PageQuery):
    """Which invoices are listed."""

    provider: ProviderRef | None = Field(None, description="Those of one provider.")


@operations.get("", verb="list", summary="List providers' invoices", roles=ALL)
async def list_(admin: Read, query: Annotated[ProviderInvoiceQuery, Query()]) -> Page[ProviderInvoiceOut]:
    """The newest first."""
    after = query.after_id(ProviderInvoiceId)

    async def ask(connection: AsyncConnection) -> list[ProviderInvoiceOut]:
        provider = await provider_of(connection, query.provider) if query.provider else None
        before = None if after is None else ProviderInvoiceId(after)
        rows = await list_invoices(connection, provider.id if provider else None, before, query.limit + 1)
        return [ProviderInvoiceOut(**_facts(row)) for row in rows]

    return admin.page(query, await admin.read(ask), lambda row: wire(ProviderInvoiceId, row.id))


@operations.get("/{invoice_id}", verb="show", summary="Retrieve a provider's invoice", roles=ALL)
async def retrieve(admin: Read, invoice_id: ProviderInvoiceIdText) -> SingleProviderInvoiceOut:
    """With what our calls cost beside each model and day of it."""

    async def ask(connection: AsyncConnection) -> SingleProviderInvoiceOut:
        found = await find_invoice(connection, invoice_id)
        if found is None:
            raise NotFound(f"There is no invoice {wire(ProviderInvoiceId, invoice_id)}.", param="invoice")
        return _single(found, await compare_invoice(connection, found))

    return await admin.read(ask)


@operations.post(
    "", verb="import", summary="Import a provider's invoice", roles=MONEY, status=201, body_bytes_max=BODY_MAX
)
async def import_(admin: Write, body: ProviderInvoiceImport) -> SingleProviderInvoiceOut:
    """Read the file by the provider's map, and compare it. What is wrong in it is told by line and column."""
    content = _bytes(body.file)
    since, until = (at.astimezone(UTC).date() for at in (body.period.since, body.period.until))
    if datetime.combine(since, datetime.min.time(), UTC) > admin.exchange.now:
        raise InvalidRequest("Nothing has happened in that time yet.", param="period")

    async def command(work: UnitOfWork) -> SingleProviderInvoiceOut:
        provider = await provider_of(work.connection, body.provider)
        order = Import(provider.id, body.number, since, until, body.total_usd, content)
        return _single(*await commands.import_invoice(work, order))

    return await admin.change(command)


@operations.post("/{invoice_id}/settle", verb="settle", summary="Book a provider's invoice", roles=MONEY)
async def settle(admin: Write, invoice_id: ProviderInvoiceIdText, body: Reason) -> BookedProviderInvoiceOut:
    """Make it payable. What of it nothing explains needs a reason, and goes to `provider_variance`."""

    async def command(work: UnitOfWork) -> BookedProviderInvoiceOut:
        return _booked(*await commands.settle(work, invoice_id, body.reason))

    return await admin.change(command)


@operations.post("/{invoice_id}/pay", verb="pay", summary="Record the payment of a provider's invoice", roles=MONEY)
async def pay(admin: Write, invoice_id: ProviderInvoiceIdText, body: ProviderPayment) -> BookedProviderInvoiceOut:
    """Book that it was paid from the bank."""

    async def command(work: UnitOfWork) -> BookedProviderInvoiceOut:
        return _booked(*await commands.pay(work, invoice_id, body.reference))

    return await admin.change(command)


@operations.post("/{invoice_id}/void", verb="void", summary="Take back an import", roles=MONEY)
async def void(admin: Write, invoice_id: ProviderInvoiceIdText, body: Reason) -> ProviderInvoiceOut:
    """Of an invoice that is not settled: its number, its file and its days are free again."""

    async def command(work: UnitOfWork) -> ProviderInvoiceOut:
        return ProviderInvoiceOut(**_facts(await commands.void_invoice(work, invoice_id, body.reason)))

    return await admin.change(command)


def _bytes(file: str) -> bytes:
    try:
        content = base64.b64decode(file, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest("'file' is the file's bytes in base64.", param="file") from None
    if len(content) > FILE_MAX:
        raise InvalidRequest(f"The file has more than {FILE_MAX} bytes.", param="file")
    return content


def _facts(found: ProviderInvoice) -> dict[str, Any]:
    names = ("id", "number", "since", "until", "lines", "map_version", "state", "imported_at", "imported_by")
    return {
        **{name: getattr(found, name) for name in names},
        "provider": found.provider_id,
        "total_usd": found.total,
        "sha256": found.sha256.hex(),
        "settled_at": found.settled_at,
        "accrued_usd": found.accrued,
        "entry": found.entry_id,
        "paid_at": found.paid_at,
    }


def _booked(found: ProviderInvoice, legs: Sequence[Posting]) -> BookedProviderInvoiceOut:
    postings = [LegOut(ledger_account=leg.kind.value, detail=leg.detail, amount_usd=leg.amount) for leg in legs]
    return BookedProviderInvoiceOut(**_facts(found), postings=postings)


def _single(found: ProviderInvoice, compared: Sequence[Compared]) -> SingleProviderInvoiceOut:
    return SingleProviderInvoiceOut(**_facts(found), compared=[_compared(one) for one in compared])


def _compared(one: Compared) -> ComparedOut:
    return ComparedOut(
        day=one.day,
        model=one.model,
        billed_usd=one.billed,
        cost_usd=one.cost,
        undelivered_usd=one.undelivered,
        difference_usd=one.difference,
        billed_tokens=one.billed_tokens,
        tokens=one.tokens,
        verdict=one.verdict,
    )
