"""Dispatch: the only long wait of the line. Tries the route's endpoints until one gives a checked answer.

The driver alone: what comes after an outcome is :mod:`router.attempts`', one attempt is :mod:`router.at_endpoint`'s, a
second one beside a slow one :mod:`router.hedging`'s. A bad answer is a provider's failure and is never delivered.
"""

import asyncio
from collections.abc import Generator, Mapping

import msgspec

from billing.values import Hold
from catalog.values import Model
from providers.outcomes import Failure
from providers.protocol import FloatMatrix, Provider
from router.at_endpoint import Won, alone, attempt_at
from router.attempts import ATTEMPTS_MAX, SLOW, Outcome, Try, attempts
from router.failures import Failures, error_for
from router.hedging import hedged, may_hedge
from router.latency import Usual
from router.outbound import Errand, Outbound
from router.values import EmbedRequest, Endpoint, RawCall, Route
from store.ids import ProviderId, RequestId


class Delivery(msgspec.Struct, frozen=True):
    """A checked answer. ``matrix`` is [inputs, dimensions] float32; ``tokens`` is None where the provider gave none."""

    matrix: FloatMatrix
    tokens: int | None
    exact: bool
    endpoint: Endpoint
    attempts: int
    upstream_s: float


async def dispatch(
    hold: Hold, request: EmbedRequest, model: Model, outbound: Outbound, call: RawCall, route: Route
) -> Delivery:
    """Get a checked answer from one of the route's endpoints, within the call's deadline.

    Raises InvalidRequest for what the provider finds wrong in the input, ModelWarming, ProvidersBusy where every
    provider's grant is used up, AllAttemptsFailed, UpstreamInvalid, DeadlinePassed.
    """
    loop = asyncio.get_running_loop()
    tokens = hold.quote.tokens_max
    errand = Errand(hold.id, request, model, call.lane, tokens, call.trace, outbound)

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
            return _delivery(ended, call)
        failures += ended
        step = _then(plan, ([failure for _, failure in ended], loop.time()))
    raise error_for(failures)


def _then(plan: Generator[Try | None, Outcome, None], outcome: Outcome) -> Try | None:
    try:
        return plan.send(outcome)
    except StopIteration:
        return None


def _delivery(won: Won, call: RawCall) -> Delivery:
    vectors, took_s, step = won
    return Delivery(vectors.matrix, vectors.tokens, vectors.exact, step.endpoint, call.trace.attempts, took_s)


async def count(
    route_order: tuple[Endpoint, ...],
    request: EmbedRequest,
    model: Model,
    providers: Mapping[ProviderId, Provider],
    request_id: RequestId,
    deadline_s: float,
) -> int | None:
    """Exact tokens of the inputs by the model's own tokenizer, from the first endpoint that can tell; else None."""
    for endpoint in route_order[:ATTEMPTS_MAX]:
        try:
            attempt = attempt_at(endpoint, request, model, request_id)
            counted = await providers[endpoint.provider_id].count(attempt, deadline_s)
        except Failure:
            continue
        if counted is not None:
            return counted
    return None
