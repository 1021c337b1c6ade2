"""Quotes a call for free: its cost and its route by the pipeline's own steps up to admission, then a token count.

A quote holds no credit, and counts against the key's limits of requests, tokens and concurrency as the call itself
would: it makes a tokenizer work.
"""

import asyncio
from contextlib import AbstractAsyncContextManager

import msgspec

from billing.money import NanoUSD
from billing.values import Hold, Quote
from catalog.permit import decide, may_charge
from catalog.values import Decision, Model
from router.context import RouterContext
from router.errors import InputTooLong, LicenseRestricted, Refusal, TooManyTokens
from router.pipeline import PlannedCall, choose_route, plan_call
from router.request.admission import admit
from router.request.body import parse
from router.request.estimate import token_bound
from router.response.tokens import count_quote, guaranteed_quote
from router.values import Caller, EmbedRequest, RawCall, Route


class TooLongInput(msgspec.Struct, frozen=True):
    """The first input that the model does not take whole. Nothing is ever cut: such a call is refused."""

    index: int
    tokens: int | None
    limit: int


class QuoteResult(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome. ``refused`` is the error that the call would get; without ``quote`` it has no price at all.

    ``lengths_known`` False: no endpoint could count whether an input is too long.
    """

    model: Model
    request: EmbedRequest
    decision: Decision
    quote: Quote | None = None
    route: Route | None = None
    too_long: TooLongInput | None = None
    lengths_known: bool = False
    refused: Refusal | None = None


async def quote(call: RawCall, caller: Caller, context: RouterContext) -> QuoteResult:
    """Quote a call. Raises what makes the request itself wrong, and the limits that the quote itself runs into.

    A license that forbids the call, endpoints that are missing and inputs that are too long are parts of the result.
    """
    key, trace = caller.key, call.trace
    request = parse(call.body)
    try:
        planned = plan_call(request, call, key, context)
        route = choose_route(planned, context, asyncio.get_running_loop().time())
    except Refusal as refusal:
        if trace.model is None or (trace.quote is None and not isinstance(refusal, LicenseRestricted)):
            raise
        decision = trace.decision or decide(trace.model, key.use, key.accepted, call.now)
        if isinstance(refusal, LicenseRestricted) and decision.allowed:
            decision = may_charge(trace.model, call.now)
        return QuoteResult(model=trace.model, request=request, decision=decision, quote=trace.quote, refused=refusal)
    async with _admit_without_credit(call, caller, planned.quote, context):
        return await _count(planned, route, call, context)


def _admit_without_credit(
    call: RawCall, caller: Caller, quote: Quote, context: RouterContext
) -> AbstractAsyncContextManager[Hold]:
    """Hold nothing: the quote takes its place in the key's limits, and no credit."""
    free = msgspec.structs.replace(quote, tokens_max=0, amount_max=NanoUSD(0), exact=True)
    payer = msgspec.structs.replace(caller.key.payer, caps=())
    uncapped = Caller(msgspec.structs.replace(caller.key, payer=payer))
    return admit(context.admission, call, uncapped, free, _no_count)


async def _count(planned: PlannedCall, route: Route, call: RawCall, context: RouterContext) -> QuoteResult:
    """The result with the billed tokens as far as they are certain, and whether the call would be refused."""
    request, model, quote = planned.request, planned.model, planned.quote
    is_short = _is_surely_short(request, model)
    result = QuoteResult(
        model=model, request=request, decision=planned.decision, quote=quote, route=route, lengths_known=is_short
    )
    try:
        counted = await count_quote(quote, route, request, model, context.providers, call)
    except TooManyTokens as refusal:
        return msgspec.structs.replace(result, lengths_known=True, refused=refusal)
    except InputTooLong as refusal:
        too_long = msgspec.convert(refusal.details, TooLongInput)
        return msgspec.structs.replace(result, too_long=too_long, lengths_known=True, refused=refusal)
    return msgspec.structs.replace(
        result, quote=guaranteed_quote(quote, counted, route), lengths_known=is_short or counted is not None
    )


async def _no_count() -> Quote | None:
    return None


def _is_surely_short(request: EmbedRequest, model: Model) -> bool:
    """Whether even the bound of each input's tokens is within the model's limit; the estimate has checked token ids."""
    if request.texts is None:
        return True
    prefix = model.prompts.get(request.input_type, "") if request.input_type else ""
    room = model.max_input_tokens - model.special_tokens - (token_bound(prefix) if prefix else 0)
    return all(token_bound(text) <= room for text in request.texts)
