"""Credits what was paid: reads session and payment again at Stripe, judges them by our own row, and books once.

An event is never believed, only what Stripe answers now. Two events tell of one payment, in any order and number; the
grant's source is the top-up, so it is given once whatever happens.
"""

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.ledger import CreditTooLarge
from billing.stripe.checkout import find_customer
from billing.stripe.collections import find_payment
from billing.stripe.context import Later, StripeContext
from billing.stripe.credit import credit_topup, move_topup
from billing.stripe.invoice_payments import act_on_invoice_payment
from billing.stripe.reviews import Cause, open_review
from billing.stripe.topup_rules import MOVES, Order, TopupStatus, Verdict, judge
from billing.stripe.topups import Topup, find_topup
from billing.stripe.transactions import book
from billing.stripe.values import Intent, Session
from store.ids import TopupId, parse

# So many turns a page gets to say that it was paid after its payment did.
TURNS_MAX = 10
_TOO_LARGE = "It is paid, and the account cannot hold so much credit."


async def act_on_session(context: StripeContext, session_id: str) -> Session:
    """Make of a top-up what its session says now."""
    session = await context.client.session(session_id)
    async with context.db.transaction() as tx:
        topup = await find_topup(tx, "session", session_id)
        if topup is None:
            if session.payment_status == "paid":
                await open_review(tx, f"session:{session_id}", Cause.NOT_OURS, "A page that we did not make was paid.")
            return session
    if topup.status is TopupStatus.PAID:
        return session
    customer = await find_customer(context, topup.account_id)
    intent = await context.client.intent(session.payment_intent) if session.payment_intent else None
    order = Order(topup.reference, topup.session_id, customer or "", topup.amount_cents, context.config.livemode)
    await _apply(context, topup.id, judge(order, session, intent))
    return session


async def act_on_intent(context: StripeContext, intent_id: str, turn: int = 1) -> None:
    """Act on the session that a payment belongs to; what belongs to none of ours is for a person.

    Raises :class:`.context.Later` for the first turns where the session that it names is not paid yet.
    """
    intent = await context.client.intent(intent_id)
    async with context.db.transaction() as tx:
        topup = await find_topup(tx, "intent", intent_id) or await _named_topup(tx, intent)
    is_paid = intent.status == "succeeded"
    if topup is not None and topup.session_id is not None:
        session = await act_on_session(context, topup.session_id)
        is_early = is_paid and session.payment_intent is None and session.status == "open"
        if is_early and turn < TURNS_MAX:
            raise Later("the page does not say yet that it was paid")
        if session.payment_intent == intent_id:
            return
    if topup is not None and topup.is_recharge and topup.intent_id == intent_id:
        return
    if await act_on_invoice_payment(context, intent_id):
        return
    if is_paid:
        async with context.db.transaction() as tx:
            await open_review(
                tx, f"intent:{intent_id}", Cause.NOT_OURS, "A payment of no top-up and no invoice of ours succeeded."
            )


async def act_on_charge(context: StripeContext, charge_id: str) -> None:
    """Credit the payment that a charge belongs to, and book Stripe's fee for it."""
    charge = await context.client.charge(charge_id)
    async with context.db.transaction() as tx:
        is_ours = (
            await find_topup(tx, "charge", charge_id) is not None
            or await find_payment(tx, "charge", charge_id) is not None
        )
    if not is_ours and charge.payment_intent is not None and charge.status == "succeeded":
        await act_on_intent(context, charge.payment_intent)
    if charge.balance_transaction is not None:
        await book(context.db, await context.client.transaction(charge.balance_transaction))


async def act_on_warning(context: StripeContext, event_id: str) -> None:
    """Flag a payment that a card's issuer takes for fraud: refunding it now may prevent a dispute."""
    event = await context.client.event(event_id)
    if event.charge is not None:
        await act_on_charge(context, event.charge)
    async with context.db.transaction() as tx:
        topup = await find_topup(tx, "charge", event.charge) if event.charge else None
        await open_review(
            tx,
            f"warning:{event.object_id}",
            Cause.FRAUD_WARNING,
            f"The card's issuer takes the payment {event.charge} for fraud. A refund may prevent a dispute.",
            topup_id=topup.id if topup else None,
            account_id=topup.account_id if topup else None,
        )


async def _named_topup(tx: AsyncConnection, intent: Intent) -> Topup | None:
    """The top-up that a payment's metadata names: a pointer alone, since anybody at Stripe may have written it."""
    name = (intent.metadata or {}).get("topup", "")
    try:
        return await find_topup(tx, "id", parse(TopupId, name)) if name else None
    except ValueError:
        return None


async def _apply(context: StripeContext, topup_id: TopupId, verdict: Verdict) -> None:
    try:
        async with context.db.transaction() as tx:
            topup = await find_topup(tx, "id", topup_id, locked=True)
            assert topup is not None, "top-ups are never deleted; this is a bug"
            if verdict.status not in MOVES[topup.status]:
                return
            if verdict.payment is not None:
                await credit_topup(context, tx, topup, verdict.payment)
            else:
                await move_topup(tx, topup, verdict.status, verdict.problem)
    except CreditTooLarge:
        async with context.db.transaction() as tx:
            topup = await find_topup(tx, "id", topup_id, locked=True)
            assert topup is not None, "top-ups are never deleted; this is a bug"
            if TopupStatus.REVIEW in MOVES[topup.status]:
                await move_topup(tx, topup, TopupStatus.REVIEW, _TOO_LARGE)
