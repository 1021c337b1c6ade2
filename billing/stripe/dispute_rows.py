"""Reads and lists disputes as we keep them. Nothing here speaks to Stripe, so `serve` may import it."""

from datetime import datetime

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.stripe.dispute_rules import DisputeStatus
from billing.stripe.search import ALL, Searched, Wanted, conditions
from billing.stripe.values import Cents
from store.ids import AccountId, TopupId


class DisputeRow(msgspec.Struct, frozen=True, kw_only=True):
    """A dispute as we keep it; amounts are cents."""

    id: str
    topup_id: TopupId
    account_id: AccountId
    amount_cents: Cents
    credit_cents: Cents
    reason: str
    status: DisputeStatus
    opened_at: datetime
    changed_at: datetime


_LIST = "SELECT * FROM disputes listed WHERE true"
_BEFORE = " AND (opened_at, id) < (:before_at, :before_id)"
_SEARCHED = Searched("dispute", "text", "opened_at")


async def list_disputes(
    tx: AsyncConnection, wanted: Wanted = ALL, *, before: tuple[datetime, str] | None = None, most: int
) -> list[DisputeRow]:
    """List the disputes that are looked for, the newest first; ``before`` is the last one of the page before."""
    which, values = await conditions(tx, wanted, _SEARCHED)
    if before is not None:
        which += _BEFORE
        values |= {"before_at": before[0], "before_id": before[1]}
    rows = await tx.execute(
        text(f"{_LIST}{which} ORDER BY opened_at DESC, id DESC LIMIT :most"), {**values, "most": most}
    )
    return [msgspec.convert(dict(row._mapping), DisputeRow) for row in rows]
