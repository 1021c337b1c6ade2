"""Keeps which invoices of drawn credit Stripe collects, and what was paid of them.

Nothing here speaks to Stripe, so `serve` may import it: the jobs process makes and follows what is a row here.
"""

from datetime import datetime

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.money import NanoUSD
from billing.stripe import work
from billing.stripe.collection_rules import MOVES, CollectionStatus
from billing.stripe.values import NANO_PER_CENT, Cents
from store.ids import AccountId, DocumentId, ReceivableId, wire
from store.postgres import Database

# What is open for so long without an event is read again.
QUIET_S = 3_600

_START = text("""
    INSERT INTO collections (document_id, receivable_id, account_id) VALUES (:document, :receivable, :account)
    ON CONFLICT DO NOTHING
""")
_PAID = "coalesce((SELECT sum(p.amount_nano) FROM receivable_payments p WHERE p.receivable_id = r.id), 0)"
_SELECT = f"""
    SELECT c.document_id, c.receivable_id, c.account_id, c.status, c.attempt, c.invoice_id, c.url, c.demanded_cents,
        c.problem, c.created_at, c.sent_at, d.name, (r.total_nano - {_PAID})::bigint AS open_nano,
        EXISTS (SELECT FROM documents n WHERE n.corrects = d.id AND NOT n.partial) AS is_credited,
        EXISTS (SELECT FROM receivable_payments p WHERE p.receivable_id = r.id AND p.source_ref LIKE 'write_off:%')
            AS is_written_off
    FROM collections c JOIN documents d ON d.id = c.document_id JOIN receivables r ON r.id = c.receivable_id
"""  # noqa: S608 - a constant
_BY_DOCUMENT = text(f"{_SELECT} WHERE c.document_id = :value")
_BY_DOCUMENT_LOCKED = text(f"{_SELECT} WHERE c.document_id = :value FOR NO KEY UPDATE OF c")
_BY_INVOICE = text(f"{_SELECT} WHERE c.invoice_id = :value")
_MOVE = text("""
    UPDATE collections SET status = :status, invoice_id = coalesce(:invoice, invoice_id), url = coalesce(:url, url),
        demanded_cents = coalesce(:demanded, demanded_cents), problem = :problem, changed_at = now()
    WHERE document_id = :document
""")
_SENT = text("UPDATE collections SET sent_at = now() WHERE document_id = :document AND sent_at IS NULL")
_NEXT_ATTEMPT = text("UPDATE collections SET attempt = attempt + 1 WHERE document_id = :document")
# What Stripe demands is more than is open here; or nothing was heard for an hour.
_DUE = text(f"""
    SELECT c.document_id FROM collections c JOIN receivables r ON r.id = c.receivable_id
        LEFT JOIN stripe_work w ON w.subject = 'collection:doc_' || replace(c.document_id::text, '-', '')
    WHERE c.status IN ('new', 'open') AND (w.subject IS NULL OR w.requested = w.done)
        AND (c.changed_at < now() - interval '{QUIET_S} s' OR c.status = 'open'
            AND c.demanded_cents::bigint * {NANO_PER_CENT} >= {NANO_PER_CENT} + greatest(0, r.total_nano - {_PAID}))
    LIMIT 500
""")  # noqa: S608 - constants
_ADD_PAYMENT = text("""
    INSERT INTO collected_payments (id, document_id, intent_id, charge_id, amount_cents)
    VALUES (:id, :document, :intent, :charge, :amount) ON CONFLICT DO NOTHING RETURNING id
""")
_KNOWN = text("SELECT id FROM collected_payments WHERE document_id = :document")
_PAYMENT = """
    SELECT p.id, p.document_id, c.receivable_id, c.account_id, p.charge_id, p.amount_cents, d.name
    FROM collected_payments p JOIN collections c ON c.document_id = p.document_id
    JOIN documents d ON d.id = c.document_id
"""
_PAYMENT_BY = {
    "intent": text(f"{_PAYMENT} WHERE p.intent_id = :value"),
    "charge": text(f"{_PAYMENT} WHERE p.charge_id = :value"),
    "return": text(f"{_PAYMENT} JOIN collected_returns b ON b.payment_id = p.id WHERE b.source = :value"),
}
_ADD_RETURN = text(
    "INSERT INTO collected_returns (source, payment_id) VALUES (:source, :payment) ON CONFLICT DO NOTHING"
)


