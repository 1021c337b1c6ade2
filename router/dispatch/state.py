"""What attempts go through: the providers and what one process knows of them, and one call on its way there."""

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


class Counts(msgspec.Struct):
    """What the metrics tell of a process's attempts; what is a ``Counter`` is by provider."""

    hedges: int = 0
    hedge_cost_nano: int = 0
    credentials_refused: Counter[str] = msgspec.field(default_factory=Counter)
    usage_untold: Counter[str] = msgspec.field(default_factory=Counter)
    miscounted: Counter[str] = msgspec.field(default_factory=Counter)


class Outbound(msgspec.Struct, frozen=True):
    """What every call's attempts go through, one per process."""

    providers: Mapping[ProviderId, Provider]
    health: Health
    quota: ProviderQuota
    budgets: Mapping[Lane, RetryBudget] = msgspec.field(default_factory=lambda: {lane: RetryBudget() for lane in Lane})
    counts: Counts = msgspec.field(default_factory=Counts)
    # Endpoints whose provider refuses our credentials, until one of them answers again: ops are told once.
    refused: set[EndpointId] = msgspec.field(default_factory=set)
    # Endpoints whose usage differed from our own count, or was missing, at last.
    miscounting: set[EndpointId] = msgspec.field(default_factory=set)


class CallDispatch(msgspec.Struct, frozen=True):
    """One call on its way to providers. It has at most ``tokens_max`` tokens, special ones included."""

    id: RequestId
    request: EmbedRequest
    model: Model
    lane: Lane
    tokens_max: int
    trace: Trace
    outbound: Outbound

    @property
    def health(self) -> Health:
        """What calls of its lane have seen."""
        return self.outbound.health.of(self.lane)

    @property
    def budgets(self) -> RetryBudget:
        """What calls of its lane may repeat."""
        return self.outbound.budgets[self.lane]
