"""The jobs for Stripe: act on what it told, read its lists again, compare its balance with the ledger.

Only the jobs process imports this: Stripe's client is here, and in `serve` it is not.
"""

from functools import partial

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.books import Finding
from billing.documents.payment_provider import NO_PROVIDER, PaymentProvider
from billing.reconciliation.runs import RunKind
from billing.stripe import collections, mirrors, recharges, sweep, work
from billing.stripe.act import work_once
from billing.stripe.client import StripeClient
from billing.stripe.config import StripeConfig
from billing.stripe.context import StripeContext
from billing.stripe.minimum_amounts import MINIMUMS
from billing.stripe.mirror_steps import mirror_usage
from billing.stripe.portal_links import erase_old
from billing.stripe.recharge_moves import stop_closed
from billing.stripe.tax import decide_tax_at_stripe
from billing.stripe.values import CURRENCY
from gigarouter.reconcile_job import reconcile
from gigarouter.topup_documents import request_refund_document, request_topup_document
from router.changes.audit import Actor, Change, record_changes
from router.context import RouterContext
from store.ids import AccountId, wire

log = structlog.get_logger("stripe")

# How long a turn waits for a notification; what was postponed is due without one.
WAIT_S = 1.0
# The same where no payments are taken.
IDLE_S = 60.0
ACTOR = Actor("process:jobs")


class StripeJobs:
    """What the jobs for Stripe share: the client, and by how much the balance differed at the last turn."""

    def __init__(self, config: StripeConfig | None) -> None:
        self._client = None if config is None else StripeClient(config)
        self._difference = 0

    async def close(self) -> None:
        """Close the client's connections."""
        if self._client is not None:
            await self._client.close()

    async def act(self, context: RouterContext) -> None:
        """Work on all that is due, then wait for a second until something is."""
        stripe = self._context(context)
        if stripe is None:
            await context.stripe_work.wait(IDLE_S)
            return
        if context.generation.is_ready:
            while await work_once(stripe):
                pass
        await context.stripe_work.wait(WAIT_S, unless=lambda: work.is_due(context.db))

    async def sweep(self, context: RouterContext) -> None:
        """Read Stripe's lists again for what never came."""
        stripe = self._context(context)
        if stripe is None:
            return
        await sweep.sweep_events(stripe)
        await sweep.sweep_transactions(stripe)
        await sweep.sweep_pending(stripe)

    async def recharge(self, context: RouterContext) -> None:
        """Order recharges for accounts whose credit fell below their threshold, and go on with those that are due."""
        stripe = self._context(context)
        if stripe is not None:
            await stop_closed(stripe)
            await recharges.start_needed(context.db)
            await recharges.request_due(context.db)

    async def collect(self, context: RouterContext) -> None:
        """Have those invoices looked at of which Stripe demands more than is open, or nothing was heard."""
        if self._context(context) is not None:
            await collections.request_due(context.db)

    def payment_provider(self, context: RouterContext) -> PaymentProvider:
        """What Stripe does about invoices: collects them, and decides their tax where it is set to."""
        client, config = self._client, context.stripe
        if client is None or config is None:
            return NO_PROVIDER
        decide_tax = partial(decide_tax_at_stripe, client) if config.automatic_tax else None
        return PaymentProvider(
            collect=collections.start_collection, least_cents=MINIMUMS[CURRENCY], decide_tax=decide_tax
        )

    async def check(self, context: RouterContext) -> Finding:
        """Compare Stripe's balance with the ledger; a difference counts that was the same at the turn before."""
        stripe = self._context(context)
        if stripe is None:
            return sweep.clearing_finding(0)
        before, self._difference = self._difference, await sweep.clearing_difference(stripe)
        return sweep.clearing_finding(self._difference if self._difference == before else 0)

    async def reconcile(self, context: RouterContext) -> None:
        """Compare all that Stripe has with the ledger, where that is due or somebody asked for it."""
        stripe = self._context(context)
        if stripe is not None:
            await reconcile(context, RunKind.STRIPE, stripe)

    async def mirror(self, context: RouterContext) -> None:
        """Tell Stripe's meters what the usage of mirrored accounts has come to."""
        stripe = self._context(context)
        if stripe is not None and (taken := await mirror_usage(stripe, context.db.clock.now())):
            log.info("usage_mirrored", days=taken)

    async def compare_meters(self, context: RouterContext) -> None:
        """Compare mirrored usage with Stripe's meters, where that is due or somebody asked for it."""
        stripe = self._context(context)
        if stripe is not None:
            await reconcile(context, RunKind.METERS, stripe)

    async def forget_old(self, context: RouterContext) -> None:
        """Delete events and work that are over, links to the portal that have ended, and days that were mirrored."""
        await work.forget_old(context.db)
        async with context.db.transaction() as tx:
            await erase_old(tx)
            await mirrors.forget_old(tx)

    def _context(self, context: RouterContext) -> StripeContext | None:
        if self._client is None or context.stripe is None:
            return None
        return StripeContext(
            db=context.db,
            client=self._client,
            config=context.stripe,
            admission=context.admission,
            projection=context.projection,
            generation=context.generation,
            issue_document=request_topup_document,
            record_change=_record_change,
            issue_refund_document=request_refund_document,
        )


async def _record_change(
    tx: AsyncConnection, action: str, account_id: AccountId, facts: dict[str, str], reason: str
) -> None:
    change = Change(action, wire(AccountId, account_id), account_id, after={**facts}, reason=reason)
    await record_changes(tx, ACTOR, [change])
