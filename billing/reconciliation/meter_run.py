"""Compares the days of mirrored accounts with what Stripe's meters have of them.

First Stripe is told all that it lacks. A day that is over since a day at least, and was not told within the hour, is
looked at: what differs is in the queue, and is told once more, as long as Stripe takes it.
"""

from datetime import UTC, date, datetime, time, timedelta

from billing.reconciliation import differences
from billing.reconciliation.meter_rules import compare_days, object_of
from billing.reconciliation.stripe_run import Result
from billing.reconciliation.values import Found
from billing.stripe import mirrors
from billing.stripe.checkout import find_customer
from billing.stripe.context import StripeContext
from billing.stripe.mirror_rules import Measure, first_day
from billing.stripe.mirror_steps import find_meters, mirror_usage
from billing.stripe.values import Meter
from store.ids import AccountId

SCOPE = "meters"
# Stripe sums events minutes after it took them.
OVER_SINCE = timedelta(days=1)


async def reconcile(context: StripeContext) -> Result:
    """Compare, and keep what differs in the queue. Raises :class:`billing.stripe.errors.StripeFault`."""
    now = context.db.clock.now()
    await mirror_usage(context, now)
    async with context.db.transaction() as tx:
        accounts = await mirrors.list_on(tx)
    meters = await find_meters(context) if accounts else {}
    found: list[Found] = []
    examined: set[str] = set()
    for account_id, since in accounts.items():
        async with context.db.transaction(snapshot=True) as tx:
            ours = await mirrors.read_days(tx, account_id, first_day(since, now), now)
            unsettled = await mirrors.list_unsettled(tx, account_id)
        days = _days(first_day(since, now), now)
        for measure in Measure:
            settled = [day for day in days if (measure, day) not in unsettled]
            theirs = await _read_meter(context, account_id, meters.get(measure), days)
            differing = compare_days(
                account_id,
                measure,
                {day: ours[measure][day] for day in settled if day in ours[measure]},
                {day: theirs[day] for day in settled if day in theirs},
            )
            found += differing.values()
            examined |= {object_of(account_id, measure, day) for day in settled}
            async with context.db.transaction() as tx:
                await mirrors.tell_again(tx, account_id, measure, differing)
    async with context.db.transaction() as tx:
        await differences.record_found(tx, SCOPE, found, examined)
    return Result(len(examined), found)


def _days(first: date, now: datetime) -> list[date]:
    """The days from the first on that are over for long enough."""
    until = (now - OVER_SINCE).astimezone(UTC).date()
    return [first + timedelta(days=number) for number in range(max(0, (until - first).days))]


async def _read_meter(
    context: StripeContext, account_id: AccountId, meter: Meter | None, days: list[date]
) -> dict[date, int]:
    customer = await find_customer(context, account_id)
    if meter is None or customer is None or not days:
        return {}
    since, until = (int(datetime.combine(day, time(), UTC).timestamp()) for day in (days[0], days[-1]))
    whole = context.client.meter_days(meter.id, customer, since, until + 24 * 60 * 60)
    return {datetime.fromtimestamp(one.start_time, UTC).date(): round(one.aggregated_value) async for one in whole}
