"""Holds what the attempts of all calls share, one per process, and what is fixed for the attempts of one call."""

from collections import Counter
from collections.abc import Mapping

import msgspec

from catalog.values import Model
from providers.protocol import Provider
from router.dispatch.provider_quota import ProviderQuota
from router.dispatch.retry_budget import RetryBudget
from router.routing.health import Health
from router.values import EmbedRequest, Lane, Trace
from store.ids import EndpointId, ProviderId, RequestId


class DispatchCounts(msgspec.Struct):
    """The counts of a process's attempts that its metrics publish; each ``Counter`` is by provider."""

    hedges: int = 0
    hedge_cost_nano: int = 0
    credentials_refused: Counter[str] = msgspec.field(default_factory=Counter)
    usage_missing: Counter[str] = msgspec.field(default_factory=Counter)
    usage_differing: Counter[str] = msgspec.field(default_factory=Counter)
    answers_compared: Counter[str] = msgspec.field(default_factory=Counter)
    answers_disagreeing: Counter[str] = msgspec.field(default_factory=Counter)


class DispatchState(msgspec.Struct, frozen=True):
    """The collaborators and the memory that all calls of a process share while they are sent."""

    providers: Mapping[ProviderId, Provider]
    health: Health
    quota: ProviderQuota
    retry_budgets: Mapping[Lane, RetryBudget] = msgspec.field(
        default_factory=lambda: {lane: RetryBudget() for lane in Lane}
    )
    counts: DispatchCounts = msgspec.field(default_factory=DispatchCounts)
    # Endpoints whose provider refuses our credentials, until one of them answers again: ops hear of it once.
    refusing_endpoints: set[EndpointId] = msgspec.field(default_factory=set)
    # Endpoints whose latest usage differed from our own count, or was missing.
    differing_endpoints: set[EndpointId] = msgspec.field(default_factory=set)


class CallDispatch(msgspec.Struct, frozen=True):
    """One call while it is sent: at most ``tokens_max`` tokens, special ones included.

    ``health`` and ``retry_budget`` are those of its lane.
    """

    id: RequestId
    request: EmbedRequest
    model: Model
    lane: Lane
    tokens_max: int
    trace: Trace
    state: DispatchState
    health: Health
    retry_budget: RetryBudget


def prepare_dispatch(
    request_id: RequestId,
    request: EmbedRequest,
    model: Model,
    lane: Lane,
    tokens_max: int,
    trace: Trace,
    state: DispatchState,
) -> CallDispatch:
    """Resolve the lane's health and retry budget once for all attempts of a call."""
    health, retry_budget = state.health.of(lane), state.retry_budgets[lane]
    return CallDispatch(request_id, request, model, lane, tokens_max, trace, state, health, retry_budget)
