"""The checklist of a month's close, as data: what must hold, where to read more, and how it is found.

An item's finder gives a sentence about what is wrong, or nothing. What only ``jobs`` can find out (Stripe's balance) is
read from the check of that name in ``book_checks``; where there is none, it is green if the month has nothing of it,
and else for a person to sign off.
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing import sealed_usage
from billing.books import Check, gaps_in_numbers, read_results
from billing.contracts.minimums import list_uncharged
from billing.money import NanoUSD, to_usd
from billing.periods import next_month, read_checks

# Whatever belongs to the month was booked since a transaction of the day before it.
_SINCE = """
    e.xact >= coalesce((
        SELECT last_xact FROM sealed_batches
        WHERE sealed_at < CAST(:period AS date)::timestamp AT TIME ZONE 'UTC' - interval '1 day'
        ORDER BY number DESC LIMIT 1), '0')
"""
_UNSEALED = text("""
    WITH head AS (SELECT last_xact, last_entry FROM sealed_batches ORDER BY number DESC LIMIT 1)
    SELECT count(*) FROM entries e
    WHERE e.period <= :period AND e.xact >= coalesce((SELECT last_xact FROM head), '0')
        AND NOT EXISTS (SELECT FROM head WHERE (e.xact, e.id) <= (last_xact, last_entry))
""")
_NOT_ACCRUED = text("""
    SELECT coalesce(sum(u.amount_nano), 0)::bigint
    FROM entries e JOIN grant_uses u ON u.entry_id = e.id JOIN grants g ON g.id = u.grant_id AND g.kind = 'line'
    WHERE e.period <= :period AND e.kind IN ('usage', 'grant', 'debt', 'minimum') AND e.xact >= coalesce((
            SELECT b.last_xact FROM line_accrual a JOIN sealed_batches b ON b.number = a.batch), '0')
        AND NOT EXISTS (SELECT FROM line_accrual a JOIN sealed_batches b ON b.number = a.batch
            WHERE (e.xact, e.id) <= (b.last_xact, b.last_entry))
""")
# All that is unbilled, less what was drawn in later months.
_DRAWN = text(f"""
    SELECT -coalesce(sum(amount), 0)::bigint FROM (
        SELECT sum(s.amount_nano) AS amount FROM sealed_balances s
        JOIN ledger_accounts l ON l.id = s.ledger_account_id AND l.kind = 'customer_unbilled'
        UNION ALL SELECT -sum(p.amount_nano) FROM entries e JOIN postings p ON p.entry_id = e.id
        JOIN ledger_accounts l ON l.id = p.ledger_account_id AND l.kind = 'customer_unbilled'
        WHERE {_SINCE} AND e.kind = 'unbilled' AND e.period > :period
            AND (e.xact, e.id) <= (SELECT last_xact, last_entry FROM sealed_batches ORDER BY number DESC LIMIT 1)
        -- What waits for a later invoice, since it is too little to be collected.
        UNION ALL SELECT r.carried_nano FROM document_requests r WHERE r.state = 'carried'
            AND CAST(r.facts ->> 'period' AS date) <= :period AND NOT EXISTS (
                SELECT FROM carried_months m WHERE m.account_id = r.account_id
                    AND m.period = CAST(r.facts ->> 'period' AS date)
                    AND NOT EXISTS (SELECT FROM documents c WHERE c.corrects = m.document_id AND NOT c.partial))
    ) sums
""")  # noqa: S608
_POSTED = text(f"""
    SELECT coalesce(sum(abs(p.amount_nano)), 0)::bigint FROM entries e JOIN postings p ON p.entry_id = e.id
    JOIN ledger_accounts l ON l.id = p.ledger_account_id AND l.kind = :kind WHERE {_SINCE} AND e.period = :period
""")  # noqa: S608
# What was accrued up to the month and is on no settled invoice: the house's payable now, less what calls of later
# months cost, and without the invoices that are booked in those. Reads a row for each month and invoice.
_NOT_INVOICED = text("""
    SELECT (SELECT coalesce(sum(s.amount_nano), 0) FROM sealed_balances s
            JOIN ledger_accounts l ON l.id = s.ledger_account_id AND l.kind = 'provider_payable' AND l.detail = '')
        - (SELECT coalesce(sum(booked_cost_nano), 0) FROM sealed_usage WHERE period > :period)
        + (SELECT coalesce(sum(i.accrued_nano), 0) FROM provider_invoices i JOIN entries e ON e.id = i.entry_id
            WHERE i.state = 'settled' AND e.period > :period)
""")
_UNSETTLED = text("""
    SELECT i.number FROM provider_invoices i
    WHERE i.state = 'imported' AND i.since < CAST(:period AS date) + interval '1 month'
    ORDER BY i.since, i.number LIMIT 12
