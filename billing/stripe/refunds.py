"""Orders, reads and lists refunds of unused purchased credit. A row is final before anything is taken or sent.

Nothing here speaks to Stripe, so `serve` may import it. What a refund is made of stands in :mod:`.refund_rules`.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.stripe import work
from billing.stripe.refund_rules import Refundable, RefundStatus, split
from billing.stripe.search import ALL, Searched, Wanted, conditions
from billing.stripe.values import Cents, whole_cents
from store.ids import AccountId, GrantId, RefundId, TopupId, new_id, wire


class RefundRow(msgspec.Struct, frozen=True, kw_only=True):
    """A refund of one top-up. ``credit_cents`` and ``tax_cents`` are decided once, when its credit is taken."""

    id: RefundId
    topup_id: TopupId
    account_id: AccountId
    idempotency_key: str
    wanted_cents: Cents
    credit_cents: Cents | None
    tax_cents: Cents | None
    status: RefundStatus
    reason: str
    actor: str
    attempt: int
    refund_id: str | None
    problem: str
    created_at: datetime
    changed_at: datetime

    @property
    def reference(self) -> str:
        """Its id as Stripe and customers see it."""
        return wire(RefundId, self.id)


class RefundOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be refunded: ``amount`` of credit or all that can be, of one top-up or of the newest first."""

    account_id: AccountId
    amount: Cents | None
    topup_id: TopupId | None
    reason: str
    actor: str
    key: str


class NotRefundable(ValueError):
    """More is wanted than can be refunded, which is ``left``."""

    def __init__(self, left: Cents) -> None:
        super().__init__("not refundable")
        self.left = left


class RefundChanged(ValueError):
    """The idempotency key belongs to another refund."""


_LOCK_ACCOUNT = text("SELECT FROM accounts WHERE id = :account FOR NO KEY UPDATE")
_BY_KEY = text("SELECT * FROM refunds WHERE account_id = :account AND idempotency_key = :key ORDER BY id DESC")
_INSERT = text("""
    INSERT INTO refunds (id, topup_id, account_id, idempotency_key, wanted_cents, tax_cents, reason, actor, refund_id)
    VALUES (:id, :topup, :account, :key, :wanted, :tax, :reason, :actor, :refund_id) ON CONFLICT DO NOTHING RETURNING id
""")
_GRANTS = "(g.source_ref = 'stripe\\:topup_' || replace(t.id::text, '-', '') OR g.source_ref IN ({}))"
_BACK = """
    SELECT 'refund\\:refund_' || replace(r.id::text, '-', '') || '\\:back' FROM refunds r WHERE r.topup_id = t.id
    UNION ALL SELECT 'dispute\\:' || d.id || '\\:back' FROM disputes d WHERE d.topup_id = t.id
"""
# Paid top-ups without an open dispute, the newest first, with what is left of their grants and is not wanted already.
_REFUNDABLE = text(f"""
    SELECT t.id,
        t.amount_cents - t.discount_cents - coalesce((SELECT sum(coalesce(r.credit_cents, r.wanted_cents))
            FROM refunds r WHERE r.topup_id = t.id AND r.status NOT IN ('failed', 'empty')), 0) AS unrefunded,
        coalesce((SELECT sum(g.remaining_nano) FROM grants g
            WHERE g.account_id = t.account_id AND g.kind = 'purchased' AND {_GRANTS.format(_BACK)}), 0) AS remaining,
        coalesce((SELECT sum(r.wanted_cents) FROM refunds r WHERE r.topup_id = t.id AND r.status = 'requested'), 0)
            AS wanted
    FROM topups t
    WHERE t.account_id = :account AND t.status = 'paid' AND t.intent_id IS NOT NULL
        AND (CAST(:topup AS uuid) IS NULL OR t.id = CAST(:topup AS uuid))
        AND NOT EXISTS (SELECT FROM disputes d WHERE d.topup_id = t.id AND d.status IN ('open', 'lost'))
    ORDER BY t.paid_at DESC, t.id DESC
""")  # noqa: S608 - constants
_GRANTS_OF = text(f"""
    SELECT g.id FROM topups t JOIN grants g ON g.account_id = t.account_id
    WHERE t.id = :topup AND g.kind = 'purchased' AND {_GRANTS.format(_BACK)}
""")  # noqa: S608 - constants
_PAID = text("""
    SELECT t.amount_cents - t.discount_cents AS credit, t.tax_cents AS tax,
        coalesce(sum(r.credit_cents), 0) AS refunded_credit, coalesce(sum(r.tax_cents), 0) AS refunded_tax
    FROM topups t LEFT JOIN refunds r ON r.topup_id = t.id AND r.status IN ('taken', 'sent', 'succeeded')
    WHERE t.id = :topup GROUP BY t.id
""")
_FIND = {
    "id": "id = CAST(:value AS uuid)",
    "refund": "refund_id = :value",
}
_LIST = "SELECT * FROM refunds listed WHERE (CAST(:before AS uuid) IS NULL OR id < CAST(:before AS uuid))"
_SEARCHED = Searched("refund", "uuid", "created_at")


