"""Adds charged calls to the sums of usage, each once and however late; sums what was there before, hour by hour.

At any commit the sums have exactly the calls from ``complete_from`` on that are not pending. A turn moves calls from
pending into the sums in one transaction; another one sums an hour of before and moves ``complete_from`` back. So a
crash between any two statements loses and doubles nothing.
"""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.rollups.columns import CALL_COLUMNS, OF_BUCKET, SUMS
from billing.usage import LANE
from store.postgres import Database

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
# Commits per transaction: at most a thousand calls each.
COMMITS_MAX = 50
# How long a turn may sum hours of before.
BACKFILL_S = 1.0
# Of what was before: a step that takes less is followed by a longer one.
QUICK_S, STEP_MAX = 5.0, timedelta(days=31)
# Complete from here on is complete.
EVERYTHING = datetime(1970, 1, 1, tzinfo=UTC)

_TABLES = {
    "usage_by_key": ("hour", ("key_id",)),
    "usage_by_model": ("hour", ("model_id", "lane")),
    "usage_by_day": ("day", ("key_id", "model_id", "lane", "provider_id")),
}
_TRY_LOCK = text("SELECT pg_try_advisory_xact_lock(hashtext('gigarouter usage sums'))")
_STATE = text("SELECT complete_from, data_to, now() FROM usage_rollup")
_SET_STATE = text("UPDATE usage_rollup SET complete_from = :complete_from, data_to = :data_to")
_TAKE = text("""
    DELETE FROM usage_pending WHERE id IN (SELECT id FROM usage_pending ORDER BY id LIMIT :commits)
    RETURNING request_ids, since, until
""")
_OLDEST = text("SELECT request_id FROM usage_events ORDER BY request_id LIMIT 1")
_EVENTS = f"""
    SELECT account_id, key_id, model_id, provider_id, {LANE} AS lane, occurred_at AT TIME ZONE 'UTC' AS time,
        {CALL_COLUMNS}
    FROM usage_events e WHERE occurred_at >= :since AND occurred_at < :until
"""  # noqa: S608 - constants


class RollupState(msgspec.Struct, frozen=True):
    """From which hour on the sums are complete, but for what is pending, and until when all that was booked is in them.

    ``at`` is when the transaction began that read it.
    """

    complete_from: datetime | None
    data_to: datetime | None
    at: datetime


def _add(condition: str, tables: tuple[str, ...] = tuple(_TABLES)) -> str:
    """The statement that adds the events of a condition to the sums."""
    parts = []
    for table in tables:
        grain, names = _TABLES[table]
        keys = ", ".join(("account_id", "at", *names))
        groups = ", ".join(names)
        more = ", ".join(f"{name} = s.{name} + EXCLUDED.{name}" for name in SUMS)
        parts.append(
            f"{table}_added AS (INSERT INTO {table} AS s ({keys}, {', '.join(SUMS)})"  # noqa: S608
            f" SELECT account_id, date_trunc('{grain}', time) AT TIME ZONE 'UTC', {groups},"
            f" {', '.join(f'sum({OF_BUCKET.get(name, name)})' for name in SUMS)} FROM events GROUP BY 1, 2, {groups}"
            f" ON CONFLICT ({keys}) DO UPDATE SET {more})"
        )
    return f"WITH events AS MATERIALIZED ({_EVENTS}{condition}), {', '.join(parts)} SELECT count(*) FROM events"  # noqa: S608


_ADD_CALLS = text(_add(" AND request_id = ANY(CAST(:calls AS uuid[]))"))
_NOT_PENDING = """ AND NOT EXISTS (SELECT FROM pending WHERE pending.id = e.request_id)"""
_PENDING = """WITH pending AS MATERIALIZED (SELECT unnest(request_ids) AS id FROM usage_pending
    WHERE until >= :since AND since < :until), events AS"""
_ADD_SPAN_BUT_PENDING = text(_add(_NOT_PENDING).replace("WITH events AS", _PENDING, 1))


async def read_state(tx: AsyncConnection) -> RollupState:
    """Read how far the sums are."""
    return RollupState(*(await tx.execute(_STATE)).one())


