"""Tells what of a key's cap is spent in its present period, and when that period ends. Admission enforces the cap.

Spent is what was charged, as Postgres has it. Calls in flight count once they are charged, which is before their answer
(after it only with ``durability = "memory"``).
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.admission import period_label
from billing.money import NanoUSD
from billing.values import Cap, CapPeriod
from store.ids import KeyId

_SPENT = text("""
    SELECT w.key_id, coalesce(s.spent_nano, 0) AS spent_nano
    FROM unnest(CAST(:ids AS uuid[]), CAST(:periods AS text[])) AS w (key_id, period)
    LEFT JOIN key_spend s ON s.key_id = w.key_id AND s.period = w.period
""")


class CapUse(msgspec.Struct, frozen=True):
    """What is spent of a cap in the period, what is left, and when the next period begins; None for a total cap."""

    spent: NanoUSD
    left: NanoUSD
    resets_at: datetime | None


def period_end(period: CapPeriod, at: datetime) -> datetime | None:
    """The instant at which the period ends that ``at`` (UTC) lies in, and the next begins; None for total."""
    day = at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    match period:
        case CapPeriod.TOTAL:
            return None
        case CapPeriod.DAY:
            return day + timedelta(days=1)
        case CapPeriod.MONTH:
            return (day.replace(day=1) + timedelta(days=32)).replace(day=1)


async def read_cap_use(connection: AsyncConnection, caps: Mapping[KeyId, Cap], at: datetime) -> dict[KeyId, CapUse]:
    """Read what is spent of each key's cap in the period of ``at`` (UTC), in one statement."""
    if not caps:
        return {}
    wanted = {"ids": list(caps), "periods": [period_label(cap, at) for cap in caps.values()]}
    found: dict[KeyId, CapUse] = {}
    for row in await connection.execute(_SPENT, wanted):
        key_id = KeyId(row.key_id)
        cap, spent = caps[key_id], NanoUSD(row.spent_nano)
        # A cap may be lowered below what is spent.
        left = NanoUSD(max(0, cap.amount - spent))
        found[key_id] = CapUse(spent, left, period_end(cap.period, at))
    return found
