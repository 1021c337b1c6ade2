"""Gives credit by the month: a schedule says how much, and each month's is a grant of its own, once by its source.

A month is given from its first instant (UTC) on. Months that were missed, because no job ran, are given later, all of
them; what is after the end of a schedule is not given.
"""

from datetime import UTC, date, datetime

import msgspec
import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.credits import GrantKind, grant
from billing.ledger import CreditTooLarge
from billing.money import NanoUSD
from store.ids import AccountId, GrantScheduleId, new_id, wire
from store.postgres import Database

log = structlog.get_logger("billing")

_ADD = text("""
    INSERT INTO grant_schedules (id, account_id, kind, amount_nano, lasts_months, first_month, last_month, next_month,
        note, created_by)
    VALUES (:id, :account, :kind, :amount, :lasts, :first, :last, :first, :note, :actor)
""")
_ONE = text("SELECT * FROM grant_schedules WHERE id = :id")
_LIST = text("""
    SELECT * FROM grant_schedules WHERE (CAST(:after AS uuid) IS NULL OR id > CAST(:after AS uuid))
        AND (CAST(:account AS uuid) IS NULL OR account_id = CAST(:account AS uuid)) ORDER BY id LIMIT :most
""")
_END = text("UPDATE grant_schedules SET ended_at = now(), ended_by = :actor WHERE id = :id AND ended_at IS NULL")
_DUE = text("""
    SELECT id FROM grant_schedules WHERE ended_at IS NULL AND next_month <= :month
        AND (last_month IS NULL OR next_month <= last_month) ORDER BY next_month, id LIMIT 1000
""")
_CLAIM = text("""
    SELECT * FROM grant_schedules WHERE id = :id AND ended_at IS NULL AND next_month <= :month
        AND (last_month IS NULL OR next_month <= last_month) FOR UPDATE SKIP LOCKED
""")
_MOVE = text("UPDATE grant_schedules SET next_month = :next WHERE id = :id")


class GrantSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """So much each month. ``lasts_months``: a month's credit ends with that many months, its own the first."""

    id: GrantScheduleId
    account_id: AccountId
    kind: GrantKind
    amount_nano: NanoUSD
    lasts_months: int | None
    first_month: date
    last_month: date | None
    next_month: date
    note: str
    created_by: str
    created_at: datetime
    ended_by: str | None
    ended_at: datetime | None


def month_after(month: date, months: int) -> date:
    """The first day of the month that is so many months later."""
    count = month.year * 12 + month.month - 1 + months
    return date(count // 12, count % 12 + 1, 1)


def ends_at(schedule: GrantSchedule, month: date) -> datetime | None:
    """When the credit of a month expires; None: never."""
    if schedule.lasts_months is None:
        return None
    end = month_after(month, schedule.lasts_months)
    return datetime(end.year, end.month, 1, tzinfo=UTC)


async def add_schedule(
    tx: AsyncConnection,
    account_id: AccountId,
    kind: GrantKind,
    amount: NanoUSD,
    *,
    first_month: date,
    last_month: date | None,
    lasts_months: int | None,
    note: str,
    actor: str,
) -> GrantSchedule:
    """Add a schedule; jobs give its first month within a minute once that has begun."""
    schedule_id = GrantScheduleId(new_id())
    facts = {"account": account_id, "kind": kind.value, "amount": amount, "lasts": lasts_months, "note": note}
    months = {"first": first_month, "last": last_month}
    await tx.execute(_ADD, {"id": schedule_id, **facts, **months, "actor": actor})
    added = await find_schedule(tx, schedule_id)
    assert added is not None, "it was just added; this is a bug"
    return added


async def find_schedule(tx: AsyncConnection, schedule_id: GrantScheduleId) -> GrantSchedule | None:
    """A schedule, also one that has ended."""
    row = (await tx.execute(_ONE, {"id": schedule_id})).first()
    return None if row is None else msgspec.convert(dict(row._mapping), GrantSchedule)


async def list_schedules(
    tx: AsyncConnection, account_id: AccountId | None, *, after: GrantScheduleId | None, most: int
) -> list[GrantSchedule]:
    """List schedules of an account, or of all, the oldest first."""
    rows = await tx.execute(_LIST, {"account": account_id, "after": after, "most": most})
    return [msgspec.convert(dict(row._mapping), GrantSchedule) for row in rows]


async def end_schedule(tx: AsyncConnection, schedule_id: GrantScheduleId, actor: str) -> bool:
    """Give no further months; False where it had ended. What was given stays."""
    return bool((await tx.execute(_END, {"id": schedule_id, "actor": actor})).rowcount)


async def give_due(db: Database, now: datetime) -> int:
    """Give every month that is due; returns how many grants that made. Each once, however many processes do it."""
    month = _month_of(now)
    async with db.transaction() as tx:
        due = (await tx.execute(_DUE, {"month": month})).scalars().all()
    given = 0
    for schedule_id in due:
        try:
            while (is_given := await _give_next(db, GrantScheduleId(schedule_id), now)) is not None:
                given += is_given
        except CreditTooLarge:
            log.warning("schedule_waits", schedule=wire(GrantScheduleId, schedule_id), reason="too much credit")
    return given


def _month_of(now: datetime) -> date:
    return now.astimezone(UTC).date().replace(day=1)


async def _give_next(db: Database, schedule_id: GrantScheduleId, now: datetime) -> bool | None:
    """Whether the next month was given: False where it was passed over, None where none is due."""
    month = _month_of(now)
    async with db.transaction() as tx:
        row = (await tx.execute(_CLAIM, {"id": schedule_id, "month": month})).first()
        if row is None:
            return None
        schedule = msgspec.convert(dict(row._mapping), GrantSchedule)
        given = schedule.next_month
        expires_at = ends_at(schedule, given)
        # A month that was missed for so long that its credit would be over is passed over.
        is_given = expires_at is None or expires_at > now
        if is_given:
            source = f"schedule:{wire(GrantScheduleId, schedule.id)}:{given:%Y-%m}"
            await grant(
                tx,
                schedule.account_id,
                schedule.amount_nano,
                schedule.kind,
                source_ref=source,
                expires_at=expires_at,
                note=schedule.note,
            )
        await tx.execute(_MOVE, {"id": schedule.id, "next": month_after(given, 1)})
        return is_given
