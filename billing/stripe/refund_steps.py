"""Refunds step by step: take the credit, send the refund to Stripe, follow what becomes of it, give back what failed.

Each step is found done when it is repeated: what was taken by the fact's own entries, a refund at Stripe by our id in
its metadata, what was given back by the grant's source. A refund that somebody made at Stripe takes its credit too;
what of it is spent is debt.
"""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.chart import LedgerKind
from billing.credits import GrantKind, grant
from billing.money import NanoUSD, to_usd
from billing.stripe import work
from billing.stripe.collections import add_return, find_payment
from billing.stripe.context import Later, StripeContext
from billing.stripe.errors import StripeFailed, StripeRefused
from billing.stripe.payments import act_on_intent
from billing.stripe.refund_rules import RefundStatus, outcome_of
from billing.stripe.refunds import RefundRow, find_refund, grants_of, insert_refund, refundable_of
from billing.stripe.reviews import Cause, open_review
from billing.stripe.topups import Topup, find_topup
from billing.stripe.values import CURRENCY, NANO_PER_CENT, Cents, Refund, nano_of, whole_cents
from billing.take_back import Reason, TakeBack, TakenBack
from store.ids import RefundId, parse

# After so many turns a refund goes on with what was free: what calls in flight hold then stays the customer's.
TURNS_MAX = 20

_TAKEN = text("""
    UPDATE refunds SET status = :status, credit_cents = :credit, tax_cents = :tax, changed_at = now() WHERE id = :id
""")
_MOVE = text("""
    UPDATE refunds SET status = :status, refund_id = coalesce(refund_id, :refund_id), problem = :problem,
        changed_at = now() WHERE id = :id
""")
_NEXT_ATTEMPT = text("UPDATE refunds SET attempt = attempt + 1 WHERE id = :id AND status = 'taken'")
_IS_GRANTED = text("SELECT count(*) FROM grants WHERE source_ref = :source")


async def act_on_order(context: StripeContext, reference: str, turn: int) -> None:
    """Take the credit of a refund that was ordered here, and send it. Raises :class:`.context.Later`."""
    refund_id = RefundId(parse(RefundId, reference))
    async with context.db.transaction() as tx:
        row = await find_refund(tx, "id", refund_id)
    assert row is not None, "refunds are never deleted; this is a bug"
    if row.status is RefundStatus.REQUESTED:
        row = await _take(context, row, turn)
    if row.status is RefundStatus.TAKEN:
        await _send(context, row, is_repeated=turn > 1)
    elif row.status is RefundStatus.SENT and row.refund_id is not None:
        await act_on_refund(context, row.refund_id)


async def act_on_refund(context: StripeContext, stripe_id: str) -> None:
    """Make of our row what Stripe's refund is now; make the row where somebody refunded at Stripe."""
    refund = await context.client.refund(stripe_id)
    async with context.db.transaction() as tx:
        row = await find_refund(tx, "refund", stripe_id) or await _named_row(tx, refund)
    if row is None:
        await _adopt(context, refund)
    elif row.status is not RefundStatus.REQUESTED:
        await _follow(context, row, refund)
    async with context.db.transaction() as tx:
        await work.request(tx, "transactions:all")


async def _take(context: StripeContext, row: RefundRow, turn: int) -> RefundRow:
    """Take the credit as far as it is free, and decide how much is refunded."""
    is_adopted = row.refund_id is not None
    async with context.db.transaction() as tx:
        grants = () if is_adopted else await grants_of(tx, row.topup_id)
    taken = await context.take_back(
        TakeBack(
            account_id=row.account_id,
            reason=Reason.REFUND,
            source=f"refund:{row.reference}",
            amount=nano_of(row.wanted_cents),
            grants=grants,
            owe_rest=is_adopted,
        )
    )
    if taken.waiting and (is_adopted or turn < TURNS_MAX):
        raise Later("calls in flight hold the rest of the credit")
    async with context.db.transaction() as tx:
        return await _decide(tx, row, taken, is_adopted=is_adopted)


