"""What a delivered call used: the billed tokens, its cost, and what it cost us. Pure."""

from datetime import datetime

from billing.money import MAX_INT32, NanoUSD, cost_ceil
from billing.values import Hold, Usage
from catalog.values import Model
from router.dispatch.dispatch import Delivery
from router.values import EmbedRequest


def usage(
    delivery: Delivery, request: EmbedRequest, model: Model, hold: Hold, now: datetime, ours: int | None = None
) -> Usage:
    """What the call is billed and recorded with; ``ours`` is our count of an answer that came without usage.

    ``now`` is the instant of admission (UTC).
    """
    tokens = billed_tokens(delivery, hold, ours)
    # What a provider tells may be any number: no more is recorded than there is room for, nor believed as a cost.
    told = None if delivery.tokens is None or delivery.guessed else min(delivery.tokens, MAX_INT32)
    price = hold.quote.price
    return Usage(
        model_id=model.id,
        provider_id=delivery.endpoint.provider_id,
        endpoint_id=delivery.endpoint.id,
        space=delivery.endpoint.space,
        inputs=request.inputs,
        tokens=tokens,
        provider_tokens=told,
        cost=NanoUSD(min(cost_ceil(tokens, price.nano_per_mtok), hold.quote.amount_max)),
        provider_cost=cost_ceil(told or tokens, delivery.endpoint.cost_nano_per_mtok),
        occurred_at=now,
        latency_ms=round(delivery.upstream_s * 1000),
        attempts=delivery.attempts,
    )


def billed_tokens(delivery: Delivery, hold: Hold, ours: int | None = None) -> int:
    """The number that the customer pays for: see docs/billed-tokens.md. Never more than the hold is for."""
    quote = hold.quote
    if delivery.exact and delivery.tokens is not None:
        return min(delivery.tokens, quote.tokens_max)
    if quote.exact:
        return quote.tokens_max
    if ours is None:
        # The bound is four to five times what there is: a provider's silence is not the customer's to pay.
        ours = quote.tokens_limited if delivery.tokens is None else delivery.tokens
    return max(1, min(ours, quote.tokens_max))
