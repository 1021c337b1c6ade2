"""Plans how a sum of usage is read: what from sums of days, hours and quarter-hours, what from usage events. Pure.

A row of sums cannot be cut. So where the span, or a day of the wanted zone, begins or ends within a row, the time of
that row is read from a finer table, and what no table has from events. The midnights of all zones of today are on
quarter-hours of UTC: India's in the middle of an hour, Nepal's a quarter of an hour after its beginning.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final, Literal
from zoneinfo import ZoneInfo

import msgspec

QUARTER_HOUR: Final = timedelta(minutes=15)
HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)
Range = tuple[datetime, datetime]


class RollupTable(msgspec.Struct, frozen=True):
    """A table of sums: how much time a row has, and by what it can be grouped and filtered beside account and time.

    ``horizon``: the one of :class:`Horizons` from which on it is complete.
    """

    name: str
    grain: timedelta
    dimensions: tuple[str, ...]
    horizon: Literal["hours", "quarter_hours", "key_models"] = "hours"


BY_DAY: Final = RollupTable("usage_by_day", DAY, ("key_id", "model_id", "lane", "provider_id"))
BY_KEY: Final = RollupTable("usage_by_key", HOUR, ("key_id",))
BY_MODEL: Final = RollupTable("usage_by_model", HOUR, ("model_id", "lane"))
# Of a zone whose midnights cut hours, the hour of each midnight is read from events: a twenty-fourth of all.
BY_KEY_MODEL: Final = RollupTable("usage_by_key_model", HOUR, ("key_id", "model_id", "lane"), "key_models")
BY_KEY_QUARTER_HOUR: Final = RollupTable("usage_by_key_quarter_hour", QUARTER_HOUR, ("key_id",), "quarter_hours")
BY_MODEL_QUARTER_HOUR: Final = RollupTable(
    "usage_by_model_quarter_hour", QUARTER_HOUR, ("model_id", "lane"), "quarter_hours"
)
# Coarse before fine, and of one grain that with the fewest rows first.
TABLES: Final = (BY_DAY, BY_KEY, BY_MODEL, BY_KEY_MODEL, BY_KEY_QUARTER_HOUR, BY_MODEL_QUARTER_HOUR)


class Horizons(msgspec.Struct, frozen=True):
    """From when on the sums are complete, but for what is pending; None: there are none yet.

    ``quarter_hours`` is that of the tables by quarter-hour, ``key_models`` of that by key and model, ``hours`` of all
    others.
    """

    hours: datetime | None
    quarter_hours: datetime | None
    key_models: datetime | None

    def of(self, table: RollupTable) -> datetime | None:
        """From when on a table is complete."""
        found: datetime | None = getattr(self, table.horizon)
        return found

    def begun(self) -> dict[str, datetime] | None:
        """All of them by name; None where sums of one kind have not begun."""
        found = {name: at for name, at in msgspec.structs.asdict(self).items() if at is not None}
        return found if len(found) == len(self.__struct_fields__) else None


class TableRanges(msgspec.Struct, frozen=True):
    """What is read from one table: whole rows of some ranges of time."""

    table: RollupTable
    ranges: tuple[Range, ...]


class Plan(msgspec.Struct, frozen=True):
    """Which ranges of a span are read from tables of sums, and which from events: each instant is in one of them."""

    tables: tuple[TableRanges, ...]
    events: tuple[Range, ...]


def choose_tables(dimensions: Iterable[str], *, grain: timedelta) -> tuple[RollupTable, ...]:
    """The tables that have these dimensions, and of which ``grain`` is a whole number of rows: one of each grain."""
    wanted = frozenset(dimensions)
    of_grain: dict[timedelta, RollupTable] = {}
    for table in TABLES:
        if wanted <= frozenset(table.dimensions) and grain % table.grain == timedelta():
            of_grain.setdefault(table.grain, table)
    return tuple(of_grain.values())


def plan_sum(
    since: datetime,
    until: datetime,
    tables: Sequence[RollupTable],
    horizons: Horizons,
    boundaries: Sequence[datetime] = (),
) -> Plan:
    """Plan a sum of ``[since, until)`` whose groups begin at ``boundaries``, which are sorted."""
    rest: list[Range] = [(since, until)]
    read: list[TableRanges] = []
    for table in tables:
        complete_from = horizons.of(table)
        if complete_from is not None:
            taken = _merged(piece for range_ in rest for piece in _rows(range_, table, complete_from, boundaries))
            rest = _without(rest, taken)
            if taken:
                read.append(TableRanges(table, tuple(taken)))
    return Plan(tuple(read), tuple(rest))


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


def _rows(
    range_: Range, table: RollupTable, complete_from: datetime, boundaries: Sequence[datetime]
) -> Iterator[Range]:
    """The parts of a range that whole rows of a table have, none of which a boundary cuts."""
    first, last = _ceil(max(range_[0], complete_from), table.grain), _floor(range_[1], table.grain)
    for at in boundaries[bisect_right(boundaries, first) : bisect_left(boundaries, last)]:
        cut = _floor(at, table.grain)
        if cut != at:
            yield first, cut
            first = max(first, cut + table.grain)
    yield first, last


def _merged(ranges: Iterable[Range]) -> list[Range]:
    """Ranges in their order without those that are empty; one that begins where another ends is one with it."""
    merged: list[Range] = []
    for since, until in ranges:
        if since >= until:
            continue
        begins = merged.pop()[0] if merged and merged[-1][1] == since else since
        merged.append((begins, until))
    return merged


def _without(ranges: Sequence[Range], taken: Sequence[Range]) -> list[Range]:
    """What is left of ranges without others, each of which is within one of them; both are sorted."""
    left: list[Range] = []
    for since, until in ranges:
        within = taken[bisect_left(taken, (since,)) : bisect_left(taken, (until,))]
        begins = [since, *(last for _, last in within)]
        left += zip(begins, [*(first for first, _ in within), until], strict=True)
    return _merged(left)


def _floor(at: datetime, grain: timedelta) -> datetime:
    return at - (at - datetime(1970, 1, 1, tzinfo=UTC)) % grain


def _ceil(at: datetime, grain: timedelta) -> datetime:
    floor = _floor(at, grain)
    return floor if floor == at else floor + grain
