"""Orders top-ups and refunds for accounts through the one write path, and resolves what a person had to look at."""

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.money import to_usd
from billing.stripe.config import MISSING, StripeConfig
from billing.stripe.refunds import NotRefundable, RefundChanged, RefundOrder, RefundRow, order_refund
from billing.stripe.reviews import Review, find_review, resolve
from billing.stripe.topups import OPEN_MAX, AccountIsClosed, OrderChanged, TooManyOpen, Topup, order_topup
from billing.stripe.values import Cents, nano_of
from router.changes.audit import Change
from router.changes.transaction import UnitOfWork
from router.errors import Conflict, IdempotencyMismatch, InvalidRequest, NotFound, PaymentsNotConfigured
from store.ids import AccountId, ReviewId, wire

ANOTHER_REQUEST = "This Idempotency-Key was used for another request. Use a new key for a new request."


def require_stripe(config: StripeConfig | None) -> StripeConfig:
    """The settings of Stripe. Raises ``PaymentsNotConfigured``, which says what is missing."""
    if config is None:
        raise PaymentsNotConfigured(MISSING)
    return config


async def place_topup(
    tx: AsyncConnection,
    config: StripeConfig | None,
    account_id: AccountId,
    amount: Cents,
    *,
    save_card: bool,
    actor: str,
    key: str,
) -> Topup:
    """Order credit within the limits, once per key.

    Raises ``PaymentsNotConfigured``, ``InvalidRequest``, ``IdempotencyMismatch``, ``Conflict``.
    """
    limits = require_stripe(config)
    if not limits.topup_min <= amount <= limits.topup_max:
        least, most = to_usd(nano_of(limits.topup_min)), to_usd(nano_of(limits.topup_max))
        raise InvalidRequest(f"A top-up is between {least} and {most} USD.", param="amount_usd")
    try:
        return await order_topup(tx, account_id, amount, save_card=save_card, actor=actor, key=key)
    except OrderChanged:
        raise IdempotencyMismatch(ANOTHER_REQUEST, param="Idempotency-Key") from None
    except AccountIsClosed:
        raise Conflict("The account is closed for good.", param="account") from None
    except TooManyOpen:
        raise Conflict(
            f"{OPEN_MAX} top-ups of this account are open. Pay one of them, or wait until they expire within a day."
        ) from None


async def place_refund(tx: AsyncConnection, config: StripeConfig | None, order: RefundOrder) -> list[RefundRow]:
    """Order a refund of unused purchased credit, once per key.

    Raises ``PaymentsNotConfigured``, ``InvalidRequest``, ``IdempotencyMismatch``.
    """
    require_stripe(config)
    try:
        return await order_refund(tx, order)
    except RefundChanged:
        raise IdempotencyMismatch(ANOTHER_REQUEST, param="Idempotency-Key") from None
    except NotRefundable as refused:
        left = to_usd(nano_of(refused.left))
        raise InvalidRequest(
            f"At most {left} USD can be refunded: what is left of credit that was paid for, in whole cents, without "
            "what is being refunded or is disputed.",
            param="amount_usd",
            details={"refundable_usd": left},
        ) from None


async def resolve_review(work: UnitOfWork, review_id: ReviewId, resolution: str) -> Review:
    """Note what a person decided. Raises ``NotFound``, ``Conflict`` where it is resolved already."""
    before = await find_review(work.connection, review_id)
    if before is None:
        raise NotFound(f"There is no review {wire(ReviewId, review_id)}.", param="review")
    if before.resolved_at is not None:
        raise Conflict(f"{before.resolved_by} resolved it before: {before.resolution}")
    await resolve(work.connection, review_id, work.actor, resolution)
    facts = {"subject": before.subject, "cause": before.cause}
    work.record_change(
        Change("review.resolve", wire(ReviewId, review_id), before.account_id, after={**facts}, reason=resolution)
    )
    after = await find_review(work.connection, review_id)
    assert after is not None, "it was there a moment ago; this is a bug"
    return after
