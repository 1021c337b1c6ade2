"""Instants and periods as people type them, always UTC: 2026-12-31, 2026-12-31T18:00Z, 30d; 2026-11, 2026-Q4, 2026."""

import re
from datetime import UTC, datetime, timedelta

from gigarouter.commands.admin.options import Usage

_SPAN = re.compile(r"(\d{1,5})([hdw])")
_HOURS = {"h": 1, "d": 24, "w": 168}
_PERIOD = re.compile(r"(\d{4})(?:-(?:(\d{2})|Q([1-4])))?")


def instant_of(text: str | None, now: datetime | None = None) -> datetime | None:
    """A date is its beginning; ``12h``, ``30d`` and ``2w`` count from now."""
    if text is None:
        return None
    if span := _SPAN.fullmatch(text):
        return (now or datetime.now(UTC)) + timedelta(hours=int(span[1]) * _HOURS[span[2]])
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise Usage(f"{text!r} is no instant such as 2026-12-31, 2026-12-31T18:00Z or 30d.") from None
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)


def instant_text(text: str) -> str:
    """The same as the API takes it: RFC 3339 in UTC. Raises :class:`Usage`."""
    at = instant_of(text)
    assert at is not None, "text was given; this is a bug"
    return at.isoformat().replace("+00:00", "Z")


def period_of(text: str) -> tuple[datetime, datetime]:
    """A month, quarter or year as ``[since, until)``."""
    found = _PERIOD.fullmatch(text)
    if found is None or (found[2] and not 1 <= int(found[2]) <= 12):
        raise Usage(f"{text!r} is no period such as 2026-11, 2026-Q4 or 2026.")
    year = int(found[1])
    if found[2]:
        return _months(year, int(found[2]), 1)
    if found[3]:
        return _months(year, int(found[3]) * 3 - 2, 3)
    return _months(year, 1, 12)


def _months(year: int, month: int, count: int) -> tuple[datetime, datetime]:
    ends = month - 1 + count
    return datetime(year, month, 1, tzinfo=UTC), datetime(year + ends // 12, ends % 12 + 1, 1, tzinfo=UTC)
