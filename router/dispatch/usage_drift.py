"""A provider's usage beside our own count, for each answer where there are both: what differs is counted and told.

It changes nothing of the call: where we have a count that one is billed, and else the provider's was checked to be
possible (:mod:`router.dispatch.validate`). Ops are told when an endpoint begins to differ, not once per call.
"""

from typing import Final

import structlog

from billing.values import Quote
from providers.protocol import Vectors
from router.dispatch.state import DispatchState
from router.values import Endpoint
from store.ids import EndpointId, wire

log = structlog.get_logger("router.dispatch.dispatch")

# Providers count the model's special tokens or do not: at most so many per input. The rest is a share of the whole.
SPECIAL_TOKENS: Final = 4
TOLERATED_PERCENT: Final = 2


def compare_usage(quote: Quote, vectors: Vectors, endpoint: Endpoint, inputs: int, state: DispatchState) -> None:
    """Look at one answer: both counts differ, or there is none at all."""
    told = vectors.tokens
    if vectors.exact or quote.exact == (told is None):
        return
    if told is not None and agrees(told, quote.tokens_max, inputs):
        state.differing_endpoints.discard(endpoint.id)
        return
    state.counts.usage_differing[endpoint.provider_name] += 1
    if endpoint.id in state.differing_endpoints:
        return
    state.differing_endpoints.add(endpoint.id)
    log.warning(
        "provider_usage_missing" if told is None else "provider_usage_differs",
        provider=endpoint.provider_name,
        endpoint=wire(EndpointId, endpoint.id),
        told=told,
        counted=quote.tokens_max if quote.exact else None,
        inputs=inputs,
    )


def agrees(told: int, ours: int, inputs: int) -> bool:
    """Whether a provider's count is ours, but for special tokens and rounding."""
    return abs(told - ours) <= SPECIAL_TOKENS * inputs + ours * TOLERATED_PERCENT // 100