class Collection(msgspec.Struct, frozen=True, kw_only=True):
    """An invoice that Stripe collects. ``open_nano`` is what is open of it in our books."""

    document_id: DocumentId
    receivable_id: ReceivableId
    account_id: AccountId
    status: CollectionStatus
    attempt: int
    invoice_id: str | None
    url: str | None
    demanded_cents: Cents | None
    problem: str
    created_at: datetime
    sent_at: datetime | None
    name: str
    open_nano: NanoUSD
    is_credited: bool
    is_written_off: bool

    @property
    def reference(self) -> str:
        """Its document's id as Stripe sees it."""
        return wire(DocumentId, self.document_id)

    @property
    def open_cents(self) -> int:
        """What is open, rounded up to a cent."""
        return -(-self.open_nano // NANO_PER_CENT)


class CollectedPayment(msgspec.Struct, frozen=True):
    """A payment of a collection."""

    id: str
    document_id: DocumentId
    receivable_id: ReceivableId
    account_id: AccountId
    charge_id: str
    amount_cents: Cents
    name: str


async def start_collection(
    tx: AsyncConnection, document_id: DocumentId, receivable_id: ReceivableId, account_id: AccountId
) -> None:
    """Have an invoice collected by Stripe, once, in the transaction that issues it or later."""
    facts = {"document": document_id, "receivable": receivable_id, "account": account_id}
    await tx.execute(_START, facts)
    await work.request(tx, f"collection:{wire(DocumentId, document_id)}")


async def find_collection(tx: AsyncConnection, document_id: DocumentId, *, locked: bool = False) -> Collection | None:
    """The collection of a document."""
    row = (await tx.execute(_BY_DOCUMENT_LOCKED if locked else _BY_DOCUMENT, {"value": document_id})).first()
    return None if row is None else msgspec.convert(dict(row._mapping), Collection)


async def find_by_invoice(tx: AsyncConnection, invoice_id: str) -> Collection | None:
    """The collection of Stripe's invoice."""
    row = (await tx.execute(_BY_INVOICE, {"value": invoice_id})).first()
    return None if row is None else msgspec.convert(dict(row._mapping), Collection)


async def move_collection(
    tx: AsyncConnection,
    document_id: DocumentId,
    status: CollectionStatus,
    *,
    invoice: str | None = None,
    url: str | None = None,
    demanded: int | None = None,
    problem: str = "",
) -> bool:
    """Move a collection, or note what Stripe says of it now; False where its state does not allow it any more."""
    found = await find_collection(tx, document_id, locked=True)
    assert found is not None, "collections are never deleted; this is a bug"
    if status is not found.status and status not in MOVES[found.status]:
        return False
    facts = {"document": document_id, "status": status.value, "invoice": invoice, "url": url, "demanded": demanded}
    await tx.execute(_MOVE, {**facts, "problem": problem[:500]})
    return True


async def retry_collection(tx: AsyncConnection, collection: Collection) -> None:
    """Let what a person has looked at be made again."""
    if await move_collection(tx, collection.document_id, CollectionStatus.NEW):
        await next_attempt(tx, collection.document_id)
        await work.request(tx, f"collection:{collection.reference}")


async def mark_sent(tx: AsyncConnection, document_id: DocumentId) -> None:
    """Note that Stripe mailed it."""
    await tx.execute(_SENT, {"document": document_id})


async def next_attempt(tx: AsyncConnection, document_id: DocumentId) -> None:
    """Have what comes next asked for under other idempotency keys."""
    await tx.execute(_NEXT_ATTEMPT, {"document": document_id})


async def request_due(db: Database) -> None:
    """Have those worked on of which Stripe demands more than is open, or nothing was heard for an hour."""
    async with db.transaction() as tx:
        for document_id in (await tx.execute(_DUE)).scalars().all():
            await work.request(tx, f"collection:{wire(DocumentId, document_id)}")


async def add_payment(
    tx: AsyncConnection, document_id: DocumentId, *, payment_id: str, intent_id: str, charge_id: str, amount: Cents
) -> bool:
    """Note a payment; False where it was noted before."""
    facts = {"id": payment_id, "document": document_id, "intent": intent_id, "charge": charge_id, "amount": amount}
    return await tx.scalar(_ADD_PAYMENT, facts) is not None


async def known_payments(tx: AsyncConnection, document_id: DocumentId) -> set[str]:
    """Stripe's ids of the payments that were booked."""
    return set((await tx.execute(_KNOWN, {"document": document_id})).scalars())


async def find_payment(tx: AsyncConnection, by: str, value: object) -> CollectedPayment | None:
    """A payment by Stripe's ``intent`` or ``charge``, or by the refund or dispute that is a ``return`` of it."""
    row = (await tx.execute(_PAYMENT_BY[by], {"value": value})).first()
    return None if row is None else CollectedPayment(*row)


async def add_return(tx: AsyncConnection, source: str, payment_id: str) -> None:
    """Note which payment a refund or dispute is of."""
    await tx.execute(_ADD_RETURN, {"source": source, "payment": payment_id})
