"""Sums usage as :mod:`billing.usage` does, to the nano, from the sums that jobs keep where those suffice.

What is pending is read from its events, so that an answer has all that was booked when it was asked for. Where jobs are
behind by more than :data:`PENDING_MAX` calls, everything is read from events.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.rollups.columns import CALL_COLUMNS, LATENCY, OF_BUCKET, PER_CALL
from billing.rollups.plan import DAY, HOUR, Horizons, Plan, TableRanges, choose_tables, day_begins, days_of, plan_sum
from billing.usage import LANE, GroupBy, UsageFilter, UsageSum
from store.ids import AccountId

PENDING_MAX: Final = 100_000
# A zone's days are counted one by one.
ZONE_SPAN_MAX: Final = timedelta(days=3 * 366)
UTC_ZONE: Final = ZoneInfo("UTC")

_FIELDS: Final[dict[GroupBy, str]] = {
    "account": "account_id",
    "key": "key_id",
    "model": "model_id",
    "provider": "provider_id",
    "lane": "lane",
}
_DIMENSIONS: Final = frozenset({"key_id", "model_id", "provider_id", "lane"})
_HORIZON = text("""
    SELECT complete_from, quarter_hours_from, key_models_from, now() AS at, (
        SELECT coalesce(sum(cardinality(request_ids)), 0)::bigint FROM usage_pending
        WHERE CAST(:account AS uuid) IS NULL OR CAST(:account AS uuid) = ANY(account_ids)
    ) AS pending FROM usage_rollup
""")


class Horizon(msgspec.Struct, frozen=True):
    """From when on there are sums, and how many calls are not in them. What was booked until ``at`` is known."""

    sums: Horizons
    at: datetime
    pending: int


class Question(msgspec.Struct, frozen=True):
    """What is summed: over which calls, by what, in which zone days and months are, in buckets of ``width_s`` or not.

    ``latency``: with counts of latency. ``limit``: at most so many rows.
    """

    which: UsageFilter
    group_by: Sequence[GroupBy]
    zone: ZoneInfo = UTC_ZONE
    width_s: int | None = None
    latency: bool = False
    limit: int | None = None
    horizon: Horizon | None = None


async def read_horizon(tx: AsyncConnection, account_id: AccountId | None) -> Horizon:
    """Read how far the sums are of one account's usage, or of everybody's."""
    row = (await tx.execute(_HORIZON, {"account": account_id})).one()
    horizons = Horizons(row.complete_from, row.quarter_hours_from, row.key_models_from)
    return Horizon(horizons, row.at, row.pending)


async def sum_rolled(
    tx: AsyncConnection,
    which: UsageFilter,
    group_by: Sequence[GroupBy],
    *,
    zone: ZoneInfo = UTC_ZONE,
    limit: int | None = None,
    latency: bool = False,
    horizon: Horizon | None = None,
) -> list[UsageSum]:
    """Sum usage by some of :data:`billing.usage.GroupBy`, in their order; days and months are the zone's.

    ``horizon`` is what :func:`read_horizon` has read, where several sums are wanted.

    In another zone than UTC a span is at most :data:`ZONE_SPAN_MAX`, where days or months are grouped by.
    """
    return await _answer(tx, Question(which, group_by, zone, None, latency, limit, horizon))


async def sum_rolled_buckets(
    tx: AsyncConnection, which: UsageFilter, width_s: int, group_by: Sequence[GroupBy], *, limit: int
) -> list[UsageSum]:
    """Sum usage by buckets of ``width_s`` seconds, as :func:`billing.usage.sum_buckets` does."""
    return await _answer(tx, Question(which, group_by, width_s=width_s, limit=limit))


class _Boundaries(msgspec.Struct, frozen=True):
    """The instants at which a zone's days and months begin, where they are not UTC's and are grouped by."""

    days: list[datetime]
    months: list[datetime]


async def _answer(tx: AsyncConnection, question: Question) -> list[UsageSum]:
    boundaries = _boundaries(question)
    plan = await _plan(tx, question, boundaries)
    groups = _groups(question, boundaries)
    query, values = _query(question, plan, groups)
    values |= {name: list(value) for name, value in msgspec.structs.asdict(boundaries).items() if value}
    return [_sum(row, groups, question, boundaries) for row in await tx.execute(text(query), values)]


async def _plan(tx: AsyncConnection, question: Question, boundaries: _Boundaries) -> Plan:
    which = question.which
    tables = choose_tables(_dimensions(question), grain=_grain(question))
    if tables:
        horizon = question.horizon or await read_horizon(tx, which.account_id)
        if horizon.pending <= PENDING_MAX:
            cuts = sorted({*boundaries.days, *boundaries.months})
            return plan_sum(which.since, which.until, tables, horizon.sums, cuts)
    return Plan((), ((which.since, which.until),))


def _dimensions(question: Question) -> set[str]:
    """What a table must have beside account and time."""
    which = question.which
    given = {"key_id": which.key_ids, "model_id": which.model_ids, "provider_id": which.provider_id, "lane": which.lane}
    filtered = {name for name, value in given.items() if value is not None}
    return filtered | ({_FIELDS[name] for name in question.group_by if name in _FIELDS} & _DIMENSIONS)


def _grain(question: Question) -> timedelta:
    """The time of which every group, or bucket, is a whole number; a zone's days are cut at its midnights instead."""
    if question.width_s is not None:
        return timedelta(seconds=question.width_s)
    return HOUR if "hour" in question.group_by else DAY


