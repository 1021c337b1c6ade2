"""Compares the ledger with Stripe, its meters, and providers' invoices: every night, and when somebody asks for it."""

from datetime import timedelta

import structlog
from sqlalchemy import text

from billing.reconciliation import meter_run, provider_run, stripe_run
from billing.reconciliation.runs import Run, RunKind, end_run, find_queued, last_ended_at, request_run
from billing.stripe.context import StripeContext
from billing.stripe.errors import StripeFault, StripeUnavailable
from router.context import RouterContext

log = structlog.get_logger("jobs")

EVERY = timedelta(hours=24)
NIGHTLY = "process:jobs"
# Its transaction is idle while the others work.
_TAKE_TURN = text("""
    SELECT pg_try_advisory_xact_lock(hashtext('gigarouter reconciliation ' || :kind))
    FROM set_config('idle_in_transaction_session_timeout', '30min', true)
""")


async def reconcile(context: RouterContext, kind: RunKind, stripe: StripeContext | None = None) -> None:
    """Run the comparison of a kind that waits, or is due; one process at a time does it."""
    async with context.db.transaction() as turn:
        if not await turn.scalar(_TAKE_TURN, {"kind": kind.value}):
            return
        run = await _next(context, kind)
        if run is None:
            return
        try:
            examined, found = await _compare(context, kind, stripe)
        except StripeFault as fault:
            async with context.db.transaction() as tx:
                await end_run(tx, run, failure=f"{type(fault).__name__}: {fault}")
            if isinstance(fault, StripeUnavailable):
                log.warning("reconciliation_failed", kind=kind.value, fault=str(fault)[:200])
                return
            raise
        async with context.db.transaction() as tx:
            await end_run(tx, run, examined=examined, found=found)
        log.info("reconciled", kind=kind.value, examined=examined, found=found)


async def _next(context: RouterContext, kind: RunKind) -> Run | None:
    async with context.db.transaction() as tx:
        run = await find_queued(tx, kind)
        last = await last_ended_at(tx, kind)
        if run is None and (last is None or context.db.clock.now() - last > EVERY):
            run = await request_run(tx, kind, NIGHTLY)
        return run


async def _compare(context: RouterContext, kind: RunKind, stripe: StripeContext | None) -> tuple[int, int]:
    if kind is RunKind.PROVIDERS:
        return await provider_run.reconcile(context.db)
    assert stripe is not None, "without Stripe there is nothing to compare; this is a bug"
    result = await (meter_run if kind is RunKind.METERS else stripe_run).reconcile(stripe)
    return result.examined, len(result.found)
