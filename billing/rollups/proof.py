"""Compares an account's usage with the ledger, month by month: the proof that what pages show is what was booked."""

from datetime import date, datetime

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.money import NanoUSD
from billing.rollups.read import sum_rolled
from billing.usage import UsageFilter
from store.ids import AccountId

# A call that was charged after its month was closed is booked in a later one, and counts with its own.
_BOOKED = text("""
    SELECT to_char(coalesce(late.call_period, e.period), 'YYYY-MM') AS month, -sum(p.amount_nano)::bigint AS booked
    FROM entries e JOIN postings p ON p.entry_id = e.id
    JOIN ledger_accounts l ON l.id = p.ledger_account_id AND l.account_id = e.account_id
        AND l.kind IN ('customer_credit', 'customer_overdraft')
    LEFT JOIN late_entries late ON late.entry_id = e.id
    WHERE e.account_id = :account AND e.kind = 'usage' AND e.booked_at >= :since
        AND coalesce(late.call_period, e.period) >= CAST(:first AS date)
        AND coalesce(late.call_period, e.period) < CAST(:end AS date)
    GROUP BY 1
""")


class MonthProof(msgspec.Struct, frozen=True):
    """What calls of a month of UTC cost by usage, and by the ledger: they are one, to the nano-dollar."""

    month: str
    calls: int
    used: NanoUSD
    booked: NanoUSD

    @property
    def difference(self) -> NanoUSD:
        """By how much usage exceeds the ledger."""
        return NanoUSD(self.used - self.booked)


async def prove_months(
    tx: AsyncConnection, account_id: AccountId, since: datetime, until: datetime
) -> list[MonthProof]:
    """Compare each month of ``[since, until)``, which begins and ends with one. In one snapshot (``tx``)."""
    sums = await sum_rolled(tx, UsageFilter(since, until, account_id=account_id), ["month"])
    bounds: dict[str, date | datetime | AccountId] = {"first": since.date(), "end": until.date(), "since": since}
    booked = {row.month: row.booked for row in await tx.execute(_BOOKED, bounds | {"account": account_id})}
    used = {row.month: row for row in sums if row.month is not None}
    return [
        MonthProof(
            month,
            used[month].calls if month in used else 0,
            NanoUSD(used[month].charged + used[month].overdraft if month in used else 0),
            NanoUSD(booked.get(month, 0)),
        )
        for month in sorted({*used, *booked})
    ]