async def _decide(tx: AsyncConnection, before: RefundRow, taken: TakenBack, *, is_adopted: bool) -> RefundRow:
    await find_topup(tx, "id", before.topup_id, locked=True)
    row = await find_refund(tx, "id", before.id, locked=True)
    assert row is not None, "refunds are never deleted; this is a bug"
    if row.status is not RefundStatus.REQUESTED:
        return row
    payment = await refundable_of(tx, row.topup_id)
    credit = row.wanted_cents if is_adopted else Cents(min(whole_cents(taken.taken), payment.left))
    status = RefundStatus.SENT if is_adopted else RefundStatus.TAKEN if credit else RefundStatus.EMPTY
    # Of a refund that was made at Stripe the tax is what its credit is not, whoever rounded it.
    tax = row.tax_cents if is_adopted else payment.tax_share(credit)
    facts = {"id": row.id, "status": status.value, "credit": credit, "tax": tax}
    await tx.execute(_TAKEN, facts)
    rest = 0 if is_adopted else taken.taken - credit * NANO_PER_CENT
    if rest:
        # Less than a cent, where calls have spent of the credit meanwhile: it stays the customer's.
        await _give(tx, row, NanoUSD(rest), "rest")
    found = await find_refund(tx, "id", row.id)
    assert found is not None, "refunds are never deleted; this is a bug"
    return found


async def _send(context: StripeContext, row: RefundRow, *, is_repeated: bool) -> None:
    """Ask Stripe for the refund, once: one that was made and not noted is found by our id."""
    async with context.db.transaction() as tx:
        topup = await find_topup(tx, "id", row.topup_id)
    assert topup is not None, "top-ups are never deleted; this is a bug"
    assert topup.intent_id is not None, "what was paid has a payment; this is a bug"
    try:
        refund = await _find_sent(context, row, topup.intent_id) if is_repeated or row.attempt else None
        if refund is None:
            total = (row.credit_cents or 0) + (row.tax_cents or 0)
            key = f"{row.reference}:{row.attempt}"
            refund = await context.client.create_refund(topup.intent_id, total, row.reference, key)
    except StripeFailed:
        async with context.db.transaction() as tx:
            await tx.execute(_NEXT_ATTEMPT, {"id": row.id})
        raise
    except StripeRefused as refused:
        await _fail(context, row, None, str(refused))
        return
    await _follow(context, row, refund)


async def _find_sent(context: StripeContext, row: RefundRow, intent_id: str) -> Refund | None:
    async for refund in context.client.refunds_of(intent_id):
        if (refund.metadata or {}).get("refund") == row.reference:
            return refund
    return None


async def _follow(context: StripeContext, before: RefundRow, refund: Refund) -> None:
    status = outcome_of(refund.status)
    if status is RefundStatus.FAILED:
        await _fail(context, before, refund.id, "The money came back to Stripe.")
        return
    async with context.db.transaction() as tx:
        row = await find_refund(tx, "id", before.id, locked=True)
        assert row is not None, "refunds are never deleted; this is a bug"
        for move in (RefundStatus.SENT, status):
            if row.status in (RefundStatus.TAKEN, RefundStatus.SENT) and row.status is not move:
                await _move(tx, row, move, refund.id)
                row = await find_refund(tx, "id", row.id) or row
                if row.status is RefundStatus.SUCCEEDED:
                    await _issue_document(context, tx, row)


async def _fail(context: StripeContext, before: RefundRow, stripe_id: str | None, problem: str) -> None:
    """Note that a refund failed, give its credit back, and tell a person."""
    async with context.db.transaction() as tx:
        row = await find_refund(tx, "id", before.id, locked=True)
        assert row is not None, "refunds are never deleted; this is a bug"
        if row.status in (RefundStatus.FAILED, RefundStatus.EMPTY, RefundStatus.REQUESTED):
            return
        await _move(tx, row, RefundStatus.FAILED, stripe_id, problem)
        if row.status is RefundStatus.SUCCEEDED:
            await _issue_document(context, tx, await find_refund(tx, "id", row.id) or row)
        await _give(tx, row, nano_of(row.credit_cents or 0), "back")
        facts = {"topup_id": row.topup_id, "account_id": row.account_id}
        await open_review(tx, f"refund:{row.reference}", Cause.REFUND_FAILED, problem, **facts)  # type: ignore[arg-type]