""")
# Documents of the month that are wanted and not issued: its own, and those of what was paid in it.
_NOT_ISSUED = text("""
    SELECT count(*) AS documents, min(r.fault) FILTER (WHERE r.state = 'refused') AS fault
    FROM document_requests r WHERE r.state NOT IN ('issued', 'carried') AND (
        CAST(r.facts ->> 'period' AS date) = :period
        OR CAST(r.facts ->> 'paid_on' AS date) >= :period
            AND CAST(r.facts ->> 'paid_on' AS date) < (CAST(:period AS date) + interval '1 month')
        OR r.kind = 'credit_note' AND r.created_at >= CAST(:period AS date)::timestamp AT TIME ZONE 'UTC'
            AND r.created_at < (CAST(:period AS date) + interval '1 month') AT TIME ZONE 'UTC')
""")
_WITHOUT_DOCUMENT = text("""
    SELECT count(*) FROM topups t WHERE t.paid_at >= CAST(:period AS date)::timestamp AT TIME ZONE 'UTC'
        AND t.paid_at < (CAST(:period AS date) + interval '1 month') AT TIME ZONE 'UTC'
        AND EXISTS (SELECT FROM sellers) AND NOT EXISTS (SELECT FROM document_requests r
            WHERE r.source_ref = 'topup:topup_' || replace(t.id::text, '-', ''))
""")
_OPEN_DIFFERENCES = text("SELECT count(*) FROM differences WHERE gone_at IS NULL AND resolved_at IS NULL")
_NOT_RECONCILED = text("""
    SELECT EXISTS (SELECT FROM stripe_transactions
            WHERE created_at >= CAST(:period AS date)::timestamp AT TIME ZONE 'UTC'
                AND created_at < (CAST(:period AS date) + interval '1 month') AT TIME ZONE 'UTC')
        AND NOT EXISTS (SELECT FROM reconciliations WHERE kind = 'stripe' AND state = 'done'
            AND requested_at >= (CAST(:period AS date) + interval '1 month') AT TIME ZONE 'UTC')
""")
_EXTERNAL = text("SELECT wrong, message, checked_at FROM book_checks WHERE name = :name")
_FRESH = timedelta(hours=30)
# Checks of the books that are items of their own; Stripe's never runs where there is no Stripe.
_OWN_ITEMS = frozenset(
    {
        Check.HOLDS_NOT_OVERDUE,
        Check.STRIPE_IS_CLEARING,
        Check.DIFFERENCES_RESOLVED,
        Check.PROVIDER_COST_EXPLAINED,
        Check.NUMBERS_WITHOUT_GAP,
    }
)


class Month(msgspec.Struct, frozen=True):
    """The month that is closed, the present instant, and for how long a call may hold credit."""

    period: date
    now: datetime
    longest_s: float

    @property
    def ends_at(self) -> datetime:
        """The first instant that is not of the month."""
        following = next_month(self.period)
        return datetime(following.year, following.month, 1, tzinfo=UTC)


Find = Callable[[AsyncConnection, Month], Awaitable[str]]


class Item(msgspec.Struct, frozen=True):
    """One line of the checklist. ``link`` says where it is explained; some cannot be signed off, only waited for."""

    name: str
    sentence: str
    link: str
    find: Find
    can_be_signed_off: bool = True


async def _holds_ended(_: AsyncConnection, month: Month) -> str:
    over_at = month.ends_at + timedelta(seconds=month.longest_s)
    return "" if month.now >= over_at else f"calls of the month may be in flight until {over_at:%Y-%m-%d %H:%M:%S} UTC"


async def _no_overdue_holds(tx: AsyncConnection, month: Month) -> str:
    return await _book_check(tx, month, Check.HOLDS_NOT_OVERDUE)


async def _chain_sealed(tx: AsyncConnection, month: Month) -> str:
    unsealed = int(await tx.scalar(_UNSEALED, {"period": month.period}) or 0)
    return f"{unsealed} entries of the month are not sealed yet" if unsealed else ""


async def _usage_is_ledger(tx: AsyncConnection, month: Month) -> str:
    for found in await sealed_usage.differences(tx):
        if found.month == f"{month.period:%Y-%m}":
            usage, cost = to_usd(NanoUSD(found.usage)), to_usd(NanoUSD(found.cost))
            return f"usage is off by {usage} USD, the cost of providers by {cost}"
    return ""


async def _books_green(tx: AsyncConnection, month: Month) -> str:
    wrong = [
        result.check.value
        for result in await read_results(tx)
        if result.check not in _OWN_ITEMS and (result.wrong != 0 or not result.is_fresh(month.now))
    ]
    return f"wrong, or not checked lately: {', '.join(wrong)}" if wrong else ""


async def _minimums_charged(tx: AsyncConnection, month: Month) -> str:
    waiting = len(await list_uncharged(tx, month.period))
    return f"{waiting} contracts' minimums are not charged yet; is `gigarouter jobs` running?" if waiting else ""


async def _draws_accrued(tx: AsyncConnection, month: Month) -> str:
    drawn = NanoUSD(int(await tx.scalar(_NOT_ACCRUED, {"period": month.period}) or 0))
    return f"{to_usd(drawn)} USD that were drawn from lines are not unbilled yet" if drawn else ""


async def _draws_billed(tx: AsyncConnection, month: Month) -> str:
    unbilled = NanoUSD(max(0, int(await tx.scalar(_DRAWN, {"period": month.period}) or 0)))
    return f"{to_usd(unbilled)} USD were drawn from lines and are on no invoice" if unbilled else ""


async def _papers_add_up(tx: AsyncConnection, month: Month) -> str:
    """What the last try to close found: the papers are computed when the month is frozen."""
    message, _ = (await read_checks(tx, month.period)).get("papers_add_up", ("", None))
    return message


async def _book_check(tx: AsyncConnection, month: Month, name: str) -> str:
    row = (await tx.execute(_EXTERNAL, {"name": name})).one_or_none()
    if row is None or month.now - row.checked_at > _FRESH:
        return "it was not checked lately; is `gigarouter jobs` running?"
    return f"{row.wrong}: {row.message}" if row.wrong else ""


async def _provider_invoices_in(tx: AsyncConnection, month: Month) -> str:
    waiting = list((await tx.execute(_UNSETTLED, {"period": month.period})).scalars())
    if waiting:
        return f"not settled: {', '.join(waiting)}"
    accrued = NanoUSD(int(await tx.scalar(_NOT_INVOICED, {"period": month.period}) or 0))
    return f"{to_usd(accrued)} USD of the cost of providers are on no invoice" if accrued else ""


async def _documents_issued(tx: AsyncConnection, month: Month) -> str:
    wanted = (await tx.execute(_NOT_ISSUED, {"period": month.period})).one()
    if wanted.documents:
        because = f", such as: {wanted.fault}" if wanted.fault else ""
        return f"{wanted.documents} documents are wanted and not issued{because}"
    without = int(await tx.scalar(_WITHOUT_DOCUMENT, {"period": month.period}) or 0)
    return f"{without} top-ups have no document" if without else ""


async def _numbers_without_gap(tx: AsyncConnection, _: Month) -> str:
    gaps = await gaps_in_numbers(tx)
    return f"series with a gap: {', '.join(gaps[:12])}" if gaps else ""


async def _differences_resolved(tx: AsyncConnection, month: Month) -> str:
    count = int(await tx.scalar(_OPEN_DIFFERENCES) or 0)
    if count:
        return f"{count} differences are open: `gigarouter admin differences list`"
    if await tx.scalar(_NOT_RECONCILED, {"period": month.period}):
        return "nothing was compared with Stripe since the month's end: `gigarouter admin reconciliations run stripe`"
    return ""


def _built_elsewhere(check: str, ledger_account: str) -> Find:
    """Reads the books' check of that name; before there is one, whether the month posted to that ledger account."""

    async def find(tx: AsyncConnection, month: Month) -> str:
        if (await tx.execute(_EXTERNAL, {"name": check})).one_or_none() is not None:
            return await _book_check(tx, month, check)
        posted = NanoUSD(int(await tx.scalar(_POSTED, {"kind": ledger_account, "period": month.period}) or 0))
        return f"nothing checks the {to_usd(posted)} USD of {ledger_account} yet" if posted else ""

    return find


