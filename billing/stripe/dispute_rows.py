"""Reads and lists disputes as we keep them. Nothing here speaks to Stripe, so `serve` may import it."""

from datetime import datetime

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.stripe.dispute_rules import DisputeStatus
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


_LIST = text("""
    SELECT * FROM disputes WHERE (CAST(:after AS text) IS NULL OR id > CAST(:after AS text)) ORDER BY id LIMIT :most
""")


async def list_disputes(tx: AsyncConnection, *, after: str | None, most: int) -> list[DisputeRow]:
    """List the disputes in the order of Stripe's ids."""
    rows = await tx.execute(_LIST, {"after": after, "most": most})
    return [msgspec.convert(dict(row._mapping), DisputeRow) for row in rows]
