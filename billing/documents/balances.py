"""Reads how an account's balance moved in a month: its credit less its debt, by entry, as the ledger has it."""

from collections.abc import Sequence
from datetime import date

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.documents.document import Movement, Statement
from billing.documents.faults import DocumentRefused
from store.ids import AccountId

_BALANCE_LEGS = """
    FROM entries e JOIN postings p ON p.entry_id = e.id JOIN ledger_accounts l ON l.id = p.ledger_account_id
    WHERE e.account_id = :account AND l.account_id = :account AND l.kind IN ('customer_credit', 'customer_overdraft')
        AND coalesce(e.period, date_trunc('month', e.booked_at AT TIME ZONE 'UTC')::date)
"""
_OPENING = text(f"SELECT coalesce(sum(p.amount_nano), 0)::bigint {_BALANCE_LEGS} < :period")
# Usage is told by model from its lines; every other entry by itself.
_MOVEMENTS = text(f"""
    SELECT e.kind, e.source_ref, e.booked_at, sum(p.amount_nano)::bigint AS amount {_BALANCE_LEGS} = :period
    GROUP BY e.id, e.kind, e.source_ref, e.booked_at HAVING sum(p.amount_nano) <> 0 OR e.kind <> 'usage'
    ORDER BY e.booked_at, e.id
""")


async def read_statement(
    tx: AsyncConnection, account_id: AccountId, period: date, used: Sequence[tuple[str, int]]
) -> Statement:
    """The month's statement; ``used`` is its usage by line, which must be what usage entries come to.

    Raises :class:`DocumentRefused` where it is not.
    """
    span = {"account": account_id, "period": period}
    opening = int(await tx.scalar(_OPENING, span) or 0)
    rows = list(await tx.execute(_MOVEMENTS, span))
    booked, total = sum(row.amount for row in rows if row.kind == "usage"), -sum(nano for _, nano in used)
    if booked != total:
        raise DocumentRefused("usage-is-ledger", "statement", f"usage comes to {total}, its entries to {booked}")
    other = [
        Movement(row.kind, row.source_ref, row.amount, row.booked_at.date())
        for row in rows
        if row.kind != "usage" and row.amount
    ]
    moved = (*other, *(Movement("usage", what, -nano) for what, nano in used))
    return Statement(opening, moved, opening + sum(one.amount_nano for one in moved))