BOOKS = "docs/ledger.md#checks-and-what-to-do"
CLOSING = "docs/finance.md#closing-a-month"
RECONCILING = "docs/finance.md#reconciling"
INVOICES = "docs/finance.md#invoices-of-providers"
DOCUMENTS = "docs/invoices.md"
CONTRACTS = "docs/finance.md#contracts"
CHECKLIST = (
    Item("holds_ended", "No call of the month can be in flight", CLOSING, _holds_ended, can_be_signed_off=False),
    Item("no_overdue_holds", "No hold is overdue", BOOKS, _no_overdue_holds),
    Item("usage_is_ledger", "Usage and ledger are one sum", BOOKS, _usage_is_ledger),
    Item("books_green", "Every check of the books is green", BOOKS, _books_green),
    Item("minimums_charged", "What contracts' minimums add to usage is charged", CONTRACTS, _minimums_charged),
    Item("draws_accrued", "What was drawn from lines is unbilled", CLOSING, _draws_accrued),
    Item("draws_billed", "What was drawn from lines is on invoices", CLOSING, _draws_billed),
    Item(
        "stripe_is_clearing", "Stripe is clearing", CLOSING, _built_elsewhere("stripe_is_clearing", "stripe_clearing")
    ),
    Item(
        "differences_resolved",
        "What differs from Stripe and providers is explained",
        RECONCILING,
        _differences_resolved,
    ),
    Item("provider_invoices_in", "The invoices of providers are in, and settled", INVOICES, _provider_invoices_in),
    Item("documents_issued", "Documents of the month are issued", DOCUMENTS, _documents_issued),
    Item("numbers_without_gap", "Numbers of documents have no gap", DOCUMENTS, _numbers_without_gap),
    Item("papers_add_up", "Each of the closing papers adds up to the ledger", CLOSING, _papers_add_up),
    Item("chain_sealed", "The chain is sealed", "docs/ledger.md#the-chain", _chain_sealed, can_be_signed_off=False),
)
ITEMS = {item.name: item for item in CHECKLIST}


async def find_all(tx: AsyncConnection, month: Month) -> dict[str, str]:
    """What each item finds: a sentence about what is wrong, or nothing."""
    return {item.name: await item.find(tx, month) for item in CHECKLIST}
