"""Reads and moves the state of months: open, closing, closed. What closing means is :mod:`billing.close`.

A month without a row is open. A frozen one takes no entries, nor does any before it: usage goes to the open month and
into ``late_entries``, everything else is refused, by a trigger that all writers of entries pass.
"""

from collections.abc import Mapping
from datetime import date, datetime
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.money import NanoUSD
from store.ids import AccountId, EntryId, RequestId

_COLUMNS = "period, state, started_at, finish_requested_at, frozen_at, closed_at, head_batch, head_digest"
_ALL = text(f"SELECT {_COLUMNS} FROM periods ORDER BY period")  # noqa: S608
_ONE = text(f"SELECT {_COLUMNS} FROM periods WHERE period = :period")  # noqa: S608
_IS_OPEN = text("SELECT NOT EXISTS (SELECT FROM periods WHERE period >= :period AND frozen_at IS NOT NULL)")
_START = text("INSERT INTO periods (period) VALUES (:period) ON CONFLICT DO NOTHING")
_ASK = text("UPDATE periods SET finish_requested_at = coalesce(finish_requested_at, now()) WHERE period = :period")
_SIGN = text("""
    INSERT INTO period_signoffs (period, item, reason, actor) VALUES (:period, :item, :reason, :actor)
    ON CONFLICT DO NOTHING
""")
_SIGNOFFS = text("SELECT item, reason, actor, signed_at FROM period_signoffs WHERE period = :period ORDER BY signed_at")
_CHECKS = text("SELECT item, message, checked_at FROM period_checks WHERE period = :period")
_RECORD = text("""
    INSERT INTO period_checks AS c (period, item, message) VALUES (:period, :item, :message)
    ON CONFLICT (period, item) DO UPDATE SET message = EXCLUDED.message, checked_at = now()
""")
_PACK = text("SELECT pack FROM periods WHERE period = :period")
# By way of the accounts' index, in the month that the entry should have been in.
_LATE = text("""
    SELECT u.request_id, u.occurred_at, u.account_id, u.model_id, u.cost_nano, l.entry_id, l.booked_period
    FROM late_entries l JOIN usage_events u ON u.account_id = l.account_id AND u.entry_id = l.entry_id
        AND u.occurred_at >= l.call_period::timestamp AT TIME ZONE 'UTC'
        AND u.occurred_at < (l.call_period + interval '1 month') AT TIME ZONE 'UTC'
    WHERE l.call_period = :period OR l.booked_period = :period
    ORDER BY u.request_id
""")


class State(StrEnum):
    """The states of a month, in their order."""

    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


class Period(msgspec.Struct, frozen=True):
    """A month that is being closed, or is closed. It is frozen where it takes no entries any more."""

    period: date
    state: State
    started_at: datetime
    finish_requested_at: datetime | None
    frozen_at: datetime | None
    closed_at: datetime | None
    head_batch: int | None
    head_digest: bytes | None


class Signoff(msgspec.Struct, frozen=True):
    """Who let the month be closed although this item of the checklist is red, and why."""

    item: str
    reason: str
    actor: str
    signed_at: datetime


class LateEvent(msgspec.Struct, frozen=True):
    """A call whose month was closed when it was charged: it is booked in a later one."""

    request_id: RequestId
    occurred_at: datetime
    account_id: AccountId
    model_id: str
    cost: NanoUSD
    entry_id: EntryId
    booked_period: date


def next_month(period: date) -> date:
    """The first day of the month after."""
    return date(period.year + period.month // 12, period.month % 12 + 1, 1)


async def list_periods(tx: AsyncConnection) -> list[Period]:
    """The months that are closing or closed, the oldest first."""
    return [_period(row) for row in await tx.execute(_ALL)]


async def get_period(tx: AsyncConnection, period: date) -> Period | None:
    """One month; None where it is open."""
    row = (await tx.execute(_ONE, {"period": period})).one_or_none()
    return None if row is None else _period(row)


async def is_open(tx: AsyncConnection, period: date) -> bool:
    """Whether entries can be booked into a month."""
    return bool(await tx.scalar(_IS_OPEN, {"period": period}))


async def start(tx: AsyncConnection, period: date) -> None:
    """Begin to close a month. The database's ``IntegrityError`` where it is not over, or another one is closing."""
    await tx.execute(_START, {"period": period})


async def request_finish(tx: AsyncConnection, period: date) -> None:
    """Let the jobs process close the month as soon as nothing of its checklist is red."""
    await tx.execute(_ASK, {"period": period})


async def sign_off(tx: AsyncConnection, period: date, item: str, reason: str, actor: str) -> None:
    """Let the month be closed although this item is red; the first reason stays."""
    await tx.execute(_SIGN, {"period": period, "item": item, "reason": reason, "actor": actor})


async def list_signoffs(tx: AsyncConnection, period: date) -> list[Signoff]:
    """What was signed off of a month's checklist."""
    return [Signoff(*row) for row in await tx.execute(_SIGNOFFS, {"period": period})]


async def record_checks(tx: AsyncConnection, period: date, messages: Mapping[str, str]) -> None:
    """Keep what each item of the checklist found: a message says what is wrong, an empty one that nothing is."""
    for item, message in sorted(messages.items()):
        await tx.execute(_RECORD, {"period": period, "item": item, "message": message})


async def read_checks(tx: AsyncConnection, period: date) -> dict[str, tuple[str, datetime]]:
    """The message of each item, and when it was checked."""
    return {row.item: (row.message, row.checked_at) for row in await tx.execute(_CHECKS, {"period": period})}


async def read_pack(tx: AsyncConnection, period: date) -> Any:  # noqa: ANN401 - JSON
    """The closing papers of a closed month; None before it is closed."""
    return await tx.scalar(_PACK, {"period": period})


async def list_late(tx: AsyncConnection, period: date) -> list[LateEvent]:
    """The calls of a month that were booked in a later one, and those booked in it that are of an earlier one."""
    return [
        LateEvent(
            RequestId(row.request_id),
            row.occurred_at,
            AccountId(row.account_id),
            row.model_id,
            NanoUSD(row.cost_nano),
            EntryId(row.entry_id),
            row.booked_period,
        )
        for row in await tx.execute(_LATE, {"period": period})
    ]


def _period(row: Any) -> Period:  # noqa: ANN401 - a row
    return Period(row[0], State(row[1]), *row[2:])
