"""Writes instants in the reader's zone, with the zone's name: a time without one is no time. Pure."""

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError


def zone_of(name: str) -> ZoneInfo:
    """The zone of an IANA name; UTC for a name that is none."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ZoneInfo("UTC")


def day(value: date | datetime, zone: str = "UTC") -> str:
    """``2026-11-28``, of an instant in ``zone``."""
    return (value.astimezone(zone_of(zone)) if isinstance(value, datetime) else value).isoformat()[:10]


def moment(value: datetime, zone: str = "UTC") -> str:
    """``2026-11-28 09:15 CET``."""
    return f"{value.astimezone(zone_of(zone)):%Y-%m-%d %H:%M %Z}"


def second(value: datetime, zone: str = "UTC") -> str:
    """``2026-11-28 09:15:07 CET``."""
    return f"{value.astimezone(zone_of(zone)):%Y-%m-%d %H:%M:%S %Z}"


def iso(value: datetime) -> str:
    """For programs, and for who looks closer: UTC to the second."""
    return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
