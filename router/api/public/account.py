"""Serves ``GET /v1/account``: what the account behind a key has, what of it is held, and what the key may do."""

from typing import Literal

from pydantic import Field

from billing.cap_rules import CapUse
from billing.caps import read_key_caps
from billing.errors import BillingUnavailable
from billing.money import to_usd
from billing.values import CapScope
from router.api.cap_forms import CapOut as NamedCapOut
from router.api.cap_forms import cap_out
from router.api.fields import AccountIdText, KeyIdText
from router.api.forms import Answer, answer_of
from router.api.operation import Operations, Who
from router.api.public.request import Private
from router.errors import StoreUnavailable
from router.identity.scopes import SPENDING
from router.values import Key
from store.postgres import STORE_FAULTS

operations = Operations("accounts", tag="Account", who=Who.KEY)


class LimitsOut(Answer):
    """Per key: requests and tokens per minute, calls at once."""

    requests_per_minute: int
    tokens_per_minute: int
    concurrency: int


class CapOut(Answer):
    """The most the key may spend per ``period``, and what of it is left; amounts are USD as decimal text."""

    amount: str
    period: str
    spent: str = Field(
        description="What calls of the present period were charged. A call in flight counts from its charge on, which "
        "is before its answer."
    )
    left: str = Field(
        description="The amount less what is spent, never below 0. Calls in flight may hold some of it until they are "
        "charged what they cost."
    )
    resets_at: str | None = Field(
        description="When the next period begins, in UTC; null for a total cap, which has one period."
    )


class KeyOut(Answer):
    """The key that sends the request."""

    id: KeyIdText
    name: str
    use: str
    is_test: bool
    models: list[str] = Field(description="The models that it may use; empty: every model.")
    allow_token_ids: bool = Field(
        description="It sends token ids of the called model's own tokenizer; without it ids are taken only by models "
        "with the tokenizer that OpenAI's clients encode with."
    )
    limits: LimitsOut
    cap: CapOut | None = Field(description="The first of caps; null without one.")
    caps: list[NamedCapOut] = Field(description="The key's caps: total first, then month, then day.")
    expires_at: str | None


class AccountOut(Answer):
    """An account; amounts are USD as decimal text."""

    id: AccountIdText
    balance_usd: str
    held_usd: str | None = Field(description="Credit set aside for calls in flight; null where that is not known.")
    available_usd: str | None = Field(description="The balance less what is held; null where that is not known.")
    debt_usd: str = Field(
        description="What was served beyond the credit. New credit pays it first; until then there is none."
    )
    balance: str = Field(description="balance_usd, by the name that it had first; so are the three after it.")
    held: str | None
    available: str | None
    debt: str
    key: KeyOut | None = Field(description="Null where no API key asks, but a management key or a member.")
    currency: Literal["USD"] = "USD"
    object: Literal["account"] = "account"


@operations.get("/v1/account", verb="show", scope=SPENDING, summary="Balance, holds and limits")
async def retrieve_account(request: Private) -> AccountOut:
    """The balance as the ledger has it, the credit held by calls in flight, and the limits of the key that asks."""
    projection = request.context.projection
    try:
        balance = await projection.balance(request.account_id)
        caps = await _caps(request)
    except (BillingUnavailable, *STORE_FAULTS) as fault:
        raise StoreUnavailable(
            "The balance cannot be read right now. Try again in a moment.", retry_after_s=1, detail=str(fault)
        ) from fault
    credit, debt = to_usd(balance.balance), to_usd(balance.debt)
    held, available = to_usd(balance.held), to_usd(balance.balance - balance.held)
    # The processes of pages have no Redis, where calls hold their credit.
    is_held_known = projection.redis is not None
    return AccountOut(
        id=request.account_id,
        balance_usd=credit,
        held_usd=held if is_held_known else None,
        available_usd=available if is_held_known else None,
        debt_usd=debt,
        balance=credit,
        held=held if is_held_known else None,
        available=available if is_held_known else None,
        debt=debt,
        key=None if request.key is None else _key_out(request.key, caps),
    )


def _key_out(key: Key, caps: tuple[CapUse, ...]) -> KeyOut:
    return KeyOut(
        id=key.id,
        name=key.name,
        use=key.use.value,
        is_test=key.is_test,
        models=sorted(key.models),
        allow_token_ids=key.allow_token_ids,
        limits=answer_of(LimitsOut, key.payer.limits),
        cap=_first(caps),
        caps=[cap_out(use) for use in caps],
        expires_at=f"{key.expires_at:%Y-%m-%dT%H:%M:%SZ}" if key.expires_at else None,
    )


async def _caps(request: Private) -> tuple[CapUse, ...]:
    """The key's own caps with what is left of them now."""
    key = request.key
    own = () if key is None else tuple(cap for cap in key.payer.caps if cap.scope is CapScope.KEY)
    if key is None or not own:
        return ()
    async with request.context.db.transaction() as connection:
        return (await read_key_caps(connection, {key.id: own}, request.exchange.now))[key.id]


def _first(caps: tuple[CapUse, ...]) -> CapOut | None:
    if not caps:
        return None
    use = caps[0]
    return CapOut(
        amount=to_usd(use.cap.amount),
        period=use.cap.period.value,
        spent=to_usd(use.spent),
        left=to_usd(use.left),
        resets_at=f"{use.resets_at:%Y-%m-%dT%H:%M:%SZ}" if use.resets_at else None,
    )
