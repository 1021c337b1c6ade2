"""Facts of top-ups and refunds that customers and operators see alike: forms to inherit, and how they are filled."""

from typing import Any, Literal

from pydantic import Field

from billing.money import to_usd
from billing.stripe.refund_rules import RefundStatus
from billing.stripe.refunds import RefundRow
from billing.stripe.topup_rules import TopupStatus
from billing.stripe.topups import Topup
from billing.stripe.values import nano_of
from router.api.fields import Instant, RefundIdText, TopupIdText, UsdCents
from router.api.forms import Answer


class TopupFacts(Answer):
    """Credit that was ordered, and what became of it; amounts are USD as decimal text."""

    id: TopupIdText
    status: TopupStatus = Field(
        description="new: the page is being made, ask again. open: pay at url. processing: paid by a method that "
        "settles later. paid: credited. failed, expired: nothing was credited. review: paid, and a person looks at it."
    )
    is_recharge: bool = Field(description="Ordered by auto-recharge, and paid as an invoice.")
    amount_usd: UsdCents
    url: str | None = Field(description="The page at Stripe on which it is paid; null before and afterwards.")
    paid_usd: str | None = Field(description="What was paid in all: the amount less the discount, and the tax.")
    tax_usd: str | None
    discount_usd: str | None = Field(description="What a promotion code took off; its credit is promotional.")
    problem: str
    created_at: Instant
    paid_at: Instant | None
    currency: Literal["USD"] = "USD"
    object: Literal["topup"] = "topup"


class RefundFacts(Answer):
    """A refund of one top-up; amounts are USD as decimal text."""

    id: RefundIdText
    topup: TopupIdText
    status: RefundStatus = Field(
        description="requested: waits for calls in flight. taken, sent: on its way. succeeded: at the bank. failed: "
        "the credit is back. empty: it was spent meanwhile."
    )
    wanted_usd: UsdCents
    credit_usd: str | None = Field(description="The credit that is refunded: less where calls spent of it meanwhile.")
    tax_usd: str | None
    created_at: Instant
    currency: Literal["USD"] = "USD"
    object: Literal["refund"] = "refund"


def topup_facts(topup: Topup) -> dict[str, Any]:
    """The fields of :class:`TopupFacts`."""
    return {
        "id": topup.id,
        "status": topup.status,
        "is_recharge": topup.is_recharge,
        "amount_usd": topup.amount_cents,
        "url": topup.url if topup.status is TopupStatus.OPEN else None,
        "paid_usd": _usd(topup.paid_cents),
        "tax_usd": _usd(topup.tax_cents),
        "discount_usd": _usd(topup.discount_cents),
        "problem": topup.problem,
        "created_at": topup.created_at,
        "paid_at": topup.paid_at,
    }


def refund_facts(row: RefundRow) -> dict[str, Any]:
    """The fields of :class:`RefundFacts`; what is taken is decided once the credit is."""
    return {
        "id": row.id,
        "topup": row.topup_id,
        "status": row.status,
        "wanted_usd": row.wanted_cents,
        "credit_usd": _usd(row.credit_cents),
        "tax_usd": None if row.credit_cents is None else _usd(row.tax_cents or 0),
        "created_at": row.created_at,
    }


def _usd(cents: int | None) -> str | None:
    return None if cents is None else to_usd(nano_of(cents))
