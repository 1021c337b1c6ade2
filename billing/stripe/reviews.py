"""Keeps the queue of payments that a person has to look at: money that no row of ours explains."""

from datetime import datetime
from enum import StrEnum

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from store.ids import AccountId, ReviewId, TopupId, new_id


class Cause(StrEnum):
    """Why a person has to look."""

    NOT_OURS = "not_ours"
    NOT_AS_ORDERED = "not_as_ordered"
    REFUND_FAILED = "refund_failed"
    REFUND_BY_HAND = "refund_by_hand"
    DISPUTE = "dispute"
    FRAUD_WARNING = "fraud_warning"
    UNKNOWN_KIND = "unknown_kind"
    REFUSED = "refused"
    TOTAL_DIFFERS = "total_differs"
    PAID_ELSEWHERE = "paid_elsewhere"
    PAID_TOO_MUCH = "paid_too_much"


class Review(msgspec.Struct, frozen=True):
    """One thing in the queue; ``resolution`` says what a person decided."""

    id: ReviewId
    subject: str
    cause: str
    message: str
    topup_id: TopupId | None
    account_id: AccountId | None
    opened_at: datetime
    resolved_at: datetime | None
    resolved_by: str | None
    resolution: str | None


_OPEN = text("""
    INSERT INTO payment_reviews (id, subject, cause, message, topup_id, account_id)
    VALUES (:id, :subject, :cause, :message, CAST(:topup AS uuid), CAST(:account AS uuid)) ON CONFLICT DO NOTHING
""")
_LIST = text("""
    SELECT * FROM payment_reviews WHERE (NOT :is_open OR resolved_at IS NULL)
        AND (CAST(:account AS uuid) IS NULL OR account_id = :account)
        AND (CAST(:after AS uuid) IS NULL OR id > CAST(:after AS uuid)) ORDER BY id LIMIT :most
""")
_FIND = text("SELECT * FROM payment_reviews WHERE id = :id FOR UPDATE")
_RESOLVE = text(
    "UPDATE payment_reviews SET resolved_at = now(), resolved_by = :actor, resolution = :text WHERE id = :id"
)


async def open_review(
    tx: AsyncConnection,
    subject: str,
    cause: Cause,
    message: str,
    *,
    topup_id: TopupId | None = None,
    account_id: AccountId | None = None,
) -> None:
    """Put something into the queue; the same subject and cause is there once."""
    facts = {"id": new_id(), "subject": subject, "cause": cause.value, "message": message}
    await tx.execute(_OPEN, {**facts, "topup": topup_id, "account": account_id})


async def list_reviews(
    tx: AsyncConnection, *, is_open: bool, account_id: AccountId | None = None, after: ReviewId | None, most: int
) -> list[Review]:
    """List the queue, the oldest first; only what is open, or all of it; of one account where it is named."""
    rows = await tx.execute(_LIST, {"is_open": is_open, "account": account_id, "after": after, "most": most})
    return [_review(row._mapping) for row in rows]


async def find_review(tx: AsyncConnection, review_id: ReviewId) -> Review | None:
    """One of the queue, its row locked."""
    row = (await tx.execute(_FIND, {"id": review_id})).first()
    return None if row is None else _review(row._mapping)


async def resolve(tx: AsyncConnection, review_id: ReviewId, actor: str, resolution: str) -> None:
    """Note who decided what."""
    await tx.execute(_RESOLVE, {"id": review_id, "actor": actor, "text": resolution})


def _review(row: object) -> Review:
    return msgspec.convert(dict(row), Review)  # type: ignore[call-overload]
