"""Runs one call through the pipeline, from its raw bytes to its answer: read it top to bottom.

Each step is one function with typed input and output. Decisions come back as values and only the steps of this package
turn a "no" into an exception. ``hold`` is proof of admission: nothing is dispatched or charged without one. The
pipeline does not know HTTP: the edge makes the :class:`RawCall` and turns a :class:`router.errors.Refusal` into a
status.
"""

import asyncio
from functools import partial

import msgspec

from billing.errors import BillingUnavailable, ChargeRefused, ChargeUnknown
from billing.values import Hold, Idempotent, Quote, Usage
from catalog.values import Decision, Model
from router import errors
from router.context import PlanningContext, RouterContext
from router.dispatch.dispatch import Delivery, dispatch
from router.dispatch.state import DispatchState
from router.dispatch.traffic_comparison import AnsweredCall
from router.identity.authenticate import authenticate_caller
from router.identity.key_networks import require_network
from router.request.admission import admit
from router.request.body import MAX_TOKENS, parse
from router.request.estimate import estimate
from router.request.idempotency import outcome_of, run_idempotent
from router.request.model import permit, permit_charge, resolve
from router.request.outcome_room import OutcomeRoom
from router.request.preferences import preferences_of_test_key
from router.response.encode import encode_answer, restore_body
from router.response.tokens import can_count, compute_usage, count_own_usage, count_quote
from router.response.wait import wait_to_retry, waiting_route
from router.routing.choose import choose
from router.routing.filters import has_prompted_ids
from router.values import Answer, Caller, EmbedRequest, Key, Lane, RawCall, Route


async def embed(call: RawCall, context: RouterContext) -> Answer:
    """The whole of ``POST /v1/embeddings``; raises :class:`router.errors.Refusal`."""
    # Unauthenticated, StoreUnavailable
    caller = await authenticate_caller(call.authorization, context.keys, call.now, context.catch_up)
    call.trace.key = caller.key
    require_network(caller.key.networks, call.client_address)  # NetworkNotAllowed
    if call.idempotency_key is None:
        return await run(call, caller, context)
    run_with = partial(run, call, caller, context)
    return await run_idempotent(context.db, call, caller, context.outcome_bounds, run_with, restore_body)  # Conflict


class PlannedCall(msgspec.Struct, frozen=True):
    """A call as far as its request and its key decide about it."""

    request: EmbedRequest
    key: Key
    model: Model
    decision: Decision
    quote: Quote
    lane: Lane


def plan_call(request: EmbedRequest, call: RawCall, key: Key, context: PlanningContext) -> PlannedCall:
    """Plan a call: the steps from its request to its quote, from memory alone; its trace gets each result."""
    trace = call.trace
    trace.preferences, trace.inputs, trace.lane = request.preferences, request.inputs, call.lane
    trace.model = model = resolve(request.model, key, context.catalog)  # ModelNotFound, ModelNotLive, …NotAllowed
    trace.decision = decision = permit(model, key, call.now)  # LicenseRestricted
    trace.quote = quote = estimate(request, model, key, context.prices, call.now, call.lane)  # InputTooLong, …
    permit_charge(model, quote.price, call.now)  # LicenseRestricted
    return PlannedCall(request, key, model, decision, quote, call.lane)


def choose_route(planned: PlannedCall, context: PlanningContext, now: float) -> Route:
    """The endpoints that the call may go to, in order; ``now`` is on the loop's clock. Raises as ``choose`` does."""
    request, model, key = planned.request, planned.model, planned.key
    return choose(  # TokenArrayUnsupported, PreferencesUnmet, NoEndpoint, ModelWarming, ProvidersBusy
        context.endpoints.candidates(model, key),
        model,
        preferences_of_test_key(request.preferences) if key.is_test else request.preferences,
        context.health.of(planned.lane),
        now,
        context.draw,
        price=planned.quote.price.nano_per_mtok,
        inputs=request.inputs,
        tokens=planned.quote.tokens_max,
        account=key.account_id,
        prompted_ids=has_prompted_ids(request, model),
    )


