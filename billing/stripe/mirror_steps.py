"""Tells Stripe's meters the totals of days that grew: a mirror, by which nothing is charged and nobody is stopped.

One process at a time tells, and a later total of a day only once the one before was answered. Killed between telling
and noting it, the next tells the same event again, which Stripe refuses as one that it has. Where Stripe does not
answer, the days wait, and grow; it is then told the newest total alone.
"""

from datetime import datetime

import structlog
from sqlalchemy import text

from billing.stripe import mirrors
from billing.stripe.checkout import find_or_make_customer
from billing.stripe.context import StripeContext
from billing.stripe.errors import StripeRefused
from billing.stripe.mirror_rules import EVENT_NAMES, Measure, MeteredDay, is_duplicate, meter_of, misfit_of
from billing.stripe.values import Meter

log = structlog.get_logger("stripe")

# Days that are read at once.
BATCH = 200
# Its transaction is idle while the others work.
_TAKE_TURN = text("""
    SELECT pg_try_advisory_xact_lock(hashtext('gigarouter meters'))
    FROM set_config('idle_in_transaction_session_timeout', '30min', true)
""")


async def mirror_usage(context: StripeContext, now: datetime) -> int:
    """Measure the days of mirrored accounts and tell what grew; returns how many days Stripe has taken.

    Raises :class:`billing.stripe.errors.StripeUnavailable`: what was not told waits.
    """
    async with context.db.transaction() as turn:
        if not await turn.scalar(_TAKE_TURN):
            return 0
        async with context.db.transaction() as tx:
            accounts = await mirrors.list_on(tx)
        for account_id, since in accounts.items():
            async with context.db.transaction() as tx:
                await mirrors.measure(tx, account_id, since, now)
        return await _tell_all(context, now) if accounts else 0


async def find_meters(context: StripeContext) -> dict[Measure, Meter]:
    """Our meters, as far as there are any at Stripe."""
    by_name = {one.event_name: one async for one in context.client.meters()}
    return {measure: by_name[name] for measure, name in EVENT_NAMES.items() if name in by_name}


async def _tell_all(context: StripeContext, now: datetime) -> int:
    taken, misfits = 0, None
    while True:
        async with context.db.transaction() as tx:
            waiting = await mirrors.list_waiting(tx, BATCH)
        if not waiting:
            return taken
        if misfits is None:
            misfits = await _require_meters(context, now)
        for day in waiting:
            taken += await _tell(context, day, now, misfits[day.measure])


async def _tell(context: StripeContext, day: MeteredDay, now: datetime, misfit: str) -> bool:
    """Tell one day; whether Stripe has it. Each outcome is noted, so that it waits no more, or for an hour."""
    if day.is_too_old(now):
        async with context.db.transaction() as tx:
            await mirrors.give_up(tx, day)
        log.warning("metered_day_too_old", day=day.identifier, total=day.total)
        return False
    fault = misfit
    if not fault:
        try:
            customer = await find_or_make_customer(context, day.account_id, f"meters:{now:%Y-%m-%dT%H}")
            await context.client.tell_meter(day.event(customer))
        except StripeRefused as refused:
            fault = "" if is_duplicate(str(refused)) else str(refused)
    async with context.db.transaction() as tx:
        if fault:
            await mirrors.note_refused(tx, day, fault)
        else:
            await mirrors.note_sent(tx, day)
    return not fault


async def _require_meters(context: StripeContext, now: datetime) -> dict[Measure, str]:
    """Make the meters that are missing; why each cannot take totals of days, or nothing."""
    found = await find_meters(context)
    for measure in Measure:
        if measure not in found:
            # After a failure of Stripe's own its key answers with that for a day.
            key = f"meter:{EVENT_NAMES[measure]}:{now:%Y-%m-%dT%H}"
            found[measure] = await context.client.create_meter(meter_of(measure), key)
    return {measure: misfit_of(meter) for measure, meter in found.items()}
