"""A second attempt beside a slow one, where the call asks for it. The customer pays once; the loser's cost is ours.

The first checked answer wins, the other attempt is canceled and awaited. Not while anything of the route is unwell:
in an outage every call is slow, and hedges would double it.
"""

import asyncio
from collections.abc import Callable

import structlog

from billing.money import cost_ceil
from providers.outcomes import GiveUp, PassedOver
from providers.protocol import Vectors
from router.dispatch.attempt import Won, alone
from router.dispatch.retries import AttemptRequest
from router.dispatch.state import CallDispatch
from router.routing.failures import Failures
from router.values import Route
from store.ids import EndpointId, RequestId, wire

log = structlog.get_logger("router.dispatch.dispatch")


def may_hedge(errand: CallDispatch, route: Route, now: float) -> bool:
    """Whether a call that asks for it may have a second attempt at all: it is short, and its route is well."""
    health = errand.health
    if errand.request.inputs > 1:
        return False
    return all(health.left_out(endpoint.id, now) is None for endpoint in route.order) and all(
        health.left_out(choice.endpoint.id, now) is None for choice in route.left_out
    )


async def hedged(
    errand: CallDispatch, first: AttemptRequest, after_s: float, beside: Callable[[], AttemptRequest | None]
) -> Won | Failures:
    """The first checked answer of ``first`` and, once that took ``after_s``, of the attempt that ``beside`` gives.

    Of failures the caller's fault comes last, so that it decides what is next.
    """
    failed: Failures = []
    won: Won | None = None
    tries: dict[asyncio.Task[Won | Failures], AttemptRequest] = {}
    async with asyncio.TaskGroup() as group:
        tries[group.create_task(alone(errand, first))] = first
        done, _ = await asyncio.wait(tries, timeout=after_s)
        if not done and (second := beside()) is not None:
            tries[group.create_task(alone(errand, second))] = second
        pending = set(tries)
        while pending and won is None:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in sorted(done, key=lambda ended: tries[ended].number):
                ended = task.result()
                if isinstance(ended, list):
                    failed += ended
                elif won is None:
                    won = ended
        for task in pending:
            task.cancel()
    for task, step in tries.items():
        if step is not first:
            _count(errand, task)
    if won is None:
        return sorted(failed, key=lambda one: isinstance(one[1], GiveUp))
    for task, step in tries.items():
        if step is not won[2] and (task.cancelled() or isinstance(task.result(), tuple)):
            _lost(errand, step, won[0])
    return won


def _count(errand: CallDispatch, hedge: "asyncio.Task[Won | Failures]") -> None:
    """A hedge that was passed over was not sent: it may be had again."""
    ended = None if hedge.cancelled() else hedge.result()
    if isinstance(ended, list) and isinstance(ended[0][1], PassedOver):
        errand.budgets.gives_hedge()
    else:
        errand.outbound.counts.hedges += 1


def _lost(errand: CallDispatch, step: AttemptRequest, won: Vectors) -> None:
    """The provider of a canceled attempt may have computed it all: its whole cost is taken for spent."""
    tokens = errand.tokens_max if won.tokens is None else won.tokens
    cost = cost_ceil(tokens, step.endpoint.cost_nano_per_mtok)
    errand.outbound.counts.hedge_cost_nano += cost
    log.info(
        "hedge_lost",
        request_id=wire(RequestId, errand.id),
        endpoint=wire(EndpointId, step.endpoint.id),
        provider=step.endpoint.provider_name,
        tokens=tokens,
        cost_nano_usd=cost,
    )
