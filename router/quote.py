"""What a call would cost and where it would go, for nothing: the line's own steps up to admission, then a count.

A quote holds no credit, and counts against the key's limits of requests, tokens and concurrency as the call itself
would: it makes a tokenizer work.
"""

import asyncio
from contextlib import AbstractAsyncContextManager
from functools import partial

import msgspec

from billing.money import NanoUSD
from billing.values import Hold, Quote
from catalog.permit import decide, may_charge
from catalog.values import Decision, Model
from router.context import RouterContext
from router.errors import InputTooLong, LicenseRestricted, Refusal, TooManyTokens
from router.pipeline import prepare, route_of
from router.request.admission import admit
from router.request.body import parse
from router.request.estimate import exact, tokens_most
from router.response.tokens import count, promised
from router.values import Caller, EmbedRequest, RawCall, Route


class TooLongInput(msgspec.Struct, frozen=True):
    """The first input that the model does not take whole. Nothing is ever cut: such a call is refused."""

    index: int
    tokens: int | None
    limit: int


class Quoted(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome. ``refused`` is what the call would be answered with; without ``quote`` it has no price at all.

    ``lengths_known`` False: nobody could say whether an input is too long.
    """

    model: Model
    request: EmbedRequest
    decision: Decision
    quote: Quote | None = None
    route: Route | None = None
    too_long: TooLongInput | None = None
    lengths_known: bool = False
    refused: Refusal | None = None


async def quote(call: RawCall, caller: Caller, context: RouterContext) -> Quoted:
    """Raises what makes the request itself wrong, and the limits that the asking runs into.

    A license that forbids the call, endpoints that are missing and inputs that are too long are parts of the answer.
    """
    key, trace = caller.key, call.trace
    request = parse(call.body)
    try:
        prepared = prepare(request, call, key, context)
        route = route_of(prepared, request, key, context, asyncio.get_running_loop().time())
    except Refusal as refusal:
        if trace.model is None or (trace.quote is None and not isinstance(refusal, LicenseRestricted)):
            raise
        decision = trace.decision or decide(trace.model, key.use, key.accepted, call.now)
        if isinstance(refusal, LicenseRestricted) and decision.allowed:
            decision = may_charge(trace.model, call.now)
        return Quoted(model=trace.model, request=request, decision=decision, quote=trace.quote, refused=refusal)
    quoted = Quoted(
        model=prepared.model,
        request=request,
        decision=prepared.decision,
        quote=prepared.quote,
        route=route,
        lengths_known=_surely_short(request, prepared.model),
    )
    async with _place(call, caller, prepared.quote, context):
        return await _counted(quoted, prepared.quote, route, call, context)


def _place(call: RawCall, caller: Caller, quote: Quote, context: RouterContext) -> AbstractAsyncContextManager[Hold]:
    """A hold of nothing: it takes its place in the key's limits, and no credit."""
    free = msgspec.structs.replace(quote, tokens_max=0, amount_max=NanoUSD(0), exact=True)
    payer = msgspec.structs.replace(caller.key.payer, cap=None)
    asking = Caller(msgspec.structs.replace(caller.key, payer=payer))
    return admit(context.admission, call, asking, free, _no_count)


async def _counted(quoted: Quoted, quote: Quote, route: Route, call: RawCall, context: RouterContext) -> Quoted:
    """With the tokens that are billed, as far as they can be promised; and whether the call would be refused."""
    request, model = quoted.request, quoted.model
    counting = partial(count, route.order, request, model, context.providers, call.request_id, call.deadline_at)
    try:
        counted = await exact(request, model, quote, counting)
    except TooManyTokens as refusal:
        return msgspec.structs.replace(quoted, lengths_known=True, refused=refusal)
    except InputTooLong as refusal:
        too_long = msgspec.convert(refusal.details, TooLongInput)
        return msgspec.structs.replace(quoted, too_long=too_long, lengths_known=True, refused=refusal)
    return msgspec.structs.replace(
        quoted, quote=promised(quote, counted, route), lengths_known=quoted.lengths_known or counted is not None
    )


async def _no_count() -> Quote | None:
    return None


def _surely_short(request: EmbedRequest, model: Model) -> bool:
    """Whether even the most tokens that each input can have are within the model's; ids are counted by the estimate."""
    if request.texts is None:
        return True
    prefix = model.prompts.get(request.input_type, "") if request.input_type else ""
    room = model.max_input_tokens - model.special_tokens - (tokens_most(prefix) if prefix else 0)
    return all(tokens_most(text) <= room for text in request.texts)
