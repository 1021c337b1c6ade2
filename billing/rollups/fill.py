"""Adds charged calls to the sums of usage, each once and however late; sums what was there before, step by step.

At any commit the sums have exactly the calls from their horizon on that are not pending: ``complete_from`` for those by
day and hour, ``quarter_hours_from`` for those by quarter-hour and ``key_models_from`` for that by key and model, which
came later. A turn moves calls from pending into
the sums in one transaction; another one sums a span of before and moves a horizon back. So a crash between any two
statements loses and doubles nothing.
"""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.rollups.columns import CALL_COLUMNS, OF_BUCKET, SUMS
from billing.rollups.plan import TABLES, Horizons, RollupTable
from billing.usage import LANE
from store.postgres import Database

HOUR, DAY, _TICK = timedelta(hours=1), timedelta(days=1), timedelta(microseconds=1)
# Commits per transaction: at most a thousand calls each.
COMMITS_MAX = 50
# How long a turn may sum hours of before.
BACKFILL_S = 1.0
# Of what was before: a step that takes less is followed by a longer one.
QUICK_S, STEP_MAX = 5.0, timedelta(days=31)
# Complete from here on is complete.
EVERYTHING = datetime(1970, 1, 1, tzinfo=UTC)

_TRY_LOCK = text("SELECT pg_try_advisory_xact_lock(hashtext('gigarouter usage sums'))")
_STATE = text("SELECT complete_from, quarter_hours_from, key_models_from, data_to, now() AS at FROM usage_rollup")
# A turn counts the tables that it keeps. A process of before there were so many is refused by the database: it would
# forget the newest.
_SET_STATE = text("""
    UPDATE usage_rollup SET complete_from = :complete_from, quarter_hours_from = :quarter_hours_from,
        key_models_from = :key_models_from, data_to = :data_to, turns = turns + :tables
""")
_TAKE = text("""
    DELETE FROM usage_pending WHERE id IN (SELECT id FROM usage_pending ORDER BY id LIMIT :commits)
    RETURNING request_ids, since, until
""")
# Which days are to be compared with their events, again.
_DAYS = """days AS (INSERT INTO usage_days AS d (day, changes)
    SELECT DISTINCT (occurred_at AT TIME ZONE 'UTC')::date, 1 FROM events
    ON CONFLICT (day) DO UPDATE SET changes = d.changes + 1)"""
_OLDEST = text("SELECT request_id FROM usage_events ORDER BY request_id LIMIT 1")
_EVENTS = f"""
    SELECT account_id, key_id, model_id, provider_id, {LANE} AS lane, occurred_at,
        {CALL_COLUMNS}
    FROM usage_events e WHERE occurred_at >= :since AND occurred_at < :until
"""  # noqa: S608 - constants


class RollupState(msgspec.Struct, frozen=True):
    """From when on the sums are complete, but for what is pending, and until when all that was booked is in them.

    ``at`` is when the transaction began that read it.
    """

    horizons: Horizons
    data_to: datetime | None
    at: datetime


def begins(table: RollupTable) -> str:
    """The SQL of when the row begins that an event belongs to."""
    return f"date_bin('{table.grain.total_seconds():.0f} s', occurred_at, TIMESTAMPTZ '1970-01-01 00:00Z')"


def _add(condition: str) -> str:
    """The statement that adds the events of a condition to the sums, to those of each horizon from a time on.

    Rows are written in the order in which an account reads them, so that a month of its hours is in few pages: of a
    million calls of three accounts, in a fifteenth of those that it is in without.
    """
    parts = []
    for table in TABLES:
        groups = ", ".join(table.dimensions)
        keys = f"account_id, at, {groups}"
        more = ", ".join(f"{name} = s.{name} + EXCLUDED.{name}" for name in SUMS)
        parts.append(
            f"{table.name}_added AS (INSERT INTO {table.name} AS s ({keys}, {', '.join(SUMS)})"  # noqa: S608
            f" SELECT account_id, {begins(table)}, {groups},"
            f" {', '.join(f'sum({OF_BUCKET.get(name, name)})' for name in SUMS)} FROM events"
            f" WHERE occurred_at >= :{table.horizon}_from GROUP BY 1, 2, {groups} ORDER BY 1, 2"
            f" ON CONFLICT ({keys}) DO UPDATE SET {more})"
        )
    parts.append(_DAYS)
    return f"WITH events AS MATERIALIZED ({_EVENTS}{condition}), {', '.join(parts)} SELECT count(*) FROM events"  # noqa: S608


