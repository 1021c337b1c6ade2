"""Reads days of a filter in the zone of its reader, as the instants that operations take, whose own days are UTC's."""

from datetime import UTC, date, datetime

from router.api.zones import zone_of
from web.faults import InvalidInput


def day_begins(text: str, zone: str) -> str:
    """The instant at which a day of ``zone`` begins, where a day was typed; anything else as it is.

    Raises :class:`InvalidInput` for a zone that there is not.
    """
    try:
        place = zone_of(zone)
    except ValueError:
        raise InvalidInput("There is no such time zone: name one as Europe/Berlin.", "zone") from None
    try:
        day = date.fromisoformat(text)
        return f"{datetime(day.year, day.month, day.day, tzinfo=place).astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    except (ValueError, OverflowError):
        return text
