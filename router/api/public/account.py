"""``GET /v1/account``: what the account behind a key has, what of it is held, and what the key may do."""

import msgspec
from fastapi import Request, Response

from billing.errors import BillingUnavailable
from billing.money import to_usd
from router.api.exchange import EXCHANGE, Exchange
from router.api.operation import Operations, Who
from router.context import RouterContext
from router.errors import StoreUnavailable
from store.ids import AccountId, KeyId, wire

operations = Operations("accounts", tag="Account", who=Who.KEY)


class LimitsOut(msgspec.Struct, frozen=True):
    """Per key: requests and tokens per minute, calls at once."""

    requests_per_minute: int
    tokens_per_minute: int
    concurrency: int


class CapOut(msgspec.Struct, frozen=True):
    """The most the key may spend per ``period``, in USD."""

    amount: str
    period: str


class KeyOut(msgspec.Struct, frozen=True):
    """The key that asks; ``models`` empty means every model."""

    id: str
    name: str
    use: str
    is_test: bool
    models: list[str]
    limits: LimitsOut
    cap: CapOut | None
    expires_at: str | None


class AccountOut(msgspec.Struct, frozen=True):
    """USD as decimal text; ``available`` is ``balance`` less ``held`` (credit set aside for calls in flight)."""

    id: str
    balance: str
    held: str
    available: str
    key: KeyOut
    currency: str = "USD"
    object: str = "account"


@operations.get("/v1/account", verb="show", summary="Balance, holds and limits")
async def retrieve_account(request: Request) -> Response:
    """The balance as the ledger has it, the credit held by calls in flight, and the limits of this key."""
    exchange: Exchange = request.scope[EXCHANGE]
    context: RouterContext = request.app.state.context
    assert exchange.caller is not None, "an operation for keys was reached without one; this is a bug"
    key = exchange.caller.key
    try:
        balance = await context.projection.balance(key.account_id)
    except BillingUnavailable as fault:
        raise StoreUnavailable(
            "The balance cannot be read right now. Try again in a moment.", retry_after_s=1, detail=str(fault)
        ) from fault
    limits = key.payer.limits
    cap = key.payer.cap
    out = AccountOut(
        id=wire(AccountId, key.account_id),
        balance=to_usd(balance.balance),
        held=to_usd(balance.held),
        available=to_usd(balance.balance - balance.held),
        key=KeyOut(
            id=wire(KeyId, key.id),
            name=key.name,
            use=key.use.value,
            is_test=key.is_test,
            models=sorted(key.models),
            limits=LimitsOut(limits.requests_per_minute, limits.tokens_per_minute, limits.concurrency),
            cap=CapOut(to_usd(cap.amount), cap.period.value) if cap else None,
            expires_at=f"{key.expires_at:%Y-%m-%dT%H:%M:%SZ}" if key.expires_at else None,
        ),
    )
    return Response(msgspec.json.encode(out), media_type="application/json", headers={"cache-control": "no-store"})