async def _issue_document(context: StripeContext, tx: AsyncConnection, row: RefundRow) -> None:
    """The credit note of what was paid back; what came back afterwards is invoiced again."""
    topup = await find_topup(tx, "id", row.topup_id)
    assert topup is not None, "top-ups are never deleted; this is a bug"
    await context.issue_refund_document(tx, row, topup)


async def _move(
    tx: AsyncConnection, row: RefundRow, status: RefundStatus, stripe_id: str | None, problem: str = ""
) -> None:
    await tx.execute(_MOVE, {"id": row.id, "status": status.value, "refund_id": stripe_id, "problem": problem[:500]})


async def _give(tx: AsyncConnection, row: RefundRow, amount: NanoUSD, what: str) -> None:
    source = f"refund:{row.reference}:{what}"
    if amount and not await tx.scalar(_IS_GRANTED, {"source": source}):
        await grant(tx, row.account_id, amount, GrantKind.PURCHASED, source_ref=source, paid_from=LedgerKind.REFUNDS)


async def _named_row(tx: AsyncConnection, refund: Refund) -> RefundRow | None:
    """Our row that a refund's metadata names, if it is of the same payment."""
    name = (refund.metadata or {}).get("refund", "")
    try:
        row = await find_refund(tx, "id", parse(RefundId, name)) if name else None
    except ValueError:
        return None
    if row is None or row.refund_id not in (None, refund.id):
        return None
    topup = await find_topup(tx, "id", row.topup_id)
    return row if topup is not None and topup.intent_id == refund.payment_intent else None


async def _adopt(context: StripeContext, refund: Refund) -> None:
    """Make a row for a refund that somebody made at Stripe; its work takes the credit."""
    if await _adopt_of_invoice(context, refund) or outcome_of(refund.status) is RefundStatus.FAILED:
        return
    if refund.payment_intent is not None:
        # The refund may be heard of before the payment.
        await act_on_intent(context, refund.payment_intent)
    async with context.db.transaction() as tx:
        topup: Topup | None = None
        if refund.payment_intent is not None:
            topup = await find_topup(tx, "intent", refund.payment_intent, locked=True)
        subject = f"refund:{refund.id}"
        if topup is None or refund.currency != CURRENCY:
            await open_review(tx, subject, Cause.NOT_OURS, "A refund of a payment of no top-up and no invoice of ours.")
            return
        credit = (await refundable_of(tx, topup.id)).credit_of(Cents(refund.amount))
        facts = {"topup": topup.id, "account": topup.account_id, "key": subject, "wanted": credit}
        made_at_stripe: dict[str, object] = {"reason": "made at Stripe", "actor": "stripe", "refund_id": refund.id}
        made_at_stripe |= {"tax": refund.amount - credit}
        await insert_refund(tx, {**facts, **made_at_stripe})
        message = "Somebody refunded at Stripe. The credit is taken; what was spent of it is debt."
        await open_review(tx, subject, Cause.REFUND_BY_HAND, message, topup_id=topup.id, account_id=topup.account_id)


async def _adopt_of_invoice(context: StripeContext, refund: Refund) -> bool:
    """Note that a refund is of an invoice's payment: what went back is owed again, and a person is told."""
    async with context.db.transaction() as tx:
        paid = await find_payment(tx, "intent", refund.payment_intent) if refund.payment_intent else None
        if paid is not None:
            await add_return(tx, refund.id, paid.id)
            amount, subject = to_usd(nano_of(refund.amount)), f"refund:{refund.id}"
            message = (
                f"Somebody refunded {amount} USD of {paid.name} at Stripe. They are owed again: credit the invoice."
            )
            await open_review(tx, subject, Cause.REFUND_BY_HAND, message, account_id=paid.account_id)
    return paid is not None
