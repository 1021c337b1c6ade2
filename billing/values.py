"""Pure. The values that cross billing's border: what the router passes in and gets back."""

import math
from datetime import datetime
from enum import StrEnum
from uuid import UUID

import msgspec

from billing.money import NanoUSD, Price
from store.ids import AccountId, EndpointId, EntryId, KeyId, ModelId, PriceId, ProcessId, ProviderId, RequestId


class CapPeriod(StrEnum):
    """How often a cap or a budget starts again (UTC)."""

    TOTAL = "total"
    DAY = "day"
    MONTH = "month"


class CapScope(StrEnum):
    """Whose spending a cap limits."""

    KEY = "key"
    ACCOUNT = "account"


class Cap(msgspec.Struct, frozen=True):
    """The most that a key, or all keys of an account together, may spend per period."""

    amount: NanoUSD
    period: CapPeriod
    scope: CapScope = CapScope.KEY


class Limits(msgspec.Struct, frozen=True):
    """The limits of one key: requests and tokens per minute, concurrent calls. Always positive."""

    requests_per_minute: int = 3_000
    tokens_per_minute: int = 10_000_000
    concurrency: int = 200


class Payer(msgspec.Struct, frozen=True):
    """Who pays for a call and within which limits; billing knows nothing else of the caller.

    ``caps`` are the key's and its account's, in the order of :func:`billing.cap_rules.ordered`.
    """

    account_id: AccountId
    key_id: KeyId
    limits: Limits
    caps: tuple[Cap, ...] = ()


class Quote(msgspec.Struct, frozen=True):
    """An upper bound of a call's tokens and amount; ``exact`` where the tokens were counted, not bounded.

    ``tokens_limited`` is the guess: like OpenAI's a quarter of the UTF-8 bytes, or the ids. Where nobody counts, so
    much must be left of the key's tokens per minute, and so much is billed for an answer without usage.
    """

    tokens_max: int
    amount_max: NanoUSD
    price: Price
    exact: bool = False
    tokens_limited: int = 1


class LimitState(msgspec.Struct, frozen=True):
    """What the ``x-ratelimit-*`` headers say: the limit, the rest, and milliseconds until the limit is full again.

    The call's own request is counted from its admission on; its tokens are when they are billed (:meth:`after`).
    """

    requests_limit: int
    requests_remaining: int
    requests_reset_ms: int
    tokens_limit: int
    tokens_remaining: int
    tokens_reset_ms: int

    def after(self, tokens: int) -> "LimitState":
        """The state once so many tokens were billed."""
        return msgspec.structs.replace(
            self,
            tokens_remaining=max(0, self.tokens_remaining - tokens),
            tokens_reset_ms=self.tokens_reset_ms + math.ceil(tokens * 60_000 / self.tokens_limit),
        )


class Hold(msgspec.Struct, frozen=True):
    """Credit set aside for a call in flight: proof that the call was admitted. Only ``admit`` makes one.

    ``process_id`` is the id under which this process made it; it can be charged only while Postgres knows that id.
    """

    id: RequestId
    payer: Payer
    quote: Quote
    limits: LimitState
    process_id: ProcessId


class Denial(StrEnum):
    """Why a call was not admitted."""

    CREDIT = "credit"
    CREDIT_HELD = "held"
    CAP = "cap"
    CAP_HELD = "cap_held"
    REQUESTS = "requests"
    TOKENS = "tokens"
    TOKENS_HELD = "tokens_held"
    TOKENS_NEVER = "tokens_never"
    CONCURRENCY = "concurrency"


class Denied(msgspec.Struct, frozen=True):
    """A refusal of admission with everything that the caller learns: amounts in nano-USD, the wait in milliseconds.

    ``tokens`` are the least that the call needed of the limit; ``counted`` where they are no guess. ``debt`` is what an
    account owes whose credit is too little. ``cap`` is the one that is in the way, and ``spent`` what is spent of it.
    """

    reason: Denial
    needed: NanoUSD
    balance: NanoUSD
    held: NanoUSD
    spent: NanoUSD
    retry_after_ms: int
    limits: LimitState
    tokens: int = 1
    counted: bool = False
    debt: NanoUSD = NanoUSD(0)
    cap: Cap | None = None


class Idempotent(msgspec.Struct, frozen=True):
    """A client's Idempotency-Key, whose outcome is stored in the transaction that charges."""

    key: str
    status: int
    headers: bytes
    body: bytes


class Usage(msgspec.Struct, frozen=True):
    """What one answered call used, as the router measured it. ``cost`` never exceeds the hold.

    ``occurred_at`` is the instant of admission, so that a cap's period is the same for hold and charge.
    """

    model_id: ModelId
    provider_id: ProviderId
    endpoint_id: EndpointId
    space: str
    inputs: int
    tokens: int
    provider_tokens: int | None
    cost: NanoUSD
    provider_cost: NanoUSD
    occurred_at: datetime
    latency_ms: int
    attempts: int


class Receipt(msgspec.Struct, frozen=True):
    """Proof of one charge: what was booked, under which version of the account."""

    request_id: RequestId
    tokens: int
    charged: NanoUSD
    overdraft: NanoUSD
    version: int
    entry_id: UUID | None


class Balance(msgspec.Struct, frozen=True):
    """An account's money at an instant: the rest of its grants, what of it calls in flight hold, and what it owes."""

    balance: NanoUSD
    held: NanoUSD
    version: int
    debt: NanoUSD


class UsageEvent(msgspec.Struct, frozen=True):
    """The record of one answered call. ``charged`` is what its account paid, ``provider_cost`` what we pay."""

    request_id: RequestId
    occurred_at: datetime
    account_id: AccountId
    key_id: KeyId
    model_id: ModelId
    provider_id: ProviderId
    endpoint_id: EndpointId
    space: str
    inputs: int
    tokens: int
    provider_tokens: int | None
    price_id: PriceId
    nano_per_mtok: int
    cost_nano: NanoUSD
    charged_nano: NanoUSD
    overdraft_nano: NanoUSD
    provider_cost_nano: NanoUSD
    entry_id: EntryId | None
    latency_ms: int
    attempts: int
