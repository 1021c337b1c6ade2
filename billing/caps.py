"""Tells what is spent of the caps of a key or an account in their present periods, and when those end.

Admission enforces the caps. Spent is what was charged, as Postgres has it: per key a row for all time, a month and a
day of UTC (``key_spend``), which only grow, and an account's is the sum over its keys. So a cap that is new or changed
counts what was spent before it, and nothing is ever reset. Calls in flight count once they are charged, which is before
their answer (after it only with ``durability = "memory"``).
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.money import NanoUSD
from billing.values import Cap, CapPeriod, CapScope
from store.ids import AccountId, KeyId

# One of each period, for a key and for its account: what the script of an admission checks at most.
CAPS_MAX = len(CapPeriod) * len(CapScope)
# The longest period first: of several caps that are in the way, a refusal names the one that lasts longest.
_ORDER = (CapPeriod.TOTAL, CapPeriod.MONTH, CapPeriod.DAY)
_SPENT_BY_KEYS = text("""
    SELECT w.key_id, w.period, coalesce(s.spent_nano, 0) AS spent_nano
    FROM unnest(CAST(:ids AS uuid[]), CAST(:periods AS text[])) AS w (key_id, period)
    LEFT JOIN key_spend s ON s.key_id = w.key_id AND s.period = w.period
""")
_SPENT_BY_ACCOUNTS = text("""
    SELECT w.account_id, w.period, coalesce(sum(s.spent_nano), 0)::bigint AS spent_nano
    FROM unnest(CAST(:ids AS uuid[]), CAST(:periods AS text[])) AS w (account_id, period)
    LEFT JOIN key_spend s ON s.account_id = w.account_id AND s.period = w.period
    GROUP BY w.account_id, w.period
""")


class CapUse(msgspec.Struct, frozen=True):
    """What is spent of a cap in the period, what is left, and when the next period begins; None for a total cap."""

    cap: Cap
    spent: NanoUSD
    left: NanoUSD
    resets_at: datetime | None


def ordered(caps: Iterable[Cap]) -> tuple[Cap, ...]:
    """Caps in the order in which they are checked and listed: total, month, day; of one period the key's first."""
    return tuple(sorted(caps, key=lambda cap: (_ORDER.index(cap.period), cap.scope is CapScope.ACCOUNT)))


def period_label(period: CapPeriod, at: datetime) -> str:
    """The period in which ``at`` (UTC) lies: total, 2026-11 or 2026-11-24."""
    match period:
        case CapPeriod.TOTAL:
            return "total"
        case CapPeriod.MONTH:
            return f"{at:%Y-%m}"
        case CapPeriod.DAY:
            return f"{at:%Y-%m-%d}"


def period_start(period: CapPeriod, at: datetime) -> datetime | None:
    """The instant at which the period began that ``at`` (UTC) lies in; None for total."""
    day = at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    match period:
        case CapPeriod.TOTAL:
            return None
        case CapPeriod.DAY:
            return day
        case CapPeriod.MONTH:
            return day.replace(day=1)


def period_end(period: CapPeriod, at: datetime) -> datetime | None:
    """The instant at which the period ends that ``at`` (UTC) lies in, and the next begins; None for total."""
    start = period_start(period, at)
    if start is None:
        return None
    return start + timedelta(days=1) if period is CapPeriod.DAY else (start + timedelta(days=32)).replace(day=1)


def cap_arguments(caps: Sequence[Cap], key_id: KeyId, at: datetime) -> list[str | int]:
    """What the script of an admission at ``at`` (UTC) takes of caps: per cap whose spending of which period, how much.

    An account's spending is under no key, as :mod:`billing.projection` keeps it.
    """
    arguments: list[str | int] = []
    for cap in caps:
        owner = key_id.hex if cap.scope is CapScope.KEY else ""
        arguments += (f"{owner}:{period_label(cap.period, at)}", cap.amount)
    return arguments


def use_of(cap: Cap, spent: NanoUSD, at: datetime) -> CapUse:
    """What is left of a cap of which so much is spent. It may have been lowered below that."""
    return CapUse(cap, spent, NanoUSD(max(0, cap.amount - spent)), period_end(cap.period, at))


async def read_key_caps(
    connection: AsyncConnection, caps: Mapping[KeyId, Sequence[Cap]], at: datetime
) -> dict[KeyId, tuple[CapUse, ...]]:
    """Read what is spent of each key's own caps in the periods of ``at`` (UTC), in one statement."""
    wanted = [(key_id, period_label(cap.period, at)) for key_id, some in caps.items() for cap in some]
    spent: dict[tuple[KeyId, str], NanoUSD] = {}
    if wanted:
        values = {"ids": [key_id for key_id, _ in wanted], "periods": [label for _, label in wanted]}
        for row in await connection.execute(_SPENT_BY_KEYS, values):
            spent[KeyId(row.key_id), row.period] = NanoUSD(row.spent_nano)
    return {
        key_id: tuple(use_of(cap, spent[key_id, period_label(cap.period, at)], at) for cap in some)
        for key_id, some in caps.items()
    }


async def read_account_caps(
    connection: AsyncConnection, caps: Mapping[AccountId, Sequence[Cap]], at: datetime
) -> dict[AccountId, tuple[CapUse, ...]]:
    """Read what is spent of each account's caps in the periods of ``at`` (UTC), in one statement."""
    wanted = [(account_id, period_label(cap.period, at)) for account_id, some in caps.items() for cap in some]
    spent: dict[tuple[AccountId, str], NanoUSD] = {}
    if wanted:
        values = {"ids": [account_id for account_id, _ in wanted], "periods": [label for _, label in wanted]}
        for row in await connection.execute(_SPENT_BY_ACCOUNTS, values):
            spent[AccountId(row.account_id), row.period] = NanoUSD(row.spent_nano)
    return {
        account_id: tuple(use_of(cap, spent[account_id, period_label(cap.period, at)], at) for cap in some)
        for account_id, some in caps.items()
    }
