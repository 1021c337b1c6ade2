"""Compares providers' invoices with our own cost and keeps what differs in the queue, until they are settled."""

from datetime import UTC, date, datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.money import NanoUSD
from billing.reconciliation import differences, undelivered
from billing.reconciliation.compare import Billed, Compared, Used, compare, group_models
from billing.reconciliation.compare import differences as found_of
from billing.reconciliation.invoices import ProviderInvoice, list_waiting, require_invoice
from billing.reconciliation.values import Found
from store.ids import ProviderId, ProviderInvoiceId, wire
from store.postgres import Database

# Calls come late by hours at most; an earlier invoice of these days has all that it ever will.
LATE = timedelta(days=100)

_BILLED = text("""
    SELECT model, day, sum(amount_nano) AS amount, sum(tokens) AS tokens FROM provider_invoice_lines
    WHERE invoice_id = :invoice GROUP BY 1, 2
""")
_USED = text("""
    SELECT model_id AS model, (occurred_at AT TIME ZONE 'UTC')::date AS day, sum(provider_cost_nano) AS cost,
        sum(coalesce(provider_tokens, tokens)) AS tokens
    FROM usage_events WHERE provider_id = :provider AND occurred_at >= :begins AND occurred_at < :ends GROUP BY 1, 2
""")
_NAMES = text("SELECT DISTINCT model_id, upstream_model FROM endpoints WHERE provider_id = :provider")
_UNDELIVERED = text("""
    SELECT model_id AS model, day, sum(cost_nano) AS cost FROM undelivered_attempts
    WHERE provider_id = :provider AND day >= :since AND day < :until GROUP BY 1, 2
""")
_ACCRUED = text("""
    SELECT coalesce(sum(provider_cost_nano), 0)::bigint FROM usage_events
    WHERE provider_id = :provider AND occurred_at >= :begins AND occurred_at < :ends AND entry_id IS NOT NULL
""")
_SETTLED = text("""
    SELECT since, until, accrued_nano AS accrued FROM provider_invoices
    WHERE provider_id = :provider AND state = 'settled' AND until > :since AND since < :until ORDER BY since
""")
_PROVIDER = text("SELECT name FROM providers WHERE id = :id")


def scope_of(invoice_id: ProviderInvoiceId) -> str:
    """The scope of an invoice's differences."""
    return f"invoice:{wire(ProviderInvoiceId, invoice_id)}"


async def reconcile(db: Database) -> tuple[int, int]:
    """Compare all invoices that are not settled; how many models and days those are, and how many differ."""
    await undelivered.count_last_days(db)
    async with db.transaction() as tx:
        waiting = await list_waiting(tx)
    examined = found = 0
    for invoice in waiting:
        async with db.transaction(snapshot=True) as tx:
            compared, differing = await _compare(tx, invoice)
        async with db.transaction() as tx:
            if (await require_invoice(tx, invoice.id)).state is invoice.state:
                await differences.record_found(tx, scope_of(invoice.id), differing)
        examined, found = examined + len(compared), found + len(differing)
    return examined, found


async def examine(tx: AsyncConnection, invoice: ProviderInvoice) -> list[Compared]:
    """Compare an invoice, and keep what differs in the queue."""
    compared, differing = await _compare(tx, invoice)
    await differences.record_found(tx, scope_of(invoice.id), differing)
    return compared


async def compare_invoice(tx: AsyncConnection, invoice: ProviderInvoice) -> list[Compared]:
    """Each model and day of an invoice, and what of it our calls and other attempts explain."""
    pairs = await tx.execute(_NAMES, {"provider": invoice.provider_id})
    names = group_models([(row.model_id, row.upstream_model) for row in pairs])
    billed = [
        Billed(
            names.theirs.get(row.model, row.model),
            row.day,
            NanoUSD(int(row.amount)),
            None if row.tokens is None else int(row.tokens),
            is_known=row.model in names.theirs,
        )
        for row in await tx.execute(_BILLED, {"invoice": invoice.id})
    ]
    facts = {"provider": invoice.provider_id, **span_of(invoice.since, invoice.until)}
    used = [
        Used(names.ours.get(row.model, row.model), row.day, NanoUSD(int(row.cost)), int(row.tokens))
        for row in await tx.execute(_USED, facts)
    ]
    days = {"provider": invoice.provider_id, "since": invoice.since, "until": invoice.until}
    used += [
        Used(names.ours.get(row.model, row.model), row.day, NanoUSD(0), 0, NanoUSD(int(row.cost)))
        for row in await tx.execute(_UNDELIVERED, days)
    ]
    return [one for one in compare(billed, used, invoice.tolerance) if one.billed or one.cost or one.tokens]


async def accrued_cost(tx: AsyncConnection, provider_id: ProviderId, since: date, until: date) -> NanoUSD:
    """What the calls of some days were booked to cost, and what came late for the days of earlier invoices."""
    cost = await _booked_cost(tx, provider_id, since, until)
    earlier = {"provider": provider_id, "since": since - LATE, "until": until}
    for row in (await tx.execute(_SETTLED, earlier)).all():
        cost = NanoUSD(cost + await _booked_cost(tx, provider_id, row.since, row.until) - row.accrued)
    return cost


async def _booked_cost(tx: AsyncConnection, provider_id: ProviderId, since: date, until: date) -> NanoUSD:
    return NanoUSD(int(await tx.scalar(_ACCRUED, {"provider": provider_id, **span_of(since, until)}) or 0))


def span_of(since: date, until: date) -> dict[str, datetime]:
    """The instants at which days of UTC begin and end."""
    begins, ends = (datetime.combine(day, datetime.min.time(), UTC) for day in (since, until))
    return {"begins": begins, "ends": ends}


async def _compare(tx: AsyncConnection, invoice: ProviderInvoice) -> tuple[list[Compared], list[Found]]:
    compared = await compare_invoice(tx, invoice)
    provider = str(await tx.scalar(_PROVIDER, {"id": invoice.provider_id}))
    return compared, found_of(compared, f"{provider}:{invoice.number}")
