"""Reads which span of time, zone, and grouping an address of the usage page means."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Final, Literal
from zoneinfo import ZoneInfo

import msgspec

from billing.rollups.read import ZONE_SPAN_MAX
from router.api.zones import zone_of
from store.ids import KeyId, parse
from web.faults import InvalidInput
from web.parts.chart import BUCKETS_MAX

DAY: Final = timedelta(days=1)
FIRST_DAY, LAST_DAY = date(2020, 1, 1), date(2200, 1, 1)
# By the hour up to so many days, by the day up to what a chart has, by the month beyond.
HOURS_DAYS_MAX = 4
Each = Literal["hour", "day", "month"]
By = Literal["model", "key", "lane"]


class UsageFields(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of the address. ``to`` is the last day that is shown."""

    since: date | None = msgspec.field(name="from", default=None)
    until: date | None = msgspec.field(name="to", default=None)
    zone: str = ""
    by: By = "model"
    each: Each | Literal[""] = ""
    key_id: str = ""
    model: str = ""


class UsageSpan(msgspec.Struct, frozen=True):
    """Whole days of a zone, ``first`` to ``last``, and the time between them; ``each`` is what a bucket has."""

    first: date
    last: date
    zone: ZoneInfo
    each: Each
    since: datetime
    until: datetime

    @property
    def days(self) -> int:
        """How many days the span has."""
        return (self.last - self.first).days + 1

    def before(self) -> tuple[datetime, datetime]:
        """The time of as many days before."""
        return begins(self.first - self.days * DAY, self.zone), self.since

    def buckets(self) -> list[tuple[str, object]]:
        """The name of each bucket, and its value in a sum."""
        return list(self._buckets())

    def _buckets(self) -> Iterator[tuple[str, object]]:
        if self.each == "hour":
            at = self.since.replace(minute=0)
            while at < self.until:
                yield hour_name(at, self.zone), at
                at += timedelta(hours=1)
            return
        day, month = self.first, ""
        while day <= self.last:
            if self.each == "day":
                yield f"{day:%m-%d}", day
            elif (name := f"{day:%Y-%m}") != month:
                month = name
                yield month, month
            day += DAY


def hour_name(at: datetime, zone: ZoneInfo) -> str:
    """``11-01 00:00``; an hour that comes twice, when clocks are set back, says which of the two it is."""
    local = at.astimezone(zone)
    is_twice = local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset()
    return f"{local:%m-%d %H:%M %Z}" if is_twice else f"{local:%m-%d %H:%M}"


def span_of(fields: UsageFields, now: datetime, zone_name: str) -> UsageSpan:
    """The span that an address means; by default the last thirty days. Raises :class:`InvalidInput`."""
    try:
        zone = zone_of(fields.zone or zone_name)
    except ValueError:
        raise InvalidInput("There is no such time zone: name one as Europe/Berlin.", "zone") from None
    today = now.astimezone(zone).date()
    last = fields.until or today
    first = fields.since or last - 29 * DAY
    for name, day in (("from", first), ("to", last)):
        if not FIRST_DAY <= day < LAST_DAY:
            raise InvalidInput(f"Days are from {FIRST_DAY} on.", name)
    if last < first:
        raise InvalidInput("The first day comes before the last.", "from")
    days = (last - first).days + 1
    if days * DAY > ZONE_SPAN_MAX:
        raise InvalidInput("A span has at most three years.", "from")
    return UsageSpan(first, last, zone, each_of(fields.each, days), begins(first, zone), begins(last + DAY, zone))


def each_of(wanted: Each | Literal[""], days: int) -> Each:
    """What a bucket has: as wanted, where a chart takes that many."""
    if wanted == "hour" and days <= HOURS_DAYS_MAX:
        return "hour"
    if wanted == "month" or days > BUCKETS_MAX:
        return "month"
    return "hour" if wanted == "" and days == 1 else "day"


def begins(day: date, zone: ZoneInfo) -> datetime:
    """The instant at which a day begins."""
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


def key_of(fields: UsageFields) -> tuple[KeyId, ...] | None:
    """The key that is filtered by. Raises :class:`InvalidInput`."""
    if not fields.key_id:
        return None
    try:
        return (KeyId(parse(KeyId, fields.key_id)),)
    except ValueError:
        raise InvalidInput("A key is named by its id, such as key_….", "key_id") from None


def presets(today: date) -> list[tuple[str, date, date]]:
    """Spans to choose: their name, first and last day."""
    month = today.replace(day=1)
    before = month - DAY
    return [
        ("Today", today, today),
        ("7 days", today - 6 * DAY, today),
        ("30 days", today - 29 * DAY, today),
        ("90 days", today - 89 * DAY, today),
        ("This month", month, today),
        ("Last month", before.replace(day=1), before),
    ]
