"""Which alerts are due, as a table: so much is spent of an amount, at such an instant of a period."""

from datetime import datetime

import pytest

from billing.alerts.deliveries import GIVEN_UP_AFTER, LAST_PAUSE, pause_after
from billing.alerts.rules import Spending, due, forecast
from billing.money import NanoUSD
from billing.values import CapPeriod

# Period, instant (UTC), spent of 1,000, the forecast by the period's end, and the alerts that are due.
DUE = """
    total  2026-11-16T00:00   499     -   -
    total  2026-11-16T00:00   500     -   50
    total  2026-11-16T00:00   800     -   50 80
    total  2026-11-16T00:00  1000     -   50 80 100
    total  2026-11-16T00:00  5000     -   50 80 100
    month  2026-11-03T23:59   400     -   -
    month  2026-11-04T00:00   100  1000   -
    month  2026-11-04T00:00   101  1010   forecast
    month  2026-11-16T00:00   499   998   -
    month  2026-11-16T00:00   501  1002   50 forecast
    month  2026-11-16T00:00   999  1998   50 80 forecast
    month  2026-11-16T00:00  1000  2000   50 80 100
    month  2026-02-15T00:00   501  1002   50 forecast
    day    2026-11-16T02:23   900     -   50 80
    day    2026-11-16T02:24   101  1010   forecast
    day    2026-11-16T12:00   500  1000   50
    day    2026-11-16T23:59   999   999   50 80
"""


@pytest.mark.parametrize("line", DUE.strip().splitlines(), ids=lambda line: " ".join(line.split()[:3]))
def test_an_alert_is_due_at_its_share_and_by_the_pace_of_the_period(line: str) -> None:
    period, at, spent, expected, *thresholds = line.split()
    now = datetime.fromisoformat(f"{at}:00+00:00")
    spending = Spending(CapPeriod(period), NanoUSD(1_000), NanoUSD(int(spent)), now)
    assert str(forecast(spending) or "-") == expected
    assert [one.value for one in due(spending)] == [name for name in thresholds if name != "-"]


def test_an_amount_of_nothing_alerts_of_nothing() -> None:
    now = datetime.fromisoformat("2026-11-16T12:00:00+00:00")
    assert due(Spending(CapPeriod.DAY, NanoUSD(0), NanoUSD(7), now)) == ()


def test_a_delivery_is_tried_at_growing_pauses_for_a_day() -> None:
    pauses = [pause_after(attempts) for attempts in range(1, 40)]
    assert [pause.total_seconds() for pause in pauses[:4]] == [5, 15, 45, 135]
    assert pauses == sorted(pauses)
    assert pauses[-1] == LAST_PAUSE < GIVEN_UP_AFTER
