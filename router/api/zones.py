"""Reads time zones by their IANA names, and spans of time whose days begin at a zone's midnight."""

from datetime import UTC, datetime
from functools import cache
from typing import Annotated, TypeAlias
from zoneinfo import ZoneInfo, available_timezones

from pydantic import Field
from typing_extensions import override

from billing.rollups.read import UTC_ZONE, ZONE_SPAN_MAX
from router.api.fields import DAY_TEXT, TextValue, instant_of, rfc3339
from router.api.periods import Period, SpanQuery, month_of, span_of
from router.errors import InvalidRequest

NAME_MAX = 64


@cache
def zone_names() -> frozenset[str]:
    """The names of all zones that this machine knows."""
    return frozenset(available_timezones())


def zone_of(name: str) -> ZoneInfo:
    """The zone of a name. Raises ``ValueError``."""
    if len(name) > NAME_MAX or name not in zone_names():
        raise ValueError(name)
    return ZoneInfo(name)


def _day_or_instant(text: str) -> datetime:
    """The midnight of a day, without a zone yet, or an instant."""
    return datetime.fromisoformat(text) if DAY_TEXT.fullmatch(text) else instant_of(text)


Zone: TypeAlias = Annotated[
    ZoneInfo, TextValue(zone_of, str, "a time zone of the IANA database, such as Europe/Berlin", examples=["UTC"])
]
ZonedDayOrInstant: TypeAlias = Annotated[
    datetime,
    TextValue(_day_or_instant, rfc3339, "a day, such as 2027-01-31, or an instant, such as 2027-01-31T12:00:00Z"),
]


class ZonedSpanQuery(SpanQuery):
    """Which span of time, in which zone."""

    timezone: Zone = Field(UTC_ZONE, description="The zone of days and months, by its IANA name; by default UTC.")
    since: ZonedDayOrInstant | None = Field(None, alias="from", description="From this day or instant on.")
    until: ZonedDayOrInstant | None = Field(
        None, alias="to", description="Up to this day or instant, which is not part of it; by default now."
    )

    @override
    def span(self, now: datetime) -> Period:
        """The span that is meant at ``now``. Raises ``InvalidRequest``."""
        zone = self.timezone
        period = None if self.period is None else in_zone(self.period, zone)
        since, until = _instant_in(self.since, zone), _instant_in(self.until, zone)
        span = span_of(period, since, until, now) or in_zone(month_of(now.astimezone(zone)), zone)
        if zone != UTC_ZONE and span.until - span.since > ZONE_SPAN_MAX:
            raise InvalidRequest("In another zone than UTC a span has at most three years.", param="from")
        return span


def in_zone(period: Period, zone: ZoneInfo) -> Period:
    """A period of whole days, from midnight to midnight of a zone. Raises ``InvalidRequest`` at the end of time."""
    try:
        since, until = (at.replace(tzinfo=zone).astimezone(UTC) for at in (period.since, period.until))
    except OverflowError:
        raise InvalidRequest("That is no time that this zone has.", param="period") from None
    return Period(since, until)


def _instant_in(at: datetime | None, zone: ZoneInfo) -> datetime | None:
    if at is None or at.tzinfo is not None:
        return at
    try:
        return at.replace(tzinfo=zone).astimezone(UTC)
    except OverflowError:
        raise InvalidRequest("That is no day that this zone has.", param="from") from None
