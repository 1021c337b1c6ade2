"""Reads months, quarters and years as spans of time in UTC: ``2026-11``, ``2026-Q4``, ``2026``."""

import re
from datetime import UTC, datetime
from typing import Annotated, TypeAlias

import msgspec

from router.api.fields import TextValue

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