def _boundaries(question: Question) -> _Boundaries:
    which, zone = question.which, question.zone
    if zone == UTC_ZONE or {"day", "month"}.isdisjoint(question.group_by):
        return _Boundaries([], [])
    if which.until - which.since > ZONE_SPAN_MAX:
        raise ValueError("too many days of a zone")
    days = days_of(which.since, which.until, zone)
    first_of_month = day_begins(days[0].astimezone(zone).date().replace(day=1), zone)
    months = [first_of_month, *(day for day in days[1:] if day.astimezone(zone).day == 1)]
    return _Boundaries(days if "day" in question.group_by else [], months if "month" in question.group_by else [])


def _groups(question: Question, boundaries: _Boundaries) -> dict[str, str]:
    """The fields of a sum that are grouped by, and their SQL; of a zone's days and months their numbers."""
    by_time = {
        "day": "width_bucket(at, CAST(:days AS timestamptz[])) - 1"
        if boundaries.days
        else "(at AT TIME ZONE 'UTC')::date",
        "month": "width_bucket(at, CAST(:months AS timestamptz[])) - 1"
        if boundaries.months
        else "to_char(at AT TIME ZONE 'UTC', 'YYYY-MM')",
        "hour": "date_trunc('hour', at AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'",
    }
    groups = (
        {} if question.width_s is None else {"bucket": f"floor(extract(epoch FROM at) / {question.width_s:d})::bigint"}
    )
    for name in question.group_by:
        field = _FIELDS.get(name, name)
        groups[field] = by_time.get(name, field)
    return groups