_ADD_CALLS = text(_add(" AND request_id = ANY(CAST(:calls AS uuid[]))"))
_NOT_PENDING = """ AND NOT EXISTS (SELECT FROM pending WHERE pending.id = e.request_id)"""
_PENDING = """WITH pending AS MATERIALIZED (SELECT unnest(request_ids) AS id FROM usage_pending
    WHERE until >= :since AND since < :until), events AS"""
_ADD_SPAN_BUT_PENDING = text(_add(_NOT_PENDING).replace("WITH events AS", _PENDING, 1))
# Of a span, without a comma at the end.
EVENTS_BUT_PENDING = f"{_PENDING} MATERIALIZED ({_EVENTS}{_NOT_PENDING})"


async def read_state(tx: AsyncConnection) -> RollupState:
    """Read how far the sums are."""
    row = (await tx.execute(_STATE)).one()
    horizons = Horizons(row.complete_from, row.quarter_hours_from, row.key_models_from)
    return RollupState(horizons, row.data_to, row.at)


async def _set_state(tx: AsyncConnection, horizons: Horizons, data_to: datetime | None) -> None:
    await tx.execute(
        _SET_STATE,
        {
            "complete_from": horizons.hours,
            "quarter_hours_from": horizons.quarter_hours,
            "key_models_from": horizons.key_models,
            "data_to": data_to,
            "tables": len(TABLES),
        },
    )


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
    # The first time: nothing of before is summed, and nothing of this hour and the next, in which calls may be already.
    start = state.at.replace(minute=0, second=0, microsecond=0) + 2 * HOUR
    known = state.horizons
    horizons = Horizons(known.hours or start, known.quarter_hours or start, known.key_models or start)
    rows = (await tx.execute(_TAKE, {"commits": COMMITS_MAX})).all()
    calls = [call for row in rows for call in row.request_ids]
    if calls:
        bounds = _bounds(min(row.since for row in rows), max(row.until for row in rows) + _TICK, horizons)
        await tx.execute(_ADD_CALLS, bounds | {"calls": calls})
    # What was booked before this transaction began was pending in it.
    await _set_state(tx, horizons, state.at if len(rows) < COMMITS_MAX else state.data_to)
    return len(calls), len(rows)


def _bounds(since: datetime, until: datetime, horizons: Horizons) -> dict[str, Any]:
    """The parameters that add events of a span to the sums from their horizons on."""
    begun = horizons.begun()
    assert begun is not None, "sums without a beginning; this is a bug"
    bounds = {"since": max(since, min(begun.values())), "until": until}
    return bounds | {f"{name}_from": at for name, at in begun.items()}


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
    """Sum a span of before those sums that begin the latest, up to where the others begin, or of before all."""
    state = await read_state(tx)
    begun = state.horizons.begun()
    if begun is None or max(begun.values()) <= EVERYTHING:
        return False
    until = max(begun.values())
    since = until - step
    oldest = (await tx.execute(_OLDEST)).scalar_one_or_none()
    # The ids' times only say where to stop making steps: the last one takes all that is older, whatever its id.
    if oldest is None or since.timestamp() <= (oldest.int >> 80) / 1000:
        since = EVERYTHING
    since = max([since, *(at for at in begun.values() if at < until)])
    # Those that begin earlier have these events already.
    added = Horizons(**{name: since if at == until else until for name, at in begun.items()})
    await _add_visible(tx, since, until, added)
    moved = Horizons(**{name: since if at == until else at for name, at in begun.items()})
    await _set_state(tx, moved, state.data_to)
    return True


async def _add_visible(tx: AsyncConnection, since: datetime, until: datetime, horizons: Horizons) -> None:
    """Add all events of a span but those that are pending, which are added when their turn comes."""
    await tx.execute(_ADD_SPAN_BUT_PENDING, _bounds(since, until, horizons))


async def rebuild_day(db: Database, day: date) -> bool:
    """Sum a day of UTC anew from its events; False where the sums have not all of it, or are being added to."""
    since = datetime(day.year, day.month, day.day, tzinfo=UTC)
    async with db.transaction(snapshot=True) as tx:
        if not await tx.scalar(_TRY_LOCK):
            return False
        state = await read_state(tx)
        begun = state.horizons.begun()
        if begun is None or begun["hours"] > since:
            return False
        begins_at = {name: max(since, at) for name, at in begun.items()}
        for table in TABLES:
            span: dict[str, Any] = {"since": begins_at[table.horizon], "until": since + DAY}
            await tx.execute(text(f"DELETE FROM {table.name} WHERE at >= :since AND at < :until"), span)  # noqa: S608
        await _add_visible(tx, since, since + DAY, Horizons(**begins_at))
        # Refused where another process has added to the sums since the snapshot.
        await _set_state(tx, state.horizons, state.data_to)
    return True
