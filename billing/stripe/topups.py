"""Orders, reads and lists top-ups. A row is final before Stripe hears of it: jobs make the page from it.

Nothing here speaks to Stripe, so `serve` may import it.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.stripe import work
from billing.stripe.search import ALL, Searched, Wanted, conditions
from billing.stripe.topup_rules import TopupStatus
from billing.stripe.values import Cents
from store.ids import AccountId, TopupId, new_id, wire

# An account that has so many pages open pays one of them first, or waits until they expire.
OPEN_MAX = 10


class Topup(msgspec.Struct, frozen=True, kw_only=True):
    """What a customer ordered, and what became of it. Amounts are cents."""

    id: TopupId
    account_id: AccountId
    idempotency_key: str
    amount_cents: Cents
    save_card: bool
    is_recharge: bool
    actor: str
    status: TopupStatus
    attempt: int
    session_id: str | None
    url: str | None
    intent_id: str | None
    charge_id: str | None
    paid_cents: Cents | None
    tax_cents: Cents | None
    discount_cents: Cents | None
    jurisdiction: str
    problem: str
    created_at: datetime
    changed_at: datetime
    paid_at: datetime | None

    @property
    def reference(self) -> str:
        """Its id as Stripe and customers see it."""
        return wire(TopupId, self.id)

    @property
    def credit_cents(self) -> Cents:
        """What was paid for credit: the ordered amount less a discount."""
        return Cents(self.amount_cents - (self.discount_cents or 0))


class OrderChanged(ValueError):
    """The idempotency key belongs to another order."""


class AccountIsClosed(ValueError):
    """A closed account buys nothing."""


class TooManyOpen(ValueError):
    """So many pages of the account are open that no other is made."""


_ORDER = text("""
    INSERT INTO topups (id, account_id, idempotency_key, amount_cents, save_card, actor)
    VALUES (:id, :account, :key, :amount, :save_card, :actor)
    ON CONFLICT (account_id, idempotency_key) DO NOTHING RETURNING id
""")
_LOCK_ACCOUNT = text("SELECT status = 'closed' FROM accounts WHERE id = :account FOR NO KEY UPDATE")
_OPEN = text(
    "SELECT count(*) FROM topups WHERE account_id = :account AND status IN ('new', 'open')"
    " AND NOT is_recharge AND created_at > now() - interval '1 day'"
)
_COLUMNS = {
    "id": "id = CAST(:value AS uuid)",
    "session": "session_id = :value",
    "intent": "intent_id = :value",
    "charge": "charge_id = :value",
}
_BY_KEY = text("SELECT * FROM topups WHERE account_id = :account AND idempotency_key = :key")
_LIST = "SELECT * FROM topups listed WHERE (CAST(:before AS uuid) IS NULL OR id < CAST(:before AS uuid))"
_SEARCHED = Searched("topup", "uuid", "created_at")


async def order_topup(
    tx: AsyncConnection, account_id: AccountId, amount: Cents, *, save_card: bool, actor: str, key: str
) -> Topup:
    """Order credit, once per idempotency key.

    Raises :class:`OrderChanged`, :class:`TooManyOpen`, :class:`AccountIsClosed`. The order of two requests with one key
    is the one that was first; the other gets its row.
    """
    is_closed = await tx.scalar(_LOCK_ACCOUNT, {"account": account_id})
    facts = {"account": account_id, "key": key}
    found = (await tx.execute(_BY_KEY, facts)).first()
    if found is None:
        if is_closed:
            raise AccountIsClosed
        if int(await tx.scalar(_OPEN, {"account": account_id}) or 0) >= OPEN_MAX:
            raise TooManyOpen
        new = {"id": new_id(), "amount": amount, "save_card": save_card, "actor": actor}
        topup_id = await tx.scalar(_ORDER, {**facts, **new})
        await work.request(tx, f"topup:{wire(TopupId, topup_id)}")
        found = (await tx.execute(_BY_KEY, facts)).one()
    topup = read_topup(found._mapping)
    if (topup.amount_cents, topup.save_card) != (amount, save_card):
        raise OrderChanged
    return topup


async def find_topup(tx: AsyncConnection, by: str, value: object, *, locked: bool = False) -> Topup | None:
    """A top-up by its ``id``, or by Stripe's ``session``, ``intent`` or ``charge``."""
    statement = f"SELECT * FROM topups WHERE {_COLUMNS[by]}{' FOR NO KEY UPDATE' if locked else ''}"  # noqa: S608
    row = (await tx.execute(text(statement), {"value": value})).first()
    return None if row is None else read_topup(row._mapping)


async def list_topups(tx: AsyncConnection, wanted: Wanted = ALL, *, before: UUID | None, most: int) -> list[Topup]:
    """List the top-ups that are looked for, the newest first."""
    which, values = await conditions(tx, wanted, _SEARCHED)
    rows = await tx.execute(
        text(f"{_LIST}{which} ORDER BY id DESC LIMIT :most"), {**values, "before": before, "most": most}
    )
    return [read_topup(row._mapping) for row in rows]


def read_topup(row: Mapping[str, Any] | Any) -> Topup:  # noqa: ANN401 - a row of the driver's
    """A row as a value."""
    return msgspec.convert(dict(row), Topup)
