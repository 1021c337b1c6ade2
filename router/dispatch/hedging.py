"""Hedges a call that asks for it: a second attempt beside a slow one. The customer pays once; the loser's cost is ours.

The first checked answer wins, the other attempt is canceled and awaited. There is no hedge while anything of the route
is unwell: in an outage every call is slow, and hedges would double it.
"""

import asyncio
from collections.abc import Callable

import structlog

from billing.money import cost_ceil
from providers.outcomes import GiveUp, PassedOver
from providers.protocol import Vectors
from router.dispatch.attempt import AttemptSuccess, send_attempt
from router.dispatch.retries import AttemptRequest
from router.dispatch.state import CallDispatch
from router.routing.failures import Failures
from router.values import Route
from store.ids import EndpointId, RequestId, wire

log = structlog.get_logger("router.dispatch.dispatch")


def may_hedge(call: CallDispatch, route: Route, now: float) -> bool:
    """Whether a call that asks for it may have a second attempt at all: it has one input, and its route is well."""
    health = call.health
    if call.request.inputs > 1:
        return False
    return all(health.exclusion_reason(endpoint.id, now) is None for endpoint in route.order) and all(
        health.exclusion_reason(choice.endpoint.id, now) is None for choice in route.left_out
    )


async def send_hedged(
    call: CallDispatch, first: AttemptRequest, hedge_after_s: float, next_attempt: Callable[[], AttemptRequest | None]
) -> AttemptSuccess | Failures:
    """Send ``first`` and, once that took ``hedge_after_s``, also what ``next_attempt`` gives; the first answer wins.

    Of failures the caller's fault comes last, so that it decides what is next.
    """
    failures: Failures = []
    winner: AttemptSuccess | None = None
    attempts: dict[asyncio.Task[AttemptSuccess | Failures], AttemptRequest] = {}
    async with asyncio.TaskGroup() as group:
        attempts[group.create_task(send_attempt(call, first))] = first
        done, _ = await asyncio.wait(attempts, timeout=hedge_after_s)
        if not done and (hedge := next_attempt()) is not None:
            attempts[group.create_task(send_attempt(call, hedge))] = hedge
        pending = set(attempts)
        while pending and winner is None:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in sorted(done, key=lambda ended: attempts[ended].number):
                result = task.result()
                if isinstance(result, list):
                    failures += result
                elif winner is None:
                    winner = result
        for task in pending:
            task.cancel()
    for task, attempt_request in attempts.items():
        if attempt_request is not first:
            _count_hedge(call, task)
    if winner is None:
        return sorted(failures, key=lambda failure: isinstance(failure[1], GiveUp))
    for task, attempt_request in attempts.items():
        if attempt_request is not winner.request and (task.cancelled() or isinstance(task.result(), AttemptSuccess)):
            _count_loser(call, attempt_request, winner.vectors)
    return winner


def _count_hedge(call: CallDispatch, hedge: "asyncio.Task[AttemptSuccess | Failures]") -> None:
    """A hedge that was passed over was not sent: the retry budget gets it back."""
    result = None if hedge.cancelled() else hedge.result()
    if isinstance(result, list) and isinstance(result[0][1], PassedOver):
        call.retry_budget.return_hedge()
    else:
        call.state.counts.hedges += 1


def _count_loser(call: CallDispatch, loser: AttemptRequest, winner: Vectors) -> None:
    """The provider of a canceled attempt may have computed it all: its whole cost is taken for spent."""
    tokens = call.tokens_max if winner.tokens is None else winner.tokens
    cost = cost_ceil(tokens, loser.endpoint.cost_nano_per_mtok)
    call.state.counts.hedge_cost_nano += cost
    log.info(
        "hedge_lost",
        request_id=wire(RequestId, call.id),
        endpoint=wire(EndpointId, loser.endpoint.id),
        provider=loser.endpoint.provider_name,
        tokens=tokens,
        cost_nano_usd=cost,
    )