def _query(question: Question, plan: Plan, groups: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    which = question.which
    conditions, values = _conditions(which)
    names = (*PER_CALL, *(LATENCY if question.latency else ()))
    fields = [field for field in groups.values() if field in _DIMENSIONS or field == "account_id"]
    event = ", ".join([LANE + " AS lane" if field == "lane" else field for field in fields])
    columns = f"{event}{', ' if event else ''}occurred_at AS at, {CALL_COLUMNS}"
    kept = ", ".join([*fields, "at", *names])
    of_events = ", ".join([*fields, "at", *(f"{OF_BUCKET.get(name, name)} AS {name}" for name in names)])
    values |= {"starts": [start for start, _ in plan.events], "ends": [end for _, end in plan.events]}
    parts = [
        f"SELECT {of_events} FROM {_ranges('')}"  # noqa: S608
        f" CROSS JOIN LATERAL (SELECT {columns} FROM usage_events e WHERE occurred_at >= r.starts"
        f" AND occurred_at < r.ends{conditions.replace(' lane ', f' {LANE} ')} OFFSET 0) events"
    ]
    for place, read in enumerate(plan.tables):
        parts.append(_rows_of(read, place, kept, conditions, has_account=which.account_id is not None))
        values[f"starts{place}"], values[f"ends{place}"] = map(list, zip(*read.ranges, strict=True))
    if plan.tables:
        parts.append(_pending(of_events, columns, conditions, has_account=which.account_id is not None))
        values |= {"since": which.since, "until": which.until}
    selected = ", ".join([*(f"{sql} AS {name}" for name, sql in groups.items()), *map(_total, names)])
    places = ", ".join(str(place + 1) for place in range(len(groups)))
    ending = f" GROUP BY {places} ORDER BY {places}" if groups else " HAVING count(*) > 0"
    source = " UNION ALL ".join(parts)
    return f"SELECT {selected} FROM ({source}) sums{ending} LIMIT :limit", values | {"limit": question.limit}  # noqa: S608


def _ranges(number: int | str) -> str:
    return f"unnest(CAST(:starts{number} AS timestamptz[]), CAST(:ends{number} AS timestamptz[])) AS r (starts, ends)"


def _rows_of(read: TableRanges, place: int, kept: str, conditions: str, *, has_account: bool) -> str:
    """The rows of a table: of an account by its index, range by range; of everybody in one pass."""
    rows = f"SELECT {kept} FROM {read.table.name} WHERE at >= r.starts AND at < r.ends{conditions}"  # noqa: S608
    one_by_one = " OFFSET 0" if has_account else ""
    return f"SELECT {kept} FROM {_ranges(place)} CROSS JOIN LATERAL ({rows}{one_by_one}) rows"  # noqa: S608


def _pending(of_events: str, columns: str, conditions: str, *, has_account: bool) -> str:
    """The calls of the span that are in no table yet, and in no range that is read from events."""
    of_account = " WHERE CAST(:account_id AS uuid) = ANY(p.account_ids)" if has_account else ""
    return (
        f"SELECT {of_events} FROM usage_pending p CROSS JOIN LATERAL unnest(p.request_ids) AS calls (id)"  # noqa: S608
        f" CROSS JOIN LATERAL (SELECT {columns} FROM usage_events e WHERE e.request_id = calls.id"
        " AND e.occurred_at >= p.since AND e.occurred_at <= p.until"
        " AND e.occurred_at >= :since AND e.occurred_at < :until"
        f" AND NOT EXISTS (SELECT FROM {_ranges('')} WHERE e.occurred_at >= r.starts AND e.occurred_at < r.ends)"
        f"{conditions.replace(' lane ', f' {LANE} ')} OFFSET 0) events{of_account}"
    )


def _conditions(which: UsageFilter) -> tuple[str, dict[str, Any]]:
    conditions, values = "", {}
    for name in ("account_id", "provider_id", "lane"):
        if (value := getattr(which, name)) is not None:
            conditions += f" AND {name} = :{name}"
            values[name] = value
    for name, kind in (("key_id", "uuid"), ("model_id", "text")):
        if (several := getattr(which, f"{name}s")) is not None:
            conditions += f" AND {name} = ANY(CAST(:{name}s AS {kind}[]))"
            values[f"{name}s"] = list(several)
    return conditions, values


def _total(name: str) -> str:
    return f"sum({name})::bigint AS {name}"


def _sum(row: Any, groups: Mapping[str, str], question: Question, boundaries: _Boundaries) -> UsageSum:  # noqa: ANN401
    found = dict(row._mapping)
    latency = tuple(found.pop(name) for name in LATENCY) if question.latency else None
    if boundaries.days:
        found["day"] = boundaries.days[found["day"]].astimezone(question.zone).date()
    if boundaries.months:
        found["month"] = f"{boundaries.months[found['month']].astimezone(question.zone):%Y-%m}"
    return UsageSum(**found, latency=latency)
