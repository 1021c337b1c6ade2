"""Mails what became of a dispute: to finance, who answers it at Stripe, and to owners, whose credit it takes."""

from datetime import UTC, datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.money import to_usd
from billing.stripe.dispute_rules import DisputeStatus
from billing.stripe.values import Dispute, nano_of
from mail import Staff, enqueue
from mail.kinds import DisputeChanged, PaymentDisputed
from store.ids import AccountId

# An inquiry takes nothing from the account, so its owners are not alarmed by it.
OF_OWNERS = frozenset({DisputeStatus.OPEN, DisputeStatus.WON, DisputeStatus.LOST})


async def mail_dispute(
    tx: AsyncConnection,
    dispute: Dispute,
    status: DisputeStatus | None,
    *,
    of: str,
    account_id: AccountId | None = None,
    is_invoice: bool = False,
) -> None:
    """Mail a dispute's status once. ``of`` is our name of the payment; ``status`` None: one that we do not know."""
    amount, word = to_usd(nano_of(dispute.amount)), "unknown" if status is None else status.value
    due = None if dispute.evidence_details is None else dispute.evidence_details.due_by
    by = (
        None
        if due is None or status not in (DisputeStatus.OPEN, DisputeStatus.INQUIRY)
        else datetime.fromtimestamp(due, UTC)
    )
    news = DisputeChanged(state=word, amount_usd=amount, payment=of, reason=dispute.reason, answer_by=by)
    dedupe = f"dispute:{dispute.id}:{word}"
    await enqueue(tx, news, Staff.FINANCE, dedupe=f"{dedupe}:finance")
    if account_id is not None and status in OF_OWNERS:
        mail = PaymentDisputed(state=word, amount_usd=amount, payment=of, is_invoice=is_invoice)
        await enqueue(tx, mail, account_id, dedupe=dedupe)
