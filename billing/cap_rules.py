"""Pure. Says which period of a cap an instant lies in and when it ends, in which order caps are checked, what is left.

Periods are of UTC. Calls in flight count against every cap, in whichever period they began (billing/lua/admit.lua).
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from billing.money import NanoUSD
from billing.values import Cap, CapPeriod, CapScope
from store.ids import KeyId

# The longest period first: of several caps that are in the way, a refusal names the one that lasts longest.
_ORDER = (CapPeriod.TOTAL, CapPeriod.MONTH, CapPeriod.DAY)


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