async def order_refund(tx: AsyncConnection, order: RefundOrder) -> list[RefundRow]:
    """Order a refund, once per idempotency key: a row for each top-up that it takes of.

    Raises :class:`NotRefundable`, :class:`RefundChanged`.
    """
    await tx.execute(_LOCK_ACCOUNT, {"account": order.account_id})
    facts = {"account": order.account_id, "key": order.key}
    if before := await _rows_of(tx, facts):
        is_equal = order.amount in (None, sum(row.wanted_cents for row in before))
        if not is_equal or order.topup_id not in (None, before[0].topup_id):
            raise RefundChanged
        return before
    found = (await tx.execute(_REFUNDABLE, {"account": order.account_id, "topup": order.topup_id})).all()
    refundable = [
        Cents(max(0, min(int(row.unrefunded), whole_cents(int(row.remaining)) - int(row.wanted)))) for row in found
    ]
    total = Cents(sum(refundable))
    wanted = total if order.amount is None else order.amount
    if wanted > total or total == 0:
        raise NotRefundable(total)
    for part in split(wanted, refundable):
        row_facts = {"topup": found[part.position].id, "wanted": part.amount, "reason": order.reason}
        await insert_refund(tx, {**facts, **row_facts, "actor": order.actor, "refund_id": None, "tax": None})
    return await _rows_of(tx, facts)


async def insert_refund(tx: AsyncConnection, facts: dict[str, Any]) -> RefundId | None:
    """Write a row and request its work; None where it is there already."""
    refund_id = await tx.scalar(_INSERT, {"id": new_id(), **facts})
    if refund_id is None:
        return None
    await work.request(tx, f"order:{wire(RefundId, refund_id)}")
    return RefundId(refund_id)


async def refundable_of(tx: AsyncConnection, topup_id: TopupId) -> Refundable:
    """A payment as refunds see it."""
    row = (await tx.execute(_PAID, {"topup": topup_id})).one()
    return Refundable(Cents(row.credit), Cents(row.tax), Cents(int(row.refunded_credit)), Cents(int(row.refunded_tax)))


async def grants_of(tx: AsyncConnection, topup_id: TopupId) -> tuple[GrantId, ...]:
    """The purchased grants of a top-up: its own, and what was given back after a failed refund or a won dispute."""
    return tuple(GrantId(row.id) for row in await tx.execute(_GRANTS_OF, {"topup": topup_id}))


async def find_refund(tx: AsyncConnection, by: str, value: object, *, locked: bool = False) -> RefundRow | None:
    """A refund by our ``id`` or by Stripe's, ``refund``."""
    statement = f"SELECT * FROM refunds WHERE {_FIND[by]}{' FOR NO KEY UPDATE' if locked else ''}"  # noqa: S608
    row = (await tx.execute(text(statement), {"value": value})).first()
    return None if row is None else _row(row._mapping)


async def list_refunds(tx: AsyncConnection, wanted: Wanted = ALL, *, before: UUID | None, most: int) -> list[RefundRow]:
    """List the refunds that are looked for, the newest first."""
    which, values = await conditions(tx, wanted, _SEARCHED)
    rows = await tx.execute(
        text(f"{_LIST}{which} ORDER BY id DESC LIMIT :most"), {**values, "before": before, "most": most}
    )
    return [_row(row._mapping) for row in rows]


async def _rows_of(tx: AsyncConnection, facts: dict[str, object]) -> list[RefundRow]:
    return [_row(row._mapping) for row in await tx.execute(_BY_KEY, facts)]


def _row(row: Any) -> RefundRow:  # noqa: ANN401 - a row of the driver's
    return msgspec.convert(dict(row), RefundRow)
