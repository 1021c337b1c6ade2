"""Compares usage with the ledger, month by month, as entries are sealed: the frequent check then reads a row a month.

An entry's usage events are found without an index of their own: calls are admitted minutes before their commit at most,
and request ids sort by time, so that is one range of the primary key. Calls that waited longer for Postgres are not in
it; their entries do not match, and for those the whole month of their accounts is read. So the sums are exact, and only
their cost is a guess.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from store.ids import new_id

# From a call's admission to its commit: a deadline of a minute, and clocks that differ.
ADMITTED_BEFORE = timedelta(minutes=10)

_BOOKED = text("""
    SELECT e.id, e.account_id, coalesce(late.call_period, e.period) AS period,
        coalesce(sum(p.amount_nano) FILTER (WHERE l.kind IN ('revenue', 'promotional_contra', 'goodwill_expense')), 0)
            AS booked,
        coalesce(-sum(p.amount_nano) FILTER (WHERE l.kind = 'provider_cost'), 0) AS booked_cost
    FROM entries e JOIN postings p ON p.entry_id = e.id JOIN ledger_accounts l ON l.id = p.ledger_account_id
    LEFT JOIN late_entries late ON late.entry_id = e.id
    WHERE e.id = ANY(CAST(:entries AS uuid[])) AND e.kind = 'usage' AND e.period IS NOT NULL GROUP BY 1, 2, 3
""")
_USED = text("""
    SELECT entry_id, sum(cost_nano) AS used, sum(provider_cost_nano) AS used_cost FROM usage_events
    WHERE request_id BETWEEN :first AND :last AND entry_id = ANY(CAST(:entries AS uuid[])) GROUP BY 1
""")
_USED_OF_MONTHS = text("""
    SELECT u.entry_id, sum(u.cost_nano) AS used, sum(u.provider_cost_nano) AS used_cost
    FROM unnest(CAST(:entries AS uuid[]), CAST(:accounts AS uuid[]), CAST(:periods AS date[]))
        AS w (id, account, period)
    JOIN usage_events u ON u.account_id = w.account AND u.entry_id = w.id
        AND u.occurred_at >= w.period::timestamp AT TIME ZONE 'UTC'
        AND u.occurred_at < (w.period + interval '1 month') AT TIME ZONE 'UTC'
    GROUP BY 1
""")
_ADD = text("""
    INSERT INTO sealed_usage AS s (period, entries, used_nano, booked_nano, used_cost_nano, booked_cost_nano)
    VALUES (:period, :entries, :used, :booked, :used_cost, :booked_cost)
    ON CONFLICT (period) DO UPDATE SET entries = s.entries + EXCLUDED.entries,
        used_nano = s.used_nano + EXCLUDED.used_nano, booked_nano = s.booked_nano + EXCLUDED.booked_nano,
        used_cost_nano = s.used_cost_nano + EXCLUDED.used_cost_nano,
        booked_cost_nano = s.booked_cost_nano + EXCLUDED.booked_cost_nano
""")
_DIFFERENCES = text("""
    SELECT to_char(period, 'YYYY-MM') AS month, used_nano - booked_nano AS usage,
        used_cost_nano - booked_cost_nano AS cost
    FROM sealed_usage WHERE used_nano <> booked_nano OR used_cost_nano <> booked_cost_nano ORDER BY 1
""")


class Difference(msgspec.Struct, frozen=True):
    """By how many nano-USD the usage events of a month's sealed entries exceed what was booked for them."""

    month: str
    usage: int
    cost: int


async def add_sealed(tx: AsyncConnection, entries: Sequence[UUID], first: datetime, last: datetime) -> None:
    """Add the usage entries among these, which were booked between ``first`` and ``last``, to their months."""
    booked = {row.id: row for row in await tx.execute(_BOOKED, {"entries": list(entries)})}
    if not booked:
        return
    bounds = {"first": new_id(first - ADMITTED_BEFORE), "last": new_id(last + ADMITTED_BEFORE)}
    used = {row.entry_id: row for row in await tx.execute(_USED, bounds | {"entries": list(booked)})}
    unmatched = [row for row in booked.values() if not _matches(row, used.get(row.id))]
    if unmatched:
        wide = {
            "entries": [row.id for row in unmatched],
            "accounts": [row.account_id for row in unmatched],
            "periods": [row.period for row in unmatched],
        }
        used |= {row.entry_id: row for row in await tx.execute(_USED_OF_MONTHS, wide)}
    for period in sorted({row.period for row in booked.values()}):
        rows = [row for row in booked.values() if row.period == period]
        events = [used[row.id] for row in rows if row.id in used]
        sums = {
            "period": period,
            "entries": len(rows),
            "used": sum(event.used for event in events),
            "booked": sum(row.booked for row in rows),
            "used_cost": sum(event.used_cost for event in events),
            "booked_cost": sum(row.booked_cost for row in rows),
        }
        await tx.execute(_ADD, sums)


async def differences(tx: AsyncConnection) -> list[Difference]:
    """The months of which usage and ledger are not one sum, or the cost of providers is not explained by calls."""
    return [Difference(row.month, int(row.usage), int(row.cost)) for row in await tx.execute(_DIFFERENCES)]


def _matches(booked: object, used: object) -> bool:
    if used is None:
        return False
    return (booked.booked, booked.booked_cost) == (used.used, used.used_cost)  # type: ignore[attr-defined]
