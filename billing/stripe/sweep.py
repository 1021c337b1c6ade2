"""Reads Stripe's lists again for what never came: events whose webhook was lost, movements of our balance.

Each list is read from a little before where it was read last. What is found goes the way of a webhook.
"""

from datetime import UTC, datetime, timedelta

from sqlalchemy import text

from billing.books import Check, Finding, posted_to
from billing.chart import HOUSE, LedgerKind
from billing.stripe import inbox, work
from billing.stripe.context import StripeContext
from billing.stripe.events import TYPES, notice_of
from billing.stripe.transactions import book, subject_of, unbooked
from billing.stripe.values import NANO_PER_CENT, Transaction
from store.ids import TopupId, wire

# Stripe's lists show what is new within moments; events can be listed for 30 days.
OVERLAP = timedelta(minutes=10)
FIRST_SINCE = timedelta(days=30)
# A page that is open for so long, or a payment that settles so long, is read again without an event.
QUIET_S = 3_600

_CURSOR = text("SELECT at FROM stripe_cursors WHERE name = :name")
_MOVE = text("""
    INSERT INTO stripe_cursors AS c (name, at) VALUES (:name, :at)
    ON CONFLICT (name) DO UPDATE SET at = greatest(c.at, EXCLUDED.at)
""")
_PENDING = text(f"""
    SELECT t.id, t.session_id FROM topups t LEFT JOIN stripe_work w ON w.subject = 'session:' || t.session_id
    WHERE t.status IN ('new', 'open', 'processing') AND NOT t.is_recharge
        AND t.changed_at < now() - interval '{QUIET_S} s'
        AND (w.subject IS NULL OR w.requested = w.done AND w.due_at < now() - interval '{QUIET_S} s') LIMIT 500
""")  # noqa: S608 - a constant


async def sweep_events(context: StripeContext) -> int:
    """Store the events that no webhook brought; returns how many those were."""
    since, until = await _since(context, "events")
    found = 0
    async for event in context.client.events(int(since.timestamp()), TYPES):
        if event.livemode is context.config.livemode:
            async with context.db.transaction() as tx:
                found += await inbox.store(tx, notice_of(event), "list")
    await _move_cursor(context, "events", until)
    return found


async def sweep_transactions(context: StripeContext) -> None:
    """Book the movements of our balance that the ledger does not have, and have explained what is not."""
    since, until = await _since(context, "transactions")
    listed = [one async for one in context.client.transactions(int(since.timestamp()))]
    for transaction in reversed(listed):
        if not await book(context.db, transaction):
            await _request(context, transaction)
    await _move_cursor(context, "transactions", until)
    async with context.db.transaction() as tx:
        waiting = await unbooked(tx)
    for transaction in waiting:
        await book(context.db, transaction)


async def sweep_pending(context: StripeContext) -> None:
    """Have top-ups read again of which nothing was heard for an hour."""
    async with context.db.transaction() as tx:
        for row in (await tx.execute(_PENDING)).all():
            subject = f"session:{row.session_id}" if row.session_id else f"topup:{wire(TopupId, row.id)}"
            await work.request(tx, subject)


async def clearing_difference(context: StripeContext) -> int:
    """By how many cents the ledger's clearing account is not what Stripe has of ours, at this moment."""
    balance = await context.client.balance()
    async with context.db.transaction(snapshot=True) as tx:
        clearing = await posted_to(tx, HOUSE[LedgerKind.STRIPE_CLEARING])
    return (-clearing - balance.cents * NANO_PER_CENT) // NANO_PER_CENT


def clearing_finding(difference: int) -> Finding:
    """The line of the books for a difference that stayed; what is under way is none."""
    return Finding(Check.STRIPE_IS_CLEARING, abs(difference), "cents by which stripe_clearing is not Stripe's balance")


async def _request(context: StripeContext, transaction: Transaction) -> None:
    if (subject := subject_of(transaction)) is not None:
        async with context.db.transaction() as tx:
            await work.request(tx, subject)


async def _since(context: StripeContext, name: str) -> tuple[datetime, datetime]:
    """From when on to read, and the instant of now, which is the next cursor."""
    now = context.db.clock.now()
    async with context.db.transaction() as tx:
        at: datetime | None = await tx.scalar(_CURSOR, {"name": name})
    return (now - FIRST_SINCE if at is None else at.astimezone(UTC)) - OVERLAP, now


async def _move_cursor(context: StripeContext, name: str, at: datetime) -> None:
    async with context.db.transaction() as tx:
        await tx.execute(_MOVE, {"name": name, "at": at})
