"""Serves ``GET /v1/account``: what the account behind a key has, what of it is held, and what the key may do."""

from typing import Literal

from pydantic import Field

from billing.errors import BillingUnavailable
from billing.money import to_usd
from router.api.fields import AccountIdText, KeyIdText
from router.api.forms import Answer, answer_of
from router.api.operation import Operations, Who
from router.api.public.request import Private
from router.errors import StoreUnavailable

operations = Operations("accounts", tag="Account", who=Who.KEY)


class LimitsOut(Answer):
    """Per key: requests and tokens per minute, calls at once."""

    requests_per_minute: int
    tokens_per_minute: int
    concurrency: int


class CapOut(Answer):
    """The most the key may spend per ``period``, in USD."""

    amount: str
    period: str


class KeyOut(Answer):
    """The key that sends the request."""

    id: KeyIdText
    name: str
    use: str
    is_test: bool
    models: list[str] = Field(description="The models that it may use; empty: every model.")
    limits: LimitsOut
    cap: CapOut | None
    expires_at: str | None


class AccountOut(Answer):
    """An account; amounts are USD as decimal text."""

    id: AccountIdText
    balance: str
    held: str = Field(description="Credit set aside for calls in flight.")
    available: str = Field(description="The balance less what is held.")
    key: KeyOut
    currency: Literal["USD"] = "USD"
    object: Literal["account"] = "account"


@operations.get("/v1/account", verb="show", summary="Balance, holds and limits")
async def retrieve_account(request: Private) -> AccountOut:
    """The balance as the ledger has it, the credit held by calls in flight, and the limits of this key."""
    key = request.key
    try:
        balance = await request.context.projection.balance(key.account_id)
    except BillingUnavailable as fault:
        raise StoreUnavailable(
            "The balance cannot be read right now. Try again in a moment.", retry_after_s=1, detail=str(fault)
        ) from fault
    limits, cap = key.payer.limits, key.payer.cap
    return AccountOut(
        id=key.account_id,
        balance=to_usd(balance.balance),
        held=to_usd(balance.held),
        available=to_usd(balance.balance - balance.held),
        key=KeyOut(
            id=key.id,
            name=key.name,
            use=key.use.value,
            is_test=key.is_test,
            models=sorted(key.models),
            limits=answer_of(LimitsOut, limits),
            cap=CapOut(amount=to_usd(cap.amount), period=cap.period.value) if cap else None,
            expires_at=f"{key.expires_at:%Y-%m-%dT%H:%M:%SZ}" if key.expires_at else None,
        ),
    )
