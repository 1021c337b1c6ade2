"""Plans how a sum of usage is read: which whole hours or days from the sums, which edges from usage events. Pure.

A sum of an hour cannot be cut. So an hour in which the span begins or ends, or a day of the wanted zone, is read from
events: that is one hour a day where a zone's offset has half an hour, and nothing but the edges anywhere else.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)
Range = tuple[datetime, datetime]


class RollupTable(msgspec.Struct, frozen=True):
    """A table of sums: how much time a row has, and by what it can be grouped and filtered beside account and time."""

    name: str
    grain: timedelta
    dimensions: frozenset[str]


BY_KEY: Final = RollupTable("usage_by_key", HOUR, frozenset({"key_id"}))
BY_MODEL: Final = RollupTable("usage_by_model", HOUR, frozenset({"model_id", "lane"}))
BY_DAY: Final = RollupTable("usage_by_day", DAY, frozenset({"key_id", "model_id", "lane", "provider_id"}))


class Plan(msgspec.Struct, frozen=True):
    """``[since, until)`` of the table but for the grains that begin at ``cuts``; ``events`` are the other ranges.

    Without a table everything is read from events.
    """

    table: RollupTable | None
    since: datetime
    until: datetime
    cuts: tuple[datetime, ...]
    events: tuple[Range, ...]


def choose_table(dimensions: Iterable[str], *, grain: timedelta) -> RollupTable | None:
    """The table with the fewest rows that has these dimensions, of which ``grain`` is a whole number of rows."""
    wanted = frozenset(dimensions)
    for table in (BY_DAY, BY_KEY, BY_MODEL):
        if wanted <= table.dimensions and grain % table.grain == timedelta():
            return table
    return None


def plan_sum(
    since: datetime,
    until: datetime,
    table: RollupTable | None,
    complete_from: datetime | None,
    boundaries: Sequence[datetime] = (),
) -> Plan:
    """Plan a sum of ``[since, until)`` whose groups begin at ``boundaries``."""
    nothing = Plan(None, since, since, (), ((since, until),))
    if table is None or complete_from is None:
        return nothing
    first, last = _ceil(max(since, complete_from), table.grain), _floor(until, table.grain)
    if first >= last:
        return nothing
    inside = boundaries[bisect_left(boundaries, first) : bisect_left(boundaries, last)]
    cuts = tuple(sorted({_floor(at, table.grain) for at in inside if at != _floor(at, table.grain)}))
    whole = ((since, first), *((cut, cut + table.grain) for cut in cuts), (last, until))
    return Plan(table, first, last, cuts, tuple(range_ for range_ in whole if range_[0] < range_[1]))


def days_of(since: datetime, until: datetime, zone: ZoneInfo) -> list[datetime]:
    """The instants at which a zone's days begin: that in which ``since`` is, and those until ``until``."""
    day = since.astimezone(zone).date()
    days = []
    while (begins := day_begins(day, zone)) < until:
        days.append(begins)
        day += DAY
    return days


def day_begins(day: date, zone: ZoneInfo) -> datetime:
    """The instant at which a day begins in a zone: the first of two midnights, and after one that is skipped."""
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


def _floor(at: datetime, grain: timedelta) -> datetime:
    return at - (at - datetime(1970, 1, 1, tzinfo=UTC)) % grain


def _ceil(at: datetime, grain: timedelta) -> datetime:
    floor = _floor(at, grain)
    return floor if floor == at else floor + grain
