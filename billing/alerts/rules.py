"""Pure. Says which alerts of a cap or a budget are due: at 50, 80 and 100 % of it, and on a forecast.

The forecast is a linear pace: what was spent so far in the period, over the part of the period that has passed. It is
made once a tenth of the period has passed, since before that a single call would decide it, and while the amount is not
reached. A total has no end, hence no forecast.
"""

from datetime import datetime
from enum import StrEnum

import msgspec

from billing.cap_rules import period_end, period_start
from billing.money import NanoUSD
from billing.values import CapPeriod


class Threshold(StrEnum):
    """What an alert is raised at: a percentage of the amount that is spent, or a forecast above it."""

    HALF = "50"
    MOST = "80"
    ALL = "100"
    FORECAST = "forecast"


PERCENTAGES = (Threshold.HALF, Threshold.MOST, Threshold.ALL)
FORECAST_FROM = 0.1


class Spending(msgspec.Struct, frozen=True):
    """What is spent of an amount in the period that ``now`` (UTC) lies in."""

    period: CapPeriod
    amount: NanoUSD
    spent: NanoUSD
    now: datetime


def forecast(spending: Spending) -> NanoUSD | None:
    """What will be spent by the period's end at the pace so far; None where nothing is said of it."""
    start, end = period_start(spending.period, spending.now), period_end(spending.period, spending.now)
    if start is None or end is None:
        return None
    passed_us, whole_us = (int(span.total_seconds() * 1_000_000) for span in (spending.now - start, end - start))
    if passed_us < FORECAST_FROM * whole_us:
        return None
    return NanoUSD(spending.spent * whole_us // passed_us)


def due(spending: Spending) -> tuple[Threshold, ...]:
    """The alerts that should have been raised by now, in the order in which they are told."""
    if spending.amount <= 0:
        return ()
    passed = [one for one in PERCENTAGES if spending.spent * 100 >= spending.amount * int(one)]
    if Threshold.ALL not in passed and (forecast(spending) or 0) > spending.amount:
        passed.append(Threshold.FORECAST)
    return tuple(passed)
