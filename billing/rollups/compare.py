"""Compares sums of usage with their events, day by day of UTC, and builds anew what differs: the nightly check.

A day is compared once it is over and each time that calls were added to it since, however late; and every night one
more, whose comparison is the longest ago, for what somebody may have changed in the tables.
"""

import asyncio
from datetime import UTC, date, datetime

import msgspec
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.books import Check, Finding
from billing.rollups.columns import OF_BUCKET, SUMS
from billing.rollups.fill import DAY, EVENTS_BUT_PENDING, begins, read_state, rebuild_day
from billing.rollups.plan import TABLES
from store.postgres import Database

# Of a night; the other days follow in the next ones, the latest first.
DAYS_MAX = 31
# Somebody is to see that days were wrong: so long after they were built anew they still count.
SHOWN = "23 hours"
# The sums are being added to every two seconds, for as long as that takes.
ATTEMPTS, PAUSE_S = 10, 0.5

_DUE = text("""
    (SELECT day FROM usage_days WHERE day >= :first AND day < :today AND changes IS DISTINCT FROM compared_changes
        ORDER BY day DESC LIMIT :limit)
    UNION (SELECT day FROM usage_days WHERE day >= :first AND day < :today AND changes = compared_changes
        ORDER BY compared_at LIMIT 1)
    ORDER BY 1 DESC
""")
_CHANGES = text("SELECT changes FROM usage_days WHERE day = :day")
_COMPARED = text("UPDATE usage_days SET compared_changes = :changes, compared_at = now() WHERE day = :day")
_REBUILT = text("UPDATE usage_days SET rebuilt_at = now() WHERE day = :day")
_SHOWN = text(f"SELECT day FROM usage_days WHERE rebuilt_at > now() - interval '{SHOWN}' ORDER BY day")  # noqa: S608


class ComparedDays(msgspec.Struct, frozen=True):
    """How many days were compared now, which were wrong within a day and built anew, and which could not be."""

    compared: int
    rebuilt: list[date]
    wrong: list[date]


def _differences() -> str:
    """The statement that counts rows of all tables which are not the sums of their events."""
    sums = ", ".join(f"sum({OF_BUCKET.get(name, name)}) AS {name}" for name in SUMS)
    parts = []
    for table in TABLES:
        keys = ", ".join(("account_id", "at", *table.dimensions))
        groups = ", ".join(table.dimensions)
        left, right = (", ".join(f"{side}.{name}" for name in SUMS) for side in ("e", "t"))
        parts.append(
            f"SELECT count(*) AS rows FROM (SELECT account_id, {begins(table)} AS at, {groups}, {sums} FROM events"  # noqa: S608
            f" GROUP BY 1, 2, {groups}) e FULL JOIN (SELECT * FROM {table.name} WHERE at >= :since AND at < :until) t"
            f" USING ({keys}) WHERE ROW({left}) IS DISTINCT FROM ROW({right})"
        )
    return f"{EVENTS_BUT_PENDING} SELECT sum(rows)::bigint FROM ({' UNION ALL '.join(parts)}) counts"  # noqa: S608


_DIFFERENCES = text(_differences())


async def compare_days(db: Database) -> ComparedDays:
    """Compare the days that are due, and build anew those that differ from their events."""
    due = await _due_days(db)
    wrong = [day for day in due if not await _is_right(db, day)]
    failed = [day for day in wrong if not await _rebuild(db, day)]
    async with db.transaction() as tx:
        return ComparedDays(len(due), list((await tx.execute(_SHOWN)).scalars()), failed)


async def check_sums(db: Database) -> Finding:
    """Compare the days that are due, as a check of the books; a day that was wrong counts until the next night."""
    found = await compare_days(db)
    days = sorted({*found.rebuilt, *found.wrong})
    names = ", ".join(f"{day}{' (not built anew yet)' if day in found.wrong else ''}" for day in days[-12:])
    return Finding(Check.USAGE_SUMS, len(days), f"days whose sums of usage were wrong and are built anew: {names}")


async def _due_days(db: Database) -> list[date]:
    async with db.transaction() as tx:
        state = await read_state(tx)
        begun = state.horizons.begun()
        if begun is None:
            return []
        # A day that the sums have from its beginning on.
        first = (max(begun.values()) + DAY).date()
        bounds = {"first": first, "today": state.at.astimezone(UTC).date(), "limit": DAYS_MAX}
        return list((await tx.execute(_DUE, bounds)).scalars())


async def _is_right(db: Database, day: date) -> bool:
    """Whether a day's sums are those of its events, in one snapshot; notes that it was compared where they are."""
    async with db.transaction(snapshot=True) as tx:
        changes = await tx.scalar(_CHANGES, {"day": day})
        differences = await _count_differences(tx, day)
    if differences == 0:
        async with db.transaction() as tx:
            await tx.execute(_COMPARED, {"day": day, "changes": changes})
    return differences == 0


async def _count_differences(tx: AsyncConnection, day: date) -> int:
    since = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return int(await tx.scalar(_DIFFERENCES, {"since": since, "until": since + DAY}) or 0)


async def _rebuild(db: Database, day: date) -> bool:
    """Build a day anew, and compare it again; False where others were adding to the sums all the time."""
    for _ in range(ATTEMPTS):
        try:
            is_rebuilt = await rebuild_day(db, day)
        except DBAPIError:
            # Another process has added to the sums since the snapshot.
            is_rebuilt = False
        if is_rebuilt:
            async with db.transaction() as tx:
                await tx.execute(_REBUILT, {"day": day})
            return await _is_right(db, day)
        await asyncio.sleep(PAUSE_S)
    return False
