"""One call, from raw bytes to the answer, as a straight line: read it top to bottom.

Each step is one function with typed input and output. Decisions come back as values and only the steps of this package
turn a "no" into an exception. ``hold`` is proof of admission: nothing is dispatched or charged without one. It does not
know HTTP: the edge makes the :class:`RawCall` and turns a :class:`router.errors.Refusal` into a status.
"""

import asyncio
from functools import partial

import msgspec

from billing.errors import BillingUnavailable, ChargeUnknown
from billing.values import Hold, Idempotent, Quote, Usage
from catalog.values import Decision, Model
from router import errors
from router.context import Known, RouterContext
from router.dispatch.dispatch import dispatch
from router.identity.authenticate import authenticate_caller
from router.request.admission import admit
from router.request.body import MAX_TOKENS, parse
from router.request.estimate import estimate, exact
from router.request.idempotency import once, stored
from router.request.model import permit, permit_charge, resolve
from router.request.preferences import of_a_test_key
from router.response.encode import answer
from router.response.tokens import count, count_untold, usage
from router.response.wait import pick_or_wait, when_warm
from router.routing.choose import choose
from router.routing.filters import has_prompted_ids
from router.values import Answer, Caller, EmbedRequest, Key, Lane, RawCall, Route


async def embed(call: RawCall, context: RouterContext) -> Answer:
    """The whole of ``POST /v1/embeddings``; raises :class:`router.errors.Refusal`."""
    # Unauthenticated, StoreUnavailable
    caller = await authenticate_caller(call.authorization, context.keys, call.now, context.catch_up)
    call.trace.key = caller.key
    if call.idempotency_key is None:
        return await run(call, caller, context)
    return await once(context.db, call, caller, partial(run, call, caller, context))  # Conflict


class Prepared(msgspec.Struct, frozen=True):
    """What is known of a call from its request alone."""

    model: Model
    decision: Decision
    quote: Quote
    lane: Lane


def prepare(request: EmbedRequest, call: RawCall, key: Key, known: Known) -> Prepared:
    """The steps from a request to its quote, from memory alone; the call's trace has them too."""
    trace = call.trace
    trace.preferences, trace.inputs, trace.lane = request.preferences, request.inputs, call.lane
    trace.model = model = resolve(request.model, key, known.catalog)  # ModelNotFound, ModelNotLive, …NotAllowed
    trace.decision = decision = permit(model, key, call.now)  # LicenseRestricted
    trace.quote = quote = estimate(request, model, key, known.prices, call.now, call.lane)  # InputTooLong, …
    permit_charge(model, quote.price, call.now)  # LicenseRestricted
    return Prepared(model, decision, quote, call.lane)


def route_of(prepared: Prepared, request: EmbedRequest, key: Key, known: Known, now: float) -> Route:
    """Where the call may go, in order; ``now`` is on the loop's clock. Raises as ``routing.choose.choose``."""
    model, health = prepared.model, known.health.of(prepared.lane)
    return choose(  # TokenArrayUnsupported, PreferencesUnmet, NoEndpoint, ModelWarming, ProvidersBusy
        known.endpoints.serving(model, key),
        model,
        of_a_test_key(request.preferences) if key.is_test else request.preferences,
        health,
        now,
        known.draw,
        price=prepared.quote.price.nano_per_mtok,
        inputs=request.inputs,
        tokens=prepared.quote.tokens_max,
        account=key.account_id,
        prompted_ids=has_prompted_ids(request, model),
    )


async def run(call: RawCall, caller: Caller, context: RouterContext) -> Answer:
    """The line itself; each step raises, in this order, what stands behind it. Quotes and dry runs end before admit."""
    clock, trace, key = asyncio.get_running_loop().time, call.trace, caller.key
    request = parse(call.body)  # InvalidRequest
    prepared = prepare(request, call, key, context)
    model, quote = prepared.model, prepared.quote
    pick = partial(route_of, prepared, request, key, context)
    trace.route = route = pick_or_wait(pick, clock(), call.wait_s)  # PreferencesUnmet, NoEndpoint, ModelWarming
    counted = partial(count, route.order, request, model, context.providers, call.request_id, call.deadline_at)
    recount = partial(exact, request, model, quote, counted)
    async with admit(context.admission, call, caller, quote, recount) as hold:  # OutOfCredit, CapReached, LimitExceeded
        trace.hold, trace.admitted_ms = hold, (clock() - trace.began) * 1000
        if call.client_gone():
            raise errors.ClientGone("The client has hung up.")
        if hold.quote.tokens_max > MAX_TOKENS and not hold.quote.exact:
            await recount()  # TooManyTokens: only a count makes it certain, and only who was admitted gets one
        state = context.dispatch_state
        send = partial(dispatch, hold, request, model, state, call)  # InvalidRequest, AllAttemptsFailed, …
        delivery = await when_warm(call, route, pick, send)
        trace.delivered_ms = (clock() - trace.began) * 1000
        ours = None
        if delivery.tokens is None or delivery.guessed:
            ours = await count_untold(delivery, hold, call, request, model, state)
        used = usage(delivery, request, model, hold, call.now, ours)
        reply = answer(request, model, delivery, used, hold, attribution=prepared.decision.attribution)
        await charge(context, hold, used, stored(call, reply))  # NotRecorded
        trace.used, trace.charged_ms = used, (clock() - trace.began) * 1000
    return reply


async def charge(context: RouterContext, hold: Hold, used: Usage, outcome: Idempotent | None) -> None:
    """Book the call; returns after the commit. Raises NotRecorded, and then nothing may be delivered."""
    try:
        await context.charging.charge(hold, used, outcome)
    except (ChargeUnknown, BillingUnavailable) as fault:
        raise errors.NotRecorded(
            "The call was computed but its charge could not be recorded, so it is not delivered. Try again; with the "
            "same Idempotency-Key it is never charged twice.",
            retry_after_s=1,
            detail=str(fault),
        ) from fault
