"""Takes the credit of a disputed payment, makes debt of what is spent, and gives all of it back where we win."""

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.chart import LedgerKind
from billing.credits import GrantKind, grant
from billing.money import NanoUSD, to_usd
from billing.stripe import work
from billing.stripe.collections import add_return, find_payment
from billing.stripe.context import Later, StripeContext
from billing.stripe.dispute_mails import mail_dispute
from billing.stripe.dispute_rows import DisputeRow
from billing.stripe.dispute_rules import TAKES_CREDIT, DisputeStatus, status_of
from billing.stripe.payments import act_on_charge
from billing.stripe.recharge_moves import stop
from billing.stripe.refund_rules import Refundable
from billing.stripe.refunds import refundable_of
from billing.stripe.reviews import Cause, open_review
from billing.stripe.topups import Topup, find_topup
from billing.stripe.values import Cents, Dispute, nano_of
from billing.take_back import STEPS_MAX, Reason, TakeBack

# What is refunded while a bank only asks is not disputed any more; once money was withdrawn, that amount is it.
_KEEP = text("""
    INSERT INTO disputes AS d (id, topup_id, account_id, amount_cents, credit_cents, reason, status)
    VALUES (:id, :topup, :account, :amount, :credit, :reason, :status)
    ON CONFLICT (id) DO UPDATE SET status = EXCLUDED.status, changed_at = now(),
        amount_cents = CASE WHEN d.status = 'inquiry' THEN EXCLUDED.amount_cents ELSE d.amount_cents END,
        credit_cents = CASE WHEN d.status = 'inquiry' THEN EXCLUDED.credit_cents ELSE d.credit_cents END
    WHERE d.status <> EXCLUDED.status AND d.status NOT IN ('won', 'lost')
    RETURNING id
""")
_FIND = text("SELECT * FROM disputes WHERE id = :id")
# What was taken, by the kind of its grants; what was not there and became debt counts as purchased. It is given back in
# this order, so that what was bought pays the debt that it left, and not what was given.
_TAKEN = text("""
    SELECT kind, sum(amount)::bigint AS amount FROM (
        SELECT g.kind, u.amount_nano AS amount FROM booked_facts f
        JOIN grant_uses u ON u.entry_id = f.entry_id JOIN grants g ON g.id = u.grant_id
        WHERE f.source_ref = ANY(ARRAY(SELECT :source || ':' || n FROM generate_series(1, :steps_max) AS n))
        UNION ALL
        SELECT 'purchased', -p.amount_nano FROM booked_facts f JOIN postings p ON p.entry_id = f.entry_id
        JOIN ledger_accounts l ON l.id = p.ledger_account_id AND l.kind = 'customer_overdraft'
        WHERE f.source_ref = :owed
    ) taken GROUP BY kind ORDER BY kind <> 'purchased', kind
""")
_IS_GRANTED = text("SELECT count(*) FROM grants WHERE source_ref = :source")


async def act_on_dispute(context: StripeContext, dispute_id: str) -> None:
    """Make of our row, and of the credit, what the dispute is now. Raises :class:`.context.Later`."""
    dispute = await context.client.dispute(dispute_id)
    row = await _keep(context, dispute)
    if row is None:
        return
    if row.status in TAKES_CREDIT:
        taken = await context.take_back(
            TakeBack(
                account_id=row.account_id,
                reason=Reason.DISPUTE,
                source=f"dispute:{row.id}",
                amount=nano_of(row.credit_cents),
                owe_rest=True,
            )
        )
        if taken.waiting:
            raise Later("calls in flight hold the rest of the credit")
    elif row.status is DisputeStatus.WON:
        async with context.db.transaction() as tx:
            await _give_back(tx, row)
    async with context.db.transaction() as tx:
        await work.request(tx, "transactions:all")


async def _keep(context: StripeContext, dispute: Dispute) -> DisputeRow | None:
    """The row as it is now; None where a person has to look first."""
    status, subject = status_of(dispute.status), f"dispute:{dispute.id}"
    # The dispute may be heard of before the payment.
    await act_on_charge(context, dispute.charge)
    async with context.db.transaction() as tx:
        topup = await find_topup(tx, "charge", dispute.charge)
        if topup is None and status is not None and await _is_of_invoice(tx, dispute, status):
            await work.request(tx, "transactions:all")
            return None
        if topup is None or status is None:
            what = (
                f"a status that we do not know, {dispute.status}"
                if topup
                else "a payment of no top-up and no invoice of ours"
            )
            await open_review(tx, subject, Cause.NOT_OURS, f"A dispute of {what}.")
            await mail_dispute(tx, dispute, status, of=topup.reference if topup else "a payment that is not ours")
            return None
        paid = await refundable_of(tx, topup.id)
        credit = Refundable(paid.credit, paid.tax).credit_of(Cents(dispute.amount))
        facts = {"id": dispute.id, "topup": topup.id, "account": topup.account_id, "amount": dispute.amount}
        await tx.execute(_KEEP, {**facts, "credit": credit, "reason": dispute.reason, "status": status.value})
        await _tell(tx, dispute, topup, status)
        await mail_dispute(tx, dispute, status, of=topup.reference, account_id=topup.account_id)
        if status is DisputeStatus.OPEN:
            # Whoever disputes a payment is not to be charged by itself again.
            await stop(tx, context, topup.account_id, "A payment was disputed.")
        row = (await tx.execute(_FIND, {"id": dispute.id})).one()
    return msgspec.convert(dict(row._mapping), DisputeRow)


async def _is_of_invoice(tx: AsyncConnection, dispute: Dispute, status: DisputeStatus) -> bool:
    """Note that a dispute is of an invoice's payment: what is withdrawn is owed again until it comes back."""
    paid = await find_payment(tx, "charge", dispute.charge)
    if paid is not None:
        await add_return(tx, dispute.id, paid.id)
        amount = to_usd(nano_of(dispute.amount))
        message = f"{amount} USD of {paid.name} are disputed ({dispute.reason}). Answer it in Stripe's dashboard."
        await open_review(tx, f"dispute:{dispute.id}", Cause.DISPUTE, message, account_id=paid.account_id)
        await mail_dispute(tx, dispute, status, of=paid.name, account_id=paid.account_id, is_invoice=True)
    return paid is not None


async def _tell(tx: AsyncConnection, dispute: Dispute, topup: Topup, status: DisputeStatus) -> None:
    if status not in (DisputeStatus.INQUIRY, DisputeStatus.OPEN):
        return
    amount = to_usd(nano_of(dispute.amount))
    message = f"{amount} USD of {topup.reference} are disputed ({dispute.reason}). Answer it in Stripe's dashboard."
    await open_review(
        tx, f"dispute:{dispute.id}", Cause.DISPUTE, message, topup_id=topup.id, account_id=topup.account_id
    )


async def _give_back(tx: AsyncConnection, row: DisputeRow) -> None:
    """Give back what was taken, gifts as gifts; debt is paid first. Each once, by its source."""
    source = f"dispute:{row.id}"
    facts = {"source": source, "steps_max": STEPS_MAX, "owed": f"{source}:owed"}
    for kind_name, amount in (await tx.execute(_TAKEN, facts)).all():
        kind = GrantKind(kind_name)
        is_purchased = kind is GrantKind.PURCHASED
        back = f"{source}:back" if is_purchased else f"{source}:back:{kind.value}"
        if amount and not await tx.scalar(_IS_GRANTED, {"source": back}):
            paid_from = LedgerKind.DISPUTES if is_purchased else None
            await grant(tx, row.account_id, NanoUSD(amount), kind, source_ref=back, paid_from=paid_from)
