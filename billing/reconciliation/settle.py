"""Books a provider's invoice: what its days were booked to cost becomes payable to it, with what it bills beyond that.

========================  =======  =======
settled, 10.00 for 9.60     debit   credit
========================  =======  =======
provider_payable             9.60
provider_variance            0.40
provider_payable (prov_…)           10.00
========================  =======  =======

A difference below a cent goes to ``rounding``. It belongs to the month of the invoice's last day while that is open,
else to the present one. Paid, the provider's payable goes against ``bank``.
"""

from datetime import date, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.chart import LedgerKind
from billing.ledger import Posting, post
from billing.money import NanoUSD
from billing.periods import is_open
from billing.reconciliation import differences
from billing.reconciliation.invoices import ProviderInvoice, mark_paid, mark_settled
from billing.reconciliation.provider_run import accrued_cost, scope_of
from store.ids import EntryId, ProviderId, ProviderInvoiceId, wire

CENT = 10_000_000


def legs_of(total: NanoUSD, accrued: NanoUSD, provider: str) -> list[Posting]:
    """The legs of a settled invoice."""
    off = total - accrued
    kind = LedgerKind.ROUNDING if abs(off) < CENT else LedgerKind.PROVIDER_VARIANCE
    legs = [
        Posting(LedgerKind.PROVIDER_PAYABLE, NanoUSD(-accrued)),
        Posting(LedgerKind.PROVIDER_PAYABLE, total, detail=provider),
        Posting(kind, NanoUSD(-off)),
    ]
    return [leg for leg in legs if leg.amount]


async def settle_invoice(tx: AsyncConnection, invoice: ProviderInvoice, actor: str, reason: str) -> list[Posting]:
    """Book an invoice, and close its open differences by the entry and the reason. The caller has locked its row.

    Returns the legs of the entry; none where nothing is billed for calls that cost nothing.
    """
    accrued = await accrued_cost(tx, invoice.provider_id, invoice.since, invoice.until)
    legs = legs_of(invoice.total, accrued, wire(ProviderId, invoice.provider_id))
    entry_id: EntryId | None = None
    if legs:
        period = (invoice.until - timedelta(days=1)).replace(day=1)
        source = f"provider_invoice:{wire(ProviderInvoiceId, invoice.id)}"
        entry_id = await post(
            tx, "provider_invoice", source, legs, note=invoice.number, period=await _open_period(tx, period)
        )
    await mark_settled(tx, invoice.id, accrued, entry_id)
    await differences.resolve_scope(tx, scope_of(invoice.id), actor, reason, entry_id)
    return legs


async def pay_invoice(tx: AsyncConnection, invoice: ProviderInvoice, reference: str) -> list[Posting]:
    """Book that an invoice was paid from the bank, and return the legs. The caller has locked its row."""
    provider = wire(ProviderId, invoice.provider_id)
    payable = Posting(LedgerKind.PROVIDER_PAYABLE, NanoUSD(-invoice.total), detail=provider)
    legs = [payable, Posting(LedgerKind.BANK, invoice.total)] if invoice.total else []
    if legs:
        source = f"provider_payment:{wire(ProviderInvoiceId, invoice.id)}"
        await post(tx, "payment", source, legs, note=reference)
    await mark_paid(tx, invoice.id)
    return legs


async def _open_period(tx: AsyncConnection, period: date) -> date | None:
    return period if await is_open(tx, period) else None
