"""Reads what is spent of the caps of keys and accounts in their present periods.

Admission enforces the caps. Spent is what was charged, as Postgres has it: per key a row for all time, a month and a
day of UTC (``key_spend``), which only grow, and an account's is the sum over its keys. So a cap that is new or changed
counts what was spent before it, and nothing is ever reset. Calls in flight count once they are charged, which is before
their answer (after it only with ``durability = "memory"``).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.cap_rules import CapUse, period_label, use_of
from billing.money import NanoUSD
from billing.values import Cap
from store.ids import AccountId, KeyId

Owner = TypeVar("Owner", bound=UUID)
_SPENT_BY_KEYS = text("""
    SELECT w.key_id AS owner, w.period, coalesce(s.spent_nano, 0) AS spent_nano
    FROM unnest(CAST(:ids AS uuid[]), CAST(:periods AS text[])) AS w (key_id, period)
    LEFT JOIN key_spend s ON s.key_id = w.key_id AND s.period = w.period
""")
_SPENT_BY_ACCOUNTS = text("""
    SELECT w.account_id AS owner, w.period, coalesce(sum(s.spent_nano), 0)::bigint AS spent_nano
    FROM unnest(CAST(:ids AS uuid[]), CAST(:periods AS text[])) AS w (account_id, period)
    LEFT JOIN key_spend s ON s.account_id = w.account_id AND s.period = w.period
    GROUP BY w.account_id, w.period
""")


async def read_key_caps(
    connection: AsyncConnection, caps: Mapping[KeyId, Sequence[Cap]], at: datetime
) -> dict[KeyId, tuple[CapUse, ...]]:
    """Read what is spent of each key's own caps in the periods of ``at`` (UTC), in one statement."""
    return await _read(connection, _SPENT_BY_KEYS, caps, at)


async def read_account_caps(
    connection: AsyncConnection, caps: Mapping[AccountId, Sequence[Cap]], at: datetime
) -> dict[AccountId, tuple[CapUse, ...]]:
    """Read what is spent of each account's caps in the periods of ``at`` (UTC), in one statement."""
    return await _read(connection, _SPENT_BY_ACCOUNTS, caps, at)


async def _read(
    connection: AsyncConnection, statement: TextClause, caps: Mapping[Owner, Sequence[Cap]], at: datetime
) -> dict[Owner, tuple[CapUse, ...]]:
    wanted = [(owner, period_label(cap.period, at)) for owner, some in caps.items() for cap in some]
    spent: dict[tuple[UUID, str], NanoUSD] = {}
    if wanted:
        values = {"ids": [owner for owner, _ in wanted], "periods": [label for _, label in wanted]}
        for row in await connection.execute(statement, values):
            spent[row.owner, row.period] = NanoUSD(row.spent_nano)
    return {
        owner: tuple(use_of(cap, spent[owner, period_label(cap.period, at)], at) for cap in some)
        for owner, some in caps.items()
    }
