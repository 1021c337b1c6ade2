"""Books every movement of our balance at Stripe as one entry, once, and knows what is not explained yet.

A movement waits unbooked until the row that explains it is there: the credited top-up or the paid invoice of a
charge, the refund, the dispute. Until then the check "Stripe = clearing" shows the difference.
"""

from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.chart import LedgerKind
from billing.ledger import Posting, post
from billing.receivables import record_return
from billing.stripe.collections import find_payment
from billing.stripe.reviews import Cause, open_review
from billing.stripe.topups import find_topup
from billing.stripe.transaction_rules import Leg, Movement, legs_of, movement_of
from billing.stripe.values import CURRENCY, Transaction, nano_of
from store.ids import AccountId, ReceivableId
from store.postgres import Database

_KEEP = text("""
    INSERT INTO stripe_transactions
        (id, type, category, currency, amount_cents, fee_cents, net_cents, source, created_at)
    VALUES (:id, :type, :category, :currency, :amount, :fee, :net, :source, :created_at) ON CONFLICT DO NOTHING
""")
_LOCK = text("SELECT booked_at FROM stripe_transactions WHERE id = :id FOR NO KEY UPDATE")
_BOOKED = text("UPDATE stripe_transactions SET booked_at = now() WHERE id = :id")
_UNBOOKED = text("SELECT * FROM stripe_transactions WHERE booked_at IS NULL ORDER BY created_at, id LIMIT 500")
_REFUND = text("""
    SELECT r.account_id, r.tax_cents, t.jurisdiction FROM refunds r JOIN topups t ON t.id = r.topup_id
    WHERE r.refund_id = :source AND r.credit_cents IS NOT NULL
""")
_DISPUTE = text("""
    SELECT d.account_id, CASE WHEN abs(:amount) = d.amount_cents THEN d.amount_cents - d.credit_cents ELSE 0 END
        AS tax_cents, t.jurisdiction
    FROM disputes d JOIN topups t ON t.id = d.topup_id WHERE d.id = :source
""")
# Where the row that explains a movement comes from.
SUBJECTS = {Movement.PAYMENT: "charge", Movement.REFUND: "refund", Movement.DISPUTE: "dispute"}


class _Explained(msgspec.Struct, frozen=True):
    """Whose movement it is, and what of it is tax."""

    account_id: AccountId | None = None
    tax: int = 0
    jurisdiction: str = ""
    receivable_id: ReceivableId | None = None


async def book(db: Database, transaction: Transaction) -> bool:
    """Book a movement once; False where it is not explained yet, or is for a person."""
    async with db.transaction() as tx:
        await tx.execute(_KEEP, _facts(transaction))
        if await tx.scalar(_LOCK, {"id": transaction.id}) is not None:
            return True
        movement = movement_of(transaction.type, transaction.reporting_category)
        if movement is None or transaction.currency != CURRENCY:
            what = f"{transaction.type} of {transaction.net} {transaction.currency} (in cents)"
            await open_review(tx, f"transaction:{transaction.id}", Cause.UNKNOWN_KIND, f"Not booked: {what}.")
            return False
        explained = await _explain(tx, movement, transaction)
        if explained is None:
            return False
        legs = legs_of(
            movement,
            transaction.amount,
            transaction.fee,
            explained.tax,
            explained.jurisdiction,
            is_collected=explained.receivable_id is not None,
        )
        postings = [_posting(leg, explained.account_id) for leg in legs if leg.cents]
        if postings:
            kind = Movement.FEE if movement is Movement.PAYMENT else movement
            source = f"stripe:{transaction.id}"
            entry = await post(tx, kind.value, source, postings, account_id=explained.account_id)
            if explained.receivable_id is not None and transaction.amount:
                moved, now = nano_of(transaction.amount), db.clock.now()
                await record_return(tx, explained.receivable_id, moved, now, source_ref=source, entry_id=entry)
        await tx.execute(_BOOKED, {"id": transaction.id})
        return True


async def unbooked(tx: AsyncConnection) -> list[Transaction]:
    """The movements that the ledger does not have, the oldest first."""
    return [transaction_of(row) for row in await tx.execute(_UNBOOKED)]


def transaction_of(row: Any) -> Transaction:  # noqa: ANN401 - a row
    """A movement as it was when it was kept."""
    return Transaction(
        id=row.id,
        type=row.type,
        reporting_category=row.category,
        currency=row.currency,
        amount=row.amount_cents,
        fee=row.fee_cents,
        net=row.net_cents,
        created=int(row.created_at.timestamp()),
        source=row.source,
    )


def subject_of(transaction: Transaction) -> str | None:
    """What has to be worked on so that a movement is explained."""
    movement = movement_of(transaction.type, transaction.reporting_category)
    noun = SUBJECTS.get(movement) if movement else None
    return f"{noun}:{transaction.source}" if noun and transaction.source else None


async def _explain(tx: AsyncConnection, movement: Movement, transaction: Transaction) -> _Explained | None:
    sign = 1 if transaction.amount > 0 else -1
    match movement:
        case Movement.PAYMENT:
            topup = await find_topup(tx, "charge", transaction.source)
            if topup is not None:
                return _Explained(topup.account_id) if topup.paid_cents == transaction.amount else None
            collected = await find_payment(tx, "charge", transaction.source)
            is_whole = collected is not None and collected.amount_cents == transaction.amount
            return _Explained(collected.account_id) if collected is not None and is_whole else None
        case Movement.REFUND | Movement.DISPUTE:
            statement = _REFUND if movement is Movement.REFUND else _DISPUTE
            facts = {"source": transaction.source}
            more = {} if movement is Movement.REFUND else {"amount": transaction.amount}
            row = (await tx.execute(statement, {**facts, **more})).first()
            if row is not None:
                return _Explained(row.account_id, sign * row.tax_cents, row.jurisdiction)
            collected = await find_payment(tx, "return", transaction.source)
            if collected is None:
                return None
            return _Explained(collected.account_id, receivable_id=collected.receivable_id)
        case _:
            return _Explained()


def _posting(leg: Leg, account_id: AccountId | None) -> Posting:
    of_account = account_id if leg.kind is LedgerKind.CUSTOMER_RECEIVABLE else None
    return Posting(leg.kind, nano_of(leg.cents), of_account, leg.detail)


def _facts(transaction: Transaction) -> dict[str, object]:
    return {
        "id": transaction.id,
        "type": transaction.type,
        "category": transaction.reporting_category,
        "currency": transaction.currency,
        "amount": transaction.amount,
        "fee": transaction.fee,
        "net": transaction.net,
        "source": transaction.source,
        "created_at": datetime.fromtimestamp(transaction.created, UTC),
    }
