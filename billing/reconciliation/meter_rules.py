"""Pure. Compares the days of an account with what Stripe's meters have of them."""

from collections.abc import Mapping
from datetime import date

from billing.money import NanoUSD
from billing.reconciliation.values import Found, Kind
from billing.stripe.mirror_rules import Measure
from store.ids import AccountId, wire


def object_of(account_id: AccountId, measure: Measure, day: date) -> str:
    """The name of a day in the queue of differences."""
    return f"meter:{wire(AccountId, account_id)}:{measure}:{day}"


def compare_days(
    account_id: AccountId, measure: Measure, ours: Mapping[date, int], theirs: Mapping[date, int]
) -> dict[date, Found]:
    """The days of which Stripe has another total than the ledger. Only that of the cost is an amount."""
    found = {}
    for day in sorted(ours.keys() | theirs.keys()):
        off = theirs.get(day, 0) - ours.get(day, 0)
        if off:
            unit = "nano-USD" if measure is Measure.COST else "tokens"
            message = f"Stripe's meter has {theirs.get(day, 0)} {unit}, the calls of the day are {ours.get(day, 0)}"
            amount = NanoUSD(off if measure is Measure.COST else 0)
            found[day] = Found(Kind.METER_DIFFERS, object_of(account_id, measure, day), amount, message)
    return found
