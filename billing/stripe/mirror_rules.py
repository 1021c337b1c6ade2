"""Pure. What Stripe's meters are told of an account's usage, and until when.

A meter of ours is pre-aggregated by day: of a customer's day, Stripe counts the newest event alone, and sums days. So
an event has the total of its day so far, and whoever tells a later total, or the same one again, adds nothing twice.
Each revision of a day has an identifier of its own, since Stripe refuses a second event under one, and a later second
of the day as its timestamp: whether the newest is the last to come or the last by its timestamp, it is the same one.
"""

from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Final

import msgspec

from billing.stripe.values import Meter
from store.ids import AccountId, wire


class Measure(StrEnum):
    """What is metered; each is a meter at Stripe."""

    TOKENS = "tokens"
    COST = "cost"


EVENT_NAMES: Final[dict[Measure, str]] = {
    Measure.TOKENS: "gigarouter_tokens",
    Measure.COST: "gigarouter_cost_nano_usd",
}
_TITLES: Final[dict[Measure, str]] = {
    Measure.TOKENS: "Tokens (mirror of gigarouter)",
    Measure.COST: "Cost of calls in billionths of a USD (mirror of gigarouter)",
}
CUSTOMER_KEY, VALUE_KEY, WINDOW, FORMULA = "stripe_customer_id", "value", "day", "sum"
# Stripe takes events of the last 35 days. What would be that old while it is on its way is too old.
OLDEST: Final = timedelta(days=35)
ON_ITS_WAY: Final = timedelta(minutes=10)
# So far back days are looked at, so that what was charged too late for Stripe is seen, too.
LOOKED_BACK: Final = OLDEST + timedelta(days=10)
_LAST_SECOND: Final = 24 * 60 * 60 - 1
# What Stripe says of an identifier that it has: the event was taken before.
_DUPLICATE: Final = "already exists with identifier"


class MeteredDay(msgspec.Struct, frozen=True):
    """The total of an account's day so far, of one measure; ``revision`` counts how often it was told or grew."""

    account_id: AccountId
    measure: Measure
    day: date
    total: int
    revision: int

    @property
    def identifier(self) -> str:
        """By which Stripe knows that it has this revision; at most 100 letters."""
        return f"{wire(AccountId, self.account_id)}:{self.measure}:{self.day}:{self.revision}"

    @property
    def at(self) -> datetime:
        """The event's instant: as many seconds after the day's beginning as the revision says.

        None is in the future: a day has grown at most once a turn, and turns are minutes apart.
        """
        return _begin(self.day) + timedelta(seconds=min(self.revision, _LAST_SECOND))

    def is_too_old(self, now: datetime) -> bool:
        """Whether Stripe takes it no more."""
        return self.at < now - OLDEST + ON_ITS_WAY

    def event(self, customer: str) -> dict[str, object]:
        """What Stripe is told."""
        return {
            "event_name": EVENT_NAMES[self.measure],
            "identifier": self.identifier,
            "timestamp": int(self.at.timestamp()),
            "payload": {CUSTOMER_KEY: customer, VALUE_KEY: str(self.total)},
        }


def is_duplicate(message: str) -> bool:
    """Whether Stripe refused an event because it has it, which is as good as taking it."""
    return _DUPLICATE in message


def meter_of(measure: Measure) -> dict[str, object]:
    """What a meter is made from."""
    return {
        "event_name": EVENT_NAMES[measure],
        "display_name": _TITLES[measure],
        "default_aggregation": {"formula": FORMULA},
        "event_time_window": WINDOW,
        "customer_mapping": {"type": "by_id", "event_payload_key": CUSTOMER_KEY},
        "value_settings": {"event_payload_key": VALUE_KEY},
    }


def misfit_of(meter: Meter) -> str:
    """Why totals of days cannot be told to a meter of our name; empty where they can."""
    if meter.event_time_window == WINDOW and meter.default_aggregation.formula == FORMULA:
        return ""
    return (
        f"The meter {meter.event_name} at Stripe ({meter.id}) is not pre-aggregated by day and summed: it would add up "
        "totals that each contain the one before. Deactivate it there; another is made."
    )


def first_day(since: date, now: datetime) -> date:
    """The first day that is looked at, of a mirror since a day."""
    return max(since, (now - LOOKED_BACK).astimezone(UTC).date())


def _begin(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
