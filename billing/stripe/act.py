"""Works on what was requested: claims subjects, acts on each by its kind, and has tried again what did not work."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from billing.errors import BillingUnavailable
from billing.stripe import (
    checkout,
    collection_steps,
    disputes,
    invoice_payments,
    payments,
    portal,
    recharge_steps,
    refund_steps,
    sweep,
    work,
)
from billing.stripe.context import Later, StripeContext
from billing.stripe.errors import StripeRefused, StripeUnavailable
from billing.stripe.reviews import Cause, open_review
from billing.stripe.work import Task

log = structlog.get_logger("stripe")

# So many subjects at once, each claim waits for its slowest; the jobs process has several turns of it side by side.
AT_ONCE = 4
# Shorter than the lease, so that nobody works on a subject after its lease has ended.
DEADLINE_S = 90.0

Act = Callable[[StripeContext, Task], Awaitable[object]]
ACTS: dict[str, Act] = {
    "topup": lambda context, task: checkout.make_page(context, task.id),
    "session": lambda context, task: payments.act_on_session(context, task.id),
    "intent": lambda context, task: payments.act_on_intent(context, task.id, task.attempts),
    "recharge": lambda context, task: recharge_steps.act_on_recharge(context, task.id),
    "collection": lambda context, task: collection_steps.act_on_collection(context, task.id),
    "invoice": lambda context, task: invoice_payments.act_on_invoice(context, task.id),
    "portal": lambda context, task: portal.make_link(context, task.id),
    "charge": lambda context, task: payments.act_on_charge(context, task.id),
    "warning": lambda context, task: payments.act_on_warning(context, task.id),
    "order": lambda context, task: refund_steps.act_on_order(context, task.id, task.attempts),
    "refund": lambda context, task: refund_steps.act_on_refund(context, task.id),
    "dispute": lambda context, task: disputes.act_on_dispute(context, task.id),
    "payout": lambda context, task: sweep.sweep_transactions(context),
    "transactions": lambda context, task: sweep.sweep_transactions(context),
}


async def work_once(context: StripeContext) -> int:
    """Work on what is due; returns how many subjects that was."""
    tasks = await work.claim(context.db, AT_ONCE)
    outcomes = await asyncio.gather(*(_work(context, task) for task in tasks), return_exceptions=True)
    for task, outcome in zip(tasks, outcomes, strict=True):
        if isinstance(outcome, Exception):
            # Its lease ends by itself, and then it is tried again.
            log.error("stripe_work_failed", subject=task.subject, exc_info=outcome)
        elif outcome is not None:
            raise outcome
    return len(tasks)


async def _work(context: StripeContext, task: Task) -> None:
    try:
        async with asyncio.timeout(DEADLINE_S):
            await ACTS[task.kind](context, task)
    except Later as later:
        await work.postpone(context.db, task, str(later), later.wait_s)
    except (StripeUnavailable, BillingUnavailable, TimeoutError) as fault:
        log.warning("stripe_work_postponed", subject=task.subject, fault=str(fault)[:300])
        await work.postpone(context.db, task, str(fault) or type(fault).__name__)
    except StripeRefused as refused:
        async with context.db.transaction() as tx:
            await open_review(tx, task.subject, Cause.REFUSED, str(refused))
        await work.finish(context.db, task)
    else:
        await work.finish(context.db, task)
