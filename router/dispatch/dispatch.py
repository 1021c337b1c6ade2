"""Dispatch: the only long wait of the line. Tries the route's endpoints until one gives a checked answer.

The driver alone: what comes after an outcome is ``dispatch.retries``', one attempt is ``dispatch.attempt``'s, a
second one beside a slow one ``dispatch.hedging``'s. A bad answer is a provider's failure and is never delivered.
"""

import asyncio
from collections.abc import Generator

import msgspec

from billing.values import Hold
from catalog.values import Model
from providers.protocol import FloatMatrix
from router.dispatch.attempt import Won, alone
from router.dispatch.hedging import hedged, may_hedge
from router.dispatch.retries import SLOW, AttemptRequest, Outcome, attempts
from router.dispatch.state import CallDispatch, Outbound
from router.dispatch.usage_drift import compare_usage
from router.routing.failures import Failures, error_for
from router.routing.latency import Usual
from router.values import EmbedRequest, Endpoint, RawCall, Route


class Delivery(msgspec.Struct, frozen=True):
    """A checked answer. ``matrix`` is [inputs, dimensions] float32; ``tokens`` is None where the provider gave none.

    ``guessed``: it gave none for a part of them, and ``tokens`` has our guess of that part.
    """

    matrix: FloatMatrix
    tokens: int | None
    exact: bool
    endpoint: Endpoint
    attempts: int
    upstream_s: float
    guessed: bool = False


async def dispatch(
    hold: Hold, request: EmbedRequest, model: Model, outbound: Outbound, call: RawCall, route: Route
) -> Delivery:
    """Get a checked answer from one of the route's endpoints, within the call's deadline.

    Raises InvalidRequest for what the provider finds wrong in the input, ModelWarming, ProvidersBusy where every
    provider's grant is used up, AllAttemptsFailed, UpstreamInvalid, DeadlinePassed.
    """
    loop = asyncio.get_running_loop()
    tokens = hold.quote.tokens_max
    errand = CallDispatch(hold.id, request, model, call.lane, tokens, call.trace, outbound)

    def usual_at(endpoint: Endpoint) -> Usual:
        return errand.health.usual(endpoint.id, request.inputs, tokens)

    now = loop.time()
    plan = attempts(route.order, call.deadline_at, now, tokens, usual_at, errand.budgets)
    hedges = request.preferences.hedge and may_hedge(errand, route, now)
    failures: Failures = []
    step = next(plan, None)
    while step is not None:
        slow_after_s = usual_at(step.endpoint).p95_s if hedges and step.number == 1 else None
        if slow_after_s is None:
            ended = await alone(errand, step)
        else:
            ended = await hedged(errand, step, slow_after_s, lambda: _then(plan, (SLOW, loop.time())))
        if isinstance(ended, tuple):
            compare_usage(hold.quote, ended[0], ended[2].endpoint, request.inputs, outbound)
            return _delivery(ended, call)
        failures += ended
        step = _then(plan, ([failure for _, failure in ended], loop.time()))
    raise error_for(failures)


def _then(plan: Generator[AttemptRequest | None, Outcome, None], outcome: Outcome) -> AttemptRequest | None:
    try:
        return plan.send(outcome)
    except StopIteration:
        return None


def _delivery(won: Won, call: RawCall) -> Delivery:
    vectors, took_s, step = won
    matrix, tokens, exact, guessed = vectors.matrix, vectors.tokens, vectors.exact, vectors.guessed
    return Delivery(matrix, tokens, exact, step.endpoint, call.trace.attempts, took_s, guessed)
