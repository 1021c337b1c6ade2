"""Dispatches a call, the only long wait of the pipeline: tries its route's endpoints until one gives a checked answer.

This is the driver alone. :mod:`router.dispatch.retries` decides what follows an outcome, :mod:`router.dispatch.attempt`
sends one attempt, :mod:`router.dispatch.hedging` a second one beside a slow one. A bad answer is a provider's failure
and is never delivered.
"""

import asyncio
from collections.abc import Generator

import msgspec

from billing.values import Hold
from catalog.values import Model
from providers.protocol import FloatMatrix
from router.dispatch.attempt import AttemptSuccess, send_attempt
from router.dispatch.hedging import may_hedge, send_hedged
from router.dispatch.retries import SLOW, AttemptRequest, Outcome, plan_attempts
from router.dispatch.state import DispatchState, prepare_dispatch
from router.dispatch.usage_drift import compare_usage
from router.routing.failures import Failures, error_for
from router.routing.latency import UsualLatency
from router.values import EmbedRequest, Endpoint, RawCall, Route


class Delivery(msgspec.Struct, frozen=True):
    """A checked answer. ``matrix`` is [inputs, dimensions] float32; ``tokens`` is None where the provider gave none.

    ``guessed``: the provider gave none for some inputs, and ``tokens`` has our guess of those.
    ``by_size``: ``tokens`` are the text's bytes by an operator's number.
    """

    matrix: FloatMatrix
    tokens: int | None
    exact: bool
    endpoint: Endpoint
    attempts: int
    upstream_s: float
    guessed: bool = False
    by_size: bool = False


async def dispatch(
    hold: Hold, request: EmbedRequest, model: Model, state: DispatchState, call: RawCall, route: Route
) -> Delivery:
    """Get a checked answer from one of the route's endpoints, within the call's deadline.

    Raises InvalidRequest for what the provider finds wrong in the input, ModelWarming, ProvidersBusy where every
    provider's quota is used up, AllAttemptsFailed, UpstreamInvalid, DeadlinePassed.
    """
    loop = asyncio.get_running_loop()
    tokens = hold.quote.tokens_max
    call_dispatch = prepare_dispatch(hold.id, request, model, call.lane, tokens, call.trace, state)
    health = call_dispatch.health

    def usual_at(endpoint: Endpoint) -> UsualLatency:
        return health.usual_latency(endpoint.id, request.inputs, tokens)

    now = loop.time()
    plan = plan_attempts(route.order, call.deadline_at, now, tokens, usual_at, call_dispatch.retry_budget)
    hedges = request.preferences.hedge and may_hedge(call_dispatch, route, now)
    failures: Failures = []
    attempt_request = next(plan, None)
    while attempt_request is not None:
        hedge_after_s = usual_at(attempt_request.endpoint).p95_s if hedges and attempt_request.number == 1 else None
        if hedge_after_s is None:
            result = await send_attempt(call_dispatch, attempt_request)
        else:
            result = await send_hedged(
                call_dispatch, attempt_request, hedge_after_s, lambda: _next_attempt(plan, (SLOW, loop.time()))
            )
        if isinstance(result, AttemptSuccess):
            compare_usage(hold.quote, result.vectors, result.request.endpoint, request.inputs, state)
            return _delivery(result, call)
        failures += result
        attempt_request = _next_attempt(plan, ([failure for _, failure in result], loop.time()))
    raise error_for(failures)


def _next_attempt(plan: Generator[AttemptRequest | None, Outcome, None], outcome: Outcome) -> AttemptRequest | None:
    try:
        return plan.send(outcome)
    except StopIteration:
        return None


def _delivery(success: AttemptSuccess, call: RawCall) -> Delivery:
    vectors, endpoint = success.vectors, success.request.endpoint
    return Delivery(
        vectors.matrix,
        vectors.tokens,
        vectors.exact,
        endpoint,
        call.trace.attempts_sent,
        success.took_s,
        vectors.guessed,
        vectors.by_size,
    )