async def add_pending(db: Database) -> int | None:
    """Add all calls that are pending; returns how many, and None where another process does it now."""
    added = 0
    while True:
        async with db.transaction() as tx:
            if not await tx.scalar(_TRY_LOCK):
                return None
            calls, commits = await _take(tx)
        added += calls
        if commits < COMMITS_MAX:
            return added


async def _take(tx: AsyncConnection) -> tuple[int, int]:
    """Add the calls of the oldest commits; returns how many calls and commits."""
    state = await read_state(tx)
    # The first time: nothing of before is summed, and nothing of this hour, for calls may be in it already.
    complete_from = state.complete_from or state.at.replace(minute=0, second=0, microsecond=0) + HOUR
    rows = (await tx.execute(_TAKE, {"commits": COMMITS_MAX})).all()
    calls = [call for row in rows for call in row.request_ids]
    if calls:
        since, until = min(row.since for row in rows), max(row.until for row in rows)
        bounds = {"since": max(since, complete_from), "until": until + timedelta(microseconds=1)}
        await tx.execute(_ADD_CALLS, bounds | {"calls": calls})
    # What was booked before this transaction began was pending in it.
    data_to = state.at if len(rows) < COMMITS_MAX else state.data_to
    await tx.execute(_SET_STATE, {"complete_from": complete_from, "data_to": data_to})
    return len(calls), len(rows)


async def add_before(db: Database, *, steps_max: int | None = None, within_s: float = BACKFILL_S) -> int:
    """Sum hours of before the sums are complete, the latest first; returns in how many steps.

    A step that was quick is followed by one of twice as many hours, for each reads the whole of its months. Needs a
    first :func:`add_pending`.
    """
    began, steps, step = db.clock.elapsed(), 0, HOUR
    while (steps_max is None or steps < steps_max) and db.clock.elapsed() - began < within_s:
        step_began = db.clock.elapsed()
        # One snapshot: what is pending in it is not in the sums, and what is not yet visible will be pending.
        async with db.transaction(snapshot=True) as tx:
            if not await tx.scalar(_TRY_LOCK) or not await _add_step(tx, step):
                break
        steps += 1
        if db.clock.elapsed() - step_began < QUICK_S:
            step = min(2 * step, STEP_MAX)
    return steps


async def _add_step(tx: AsyncConnection, step: timedelta) -> bool:
    state = await read_state(tx)
    if state.complete_from is None or state.complete_from <= EVERYTHING:
        return False
    oldest = (await tx.execute(_OLDEST)).scalar_one_or_none()
    since = state.complete_from - step
    # The ids' times only say where to stop making steps: the last one takes all that is older, whatever its id.
    if oldest is None or since.timestamp() <= (oldest.int >> 80) / 1000:
        since = EVERYTHING
    await _add_visible(tx, since, state.complete_from)
    await tx.execute(_SET_STATE, {"complete_from": since, "data_to": state.data_to})
    return True


async def _add_visible(tx: AsyncConnection, since: datetime, until: datetime) -> None:
    """Add all events of a span but those that are pending, which are added when their turn comes."""
    await tx.execute(_ADD_SPAN_BUT_PENDING, {"since": since, "until": until})


async def rebuild_day(db: Database, day: date) -> bool:
    """Sum a day of UTC anew from its events; False where the sums have not all of it, or are being added to."""
    since = datetime(day.year, day.month, day.day, tzinfo=UTC)
    async with db.transaction(snapshot=True) as tx:
        if not await tx.scalar(_TRY_LOCK):
            return False
        state = await read_state(tx)
        if state.complete_from is None or state.complete_from > since:
            return False
        span: dict[str, Any] = {"since": since, "until": since + DAY}
        for table in _TABLES:
            await tx.execute(text(f"DELETE FROM {table} WHERE at >= :since AND at < :until"), span)  # noqa: S608
        await _add_visible(tx, since, since + DAY)
        # Refused where another process has added to the sums since the snapshot.
        await tx.execute(_SET_STATE, {"complete_from": state.complete_from, "data_to": state.data_to})
    return True
