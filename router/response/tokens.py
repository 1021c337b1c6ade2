"""Counts a call's tokens by the model's own tokenizer, which only workers of ours have, and computes what is billed.

Tokens are counted only where the number decides something: for credit that the bound does not fit, for a request that
may be too large, for a quote, and for an answer of a provider that we do not count for otherwise. Only endpoints of the
call's own route count, since no other may see its text.
"""

import asyncio
from collections.abc import Mapping
from datetime import datetime

import msgspec

from billing.money import MAX_INT32, NanoUSD, cost_ceil
from billing.values import Hold, Quote, Usage
from catalog.values import Model
from providers.outcomes import Failure, TooLong
from providers.protocol import Provider
from router.dispatch.attempt import build_attempt
from router.dispatch.dispatch import Delivery
from router.dispatch.retries import ATTEMPTS_MAX
from router.dispatch.state import DispatchState
from router.dispatch.usage_drift import compare_count, differs_by_special_tokens
from router.errors import InputTooLong
from router.request.estimate import exact_quote
from router.routing.failures import error_for
from router.values import EmbedRequest, RawCall, Route
from store.ids import ProviderId, RequestId

# All endpoints together may take this long, and never longer than the call has left.
COUNT_WITHIN_S = 5.0
# A count that stands beside a usage that the provider told is not waited for longer.
COMPARE_WITHIN_S = 1.0
COUNTING_KINDS = frozenset({"worker"})


async def count_tokens(
    route: Route,
    request: EmbedRequest,
    model: Model,
    providers: Mapping[ProviderId, Provider],
    request_id: RequestId,
    deadline_at: float,
) -> int | None:
    """Exact tokens, prompt and special ones included, from the first endpoint that counts; None where none does.

    ``deadline_at`` is on the loop's clock. Raises InputTooLong for an input that the model does not take whole.
    """
    loop = asyncio.get_running_loop()
    until = min(deadline_at, loop.time() + COUNT_WITHIN_S)
    for endpoint in route.order[:ATTEMPTS_MAX]:
        left_s = until - loop.time()
        if left_s <= 0:
            return None
        try:
            attempt = build_attempt(endpoint, request, model, request_id)
            tokens = await providers[endpoint.provider_id].count(attempt, left_s)
        except TooLong as fault:
            raise error_for([(endpoint, fault)]) from fault
        except Failure:
            continue
        if tokens is not None:
            return tokens
    return None


def can_count(route: Route) -> bool:
    """Whether an endpoint of the route has the model's tokenizer at hand."""
    return any(endpoint.provider_kind in COUNTING_KINDS for endpoint in route.order)


async def count_quote(
    quote: Quote,
    route: Route,
    request: EmbedRequest,
    model: Model,
    providers: Mapping[ProviderId, Provider],
    call: RawCall,
) -> Quote | None:
    """The quote with exact tokens instead of their bound; None where no endpoint counts.

    Raises InputTooLong, TooManyTokens.
    """
    tokens = await count_tokens(route, request, model, providers, call.request_id, call.deadline_at)
    return None if tokens is None else exact_quote(request, model, quote, tokens)


async def count_own_usage(
    delivery: Delivery, hold: Hold, call: RawCall, request: EmbedRequest, model: Model, state: DispatchState
) -> int | None:
    """Our own count of an answer, where it is what is billed: see docs/billed-tokens.md. None: the provider's is.

    What the provider told is compared with it wherever somebody counts. It never fails the call, which was answered.
    """
    if delivery.tokens is None or delivery.guessed:
        return await count_missing_usage(delivery, hold, call, request, model, state)
    route = call.trace.route
    if delivery.exact or delivery.by_size or hold.quote.exact or route is None or not can_count(route):
        return None
    until = min(call.deadline_at, asyncio.get_running_loop().time() + COMPARE_WITHIN_S)
    try:
        own = await count_tokens(route, request, model, state.providers, hold.id, until)
    except InputTooLong:
        return None
    if own is None:
        return None
    compare_count(delivery.tokens, own, delivery.endpoint, request.inputs, state)
    return None if differs_by_special_tokens(delivery.tokens, own, request.inputs) else own


async def count_missing_usage(
    delivery: Delivery, hold: Hold, call: RawCall, request: EmbedRequest, model: Model, state: DispatchState
) -> int | None:
    """Our own count of an answer that came without usage, where one is needed and possible; the lapse is counted too.

    It never fails the call, which was answered: None where nobody counts in time.
    """
    state.counts.usage_missing[delivery.endpoint.provider_name] += 1
    route = call.trace.route
    if hold.quote.exact or route is None:
        return None
    try:
        return await count_tokens(route, request, model, state.providers, hold.id, call.deadline_at)
    except InputTooLong:
        return None


def guaranteed_quote(quote: Quote, counted: Quote | None, route: Route) -> Quote:
    """The quote that a call is promised before it runs: ``exact`` only where every endpoint bills the same number.

    Where no endpoint counts, token ids are billed as the estimate counts them; where all do, as they count. Where some
    do, the bill depends on which serves the call: then the quote is a bound.
    """
    counting = sum(endpoint.provider_kind in COUNTING_KINDS for endpoint in route.order)
    if not counting:
        return quote
    if counted is not None and counting == len(route.order):
        return counted
    return msgspec.structs.replace(quote, exact=False)


def compute_usage(
    delivery: Delivery, request: EmbedRequest, model: Model, hold: Hold, now: datetime, own_count: int | None = None
) -> Usage:
    """The usage that the call is billed and recorded with; ``own_count`` goes before what a provider told.

    ``now`` is the instant of admission (UTC).
    """
    tokens = billed_tokens(delivery, hold, own_count)
    # A provider's number may be any: no more is recorded than there is room for, nor believed as a cost.
    provider_tokens = None if delivery.tokens is None or delivery.guessed else min(delivery.tokens, MAX_INT32)
    price = hold.quote.price
    return Usage(
        model_id=model.id,
        provider_id=delivery.endpoint.provider_id,
        endpoint_id=delivery.endpoint.id,
        space=delivery.endpoint.space,
        inputs=request.inputs,
        tokens=tokens,
        provider_tokens=provider_tokens,
        cost=NanoUSD(min(cost_ceil(tokens, price.nano_per_mtok), hold.quote.amount_max)),
        provider_cost=cost_ceil(provider_tokens or tokens, delivery.endpoint.cost_nano_per_mtok),
        occurred_at=now,
        latency_ms=round(delivery.upstream_s * 1000),
        attempts=delivery.attempts,
    )


def billed_tokens(delivery: Delivery, hold: Hold, own_count: int | None = None) -> int:
    """The number that the customer pays for: see docs/billed-tokens.md. Never more than the hold is for."""
    quote = hold.quote
    if delivery.exact and delivery.tokens is not None:
        return min(delivery.tokens, quote.tokens_max)
    if quote.exact:
        return quote.tokens_max
    if own_count is None:
        # The bound is four to five times what there is: a provider's silence is not the customer's to pay.
        own_count = quote.tokens_limited if delivery.tokens is None else delivery.tokens
    return max(1, min(own_count, quote.tokens_max))