async def run(call: RawCall, caller: Caller, context: RouterContext, room: OutcomeRoom | None = None) -> Answer:
    """Run the pipeline; each step raises what stands beside it. Quotes and dry runs end before ``admit``.

    ``room`` is what the account may still have stored, where this call's outcome will be.
    """
    clock, trace, state = asyncio.get_running_loop().time, call.trace, context.dispatch_state
    request = parse(call.body)  # InvalidRequest
    planned = plan_call(request, call, caller.key, context)
    model, quote = planned.model, planned.quote
    if room is not None:
        room.check(free=quote.amount_max == 0, now=call.now)  # OutcomesFull
    try:
        route = choose_route(planned, context, clock())  # PreferencesUnmet, NoEndpoint, …
    except errors.ModelWarming as warming:
        route = waiting_route(call, warming)  # ModelWarming
    trace.route = route

    async def recount() -> Quote | None:  # InputTooLong, TooManyTokens
        return await count_quote(quote, route, request, model, context.providers, call)

    counter = recount if can_count(route) else None
    async with admit(context.admission, call, caller, quote, counter) as hold:  # OutOfCredit, CapReached, LimitExceeded
        trace.hold, trace.admitted_ms = hold, (clock() - trace.began) * 1000
        if call.client_gone():
            raise errors.ClientGone("The client has hung up.")
        if hold.quote.tokens_max > MAX_TOKENS and not hold.quote.exact:
            await recount()  # TooManyTokens: only a count makes it certain, and only an admitted call gets one
        delivery = await deliver(call, planned, route, hold, context, state)  # InvalidRequest, AllAttemptsFailed, …
        trace.delivered_ms = (clock() - trace.began) * 1000
        own_count = await count_own_usage(delivery, hold, call, request, model, state)
        usage = compute_usage(delivery, request, model, hold, call.now, own_count)
        answer = encode_answer(request, model, delivery, usage, hold, attribution=planned.decision.attribution)
        await charge(context, hold, usage, outcome_of(call, answer))  # NotRecorded, StoreUnavailable
        trace.usage, trace.charged_ms = usage, (clock() - trace.began) * 1000
    if context.comparison.is_on:
        answered = AnsweredCall(request, model, delivery.endpoint, delivery.matrix, usage.tokens)
        context.comparison.offer(answered, trace.route)
    return answer


async def deliver(
    call: RawCall, planned: PlannedCall, route: Route, hold: Hold, context: PlanningContext, state: DispatchState
) -> Delivery:
    """Dispatch the call along its route; while it waits for a model that is being loaded, along a new route each time.

    Raises as ``dispatch`` and ``choose_route`` do, ModelWarming when the time to wait is over, ClientGone.
    """
    while True:
        try:
            if not route.order:
                call.trace.route = route = choose_route(planned, context, asyncio.get_running_loop().time())
            return await dispatch(hold, planned.request, planned.model, state, call, route)
        except errors.ModelWarming as warming:
            await wait_to_retry(call, warming)
        route = Route(())


async def charge(context: RouterContext, hold: Hold, usage: Usage, outcome: Idempotent | None) -> None:
    """Book the call; returns after the commit. Raises NotRecorded, StoreUnavailable: nothing may be delivered then."""
    try:
        await context.charging.charge(hold, usage, outcome)
    except ChargeRefused as fault:
        raise errors.StoreUnavailable(
            "The call was computed but could not be charged any more, so it is not delivered. Nothing was charged; try "
            "again.",
            retry_after_s=1,
            detail=str(fault),
        ) from fault
    except (ChargeUnknown, BillingUnavailable) as fault:
        raise errors.NotRecorded(
            "The call was computed but its charge could not be recorded, so it is not delivered. Try again; with the "
            "same Idempotency-Key it is never charged twice.",
            detail=str(fault),
        ) from fault
