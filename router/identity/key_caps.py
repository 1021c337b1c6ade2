"""Keeps the caps of keys: the first, in the order of total, month and day, in the key's row, others in ``key_caps``.

The release before this one knows a key's one cap, in the key's row. It goes on to enforce and to change that one.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.cap_rules import ordered
from billing.money import NanoUSD
from billing.values import Cap, CapPeriod
from store.ids import KeyId

_READ = text("SELECT key_id, period, amount_nano FROM key_caps WHERE key_id = ANY(CAST(:ids AS uuid[]))")
_DELETE = text("DELETE FROM key_caps WHERE key_id = :key AND period <> ALL(CAST(:periods AS text[]))")
_WRITE = text(
    "INSERT INTO key_caps (key_id, period, amount_nano) VALUES (:key, :period, :amount)"
    " ON CONFLICT (key_id, period) DO UPDATE SET amount_nano = EXCLUDED.amount_nano"
)


async def read_further_caps(connection: AsyncConnection, key_ids: Collection[UUID]) -> dict[KeyId, list[Cap]]:
    """Read the caps of keys that are not in the keys' rows."""
    found: dict[KeyId, list[Cap]] = defaultdict(list)
    for row in await connection.execute(_READ, {"ids": list(key_ids)}):
        found[KeyId(row.key_id)].append(Cap(NanoUSD(row.amount_nano), CapPeriod(row.period)))
    return found


def caps_of_row(row: Row[Any], further: Mapping[KeyId, Iterable[Cap]]) -> tuple[Cap, ...]:
    """All caps of a key's row; of one period that of the row holds, which the release before may have changed."""
    caps = {cap.period: cap for cap in further.get(KeyId(row.id), ())}
    if row.cap_nano is not None:
        first = Cap(NanoUSD(row.cap_nano), CapPeriod(row.cap_period))
        caps[first.period] = first
    return ordered(caps.values())


async def write_further_caps(connection: AsyncConnection, key_id: KeyId, caps: Iterable[Cap]) -> None:
    """Keep all of a key's caps but the first, which the caller writes with the key's row: that tells of the change."""
    further = ordered(caps)[1:]
    await connection.execute(_DELETE, {"key": key_id, "periods": [cap.period.value for cap in further]})
    for cap in further:
        await connection.execute(_WRITE, {"key": key_id, "period": cap.period.value, "amount": cap.amount})
