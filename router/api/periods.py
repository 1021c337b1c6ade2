"""Reads spans of time in UTC: ``2026-11``, ``2026-Q4``, ``2026``, or from one day or instant to another."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Literal, TypeAlias

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from router.api.fields import DayOrInstant, TextValue
from router.errors import InvalidRequest

_PERIOD = re.compile(r"([0-9]{4})(?:-(?:(0[1-9]|1[0-2])|Q([1-4])))?")


class Period(msgspec.Struct, frozen=True):
    """``[since, until)``."""

    since: datetime
    until: datetime


def period_of(text: str) -> Period:
    """A month, quarter or year. Raises ``ValueError``."""
    found = _PERIOD.fullmatch(text)
    if found is None:
        raise ValueError(text)
    year = int(found[1])
    if found[2]:
        return _months(year, int(found[2]), 1)
    if found[3]:
        return _months(year, int(found[3]) * 3 - 2, 3)
    return _months(year, 1, 12)


def month_of(at: datetime) -> Period:
    """The month that an instant is in."""
    return _months(at.year, at.month, 1)


def _months(year: int, month: int, count: int) -> Period:
    ends = month - 1 + count
    return Period(datetime(year, month, 1, tzinfo=UTC), datetime(year + ends // 12, ends % 12 + 1, 1, tzinfo=UTC))


PeriodText: TypeAlias = Annotated[
    Period,
    TextValue(period_of, str, "a month, quarter or year in UTC: 2026-11, 2026-Q4 or 2026", pattern=_PERIOD.pattern),
]


def first_day_of(text: str) -> date:
    """The first day of a month such as 2026-11. Raises ``ValueError``."""
    found = period_of(text)
    if found.until - found.since > timedelta(days=31):
        raise ValueError(text)
    return found.since.date()


MonthText: TypeAlias = Annotated[
    date, TextValue(first_day_of, "{:%Y-%m}".format, "a month in UTC: 2026-11", pattern="^[0-9]{4}-(0[1-9]|1[0-2])$")
]


class SpanFields(BaseModel):
    """Which span of time."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    period: PeriodText | None = Field(
        None, description="A month, quarter or year in UTC, such as 2026-11, 2026-Q4, 2026; by default this month."
    )
    since: DayOrInstant | None = Field(None, alias="from", description="From this day (UTC) or instant on.")
    until: DayOrInstant | None = Field(
        None, alias="to", description="Up to this day (UTC) or instant, which is not part of it; by default now."
    )

    def span(self, now: datetime) -> Period:
        """The span that is meant at ``now``. Raises ``InvalidRequest``."""
        return span_of(self.period, self.since, self.until, now) or month_of(now)


def span_of(period: Period | None, since: datetime | None, until: datetime | None, now: datetime) -> Period | None:
    """A period, or the span from one instant to another or to ``now``; None: neither. Raises ``InvalidRequest``."""
    if since is None and until is None:
        return period
    if period is not None:
        raise InvalidRequest("Give 'period', or 'from' and 'to'.", param="period")
    if since is None:
        raise InvalidRequest("'from' is missing.", param="from")
    span = Period(since, until or now)
    if span.until <= span.since:
        raise InvalidRequest("'from' is before 'to'.", param="from")
    return span


class SpanQuery(SpanFields):
    """Which span of time, and in which format."""

    format: Literal["json", "csv"] | None = Field(None, description="json or csv; by default as Accept says.")
