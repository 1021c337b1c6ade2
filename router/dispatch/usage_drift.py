"""Compares a provider's usage with our own count, for each answer that has both; differences are counted and logged.

It only monitors: billing uses our own count where there is one (:mod:`router.response.tokens`), otherwise the
provider's validated usage (:mod:`router.dispatch.validate`). The log has a line when an endpoint begins to differ, not
one per call.
"""

from typing import Final

import structlog

from billing.values import Quote
from providers.protocol import Vectors
from router.dispatch.state import DispatchState
from router.values import Endpoint
from store.ids import EndpointId, wire

log = structlog.get_logger("router.dispatch.dispatch")

# Providers may or may not count the model's special tokens: at most so many per input. The rest is a share of all.
SPECIAL_TOKENS: Final = 4
TOLERATED_PERCENT: Final = 2


def compare_usage(quote: Quote, vectors: Vectors, endpoint: Endpoint, inputs: int, state: DispatchState) -> None:
    """Compare one answer: its usage differs from our exact count, or is missing where we have no count either."""
    reported = vectors.tokens
    if vectors.exact or quote.exact == (reported is None) or (vectors.by_size and not quote.exact):
        return
    compare_count(reported, quote.tokens_max if quote.exact else None, endpoint, inputs, state)


def compare_count(reported: int | None, own: int | None, endpoint: Endpoint, inputs: int, state: DispatchState) -> None:
    """Compare a reported count with our own exact one; None is a count that is missing."""
    if reported is not None and own is not None and agrees(reported, own, inputs):
        state.differing_endpoints.discard(endpoint.id)
        return
    state.counts.usage_differing[endpoint.provider_name] += 1
    if endpoint.id in state.differing_endpoints:
        return
    state.differing_endpoints.add(endpoint.id)
    log.warning(
        "provider_usage_missing" if reported is None else "provider_usage_differs",
        provider=endpoint.provider_name,
        endpoint=wire(EndpointId, endpoint.id),
        reported=reported,
        counted=own,
        inputs=inputs,
    )


def differs_by_special_tokens(reported: int, own: int, inputs: int) -> bool:
    """Whether a provider's count is our own, but for the special tokens of each input: then it may be billed."""
    return abs(reported - own) <= SPECIAL_TOKENS * inputs


def agrees(reported: int, own: int, inputs: int) -> bool:
    """Whether a provider's count is our own, but for special tokens and rounding."""
    return abs(reported - own) <= SPECIAL_TOKENS * inputs + own * TOLERATED_PERCENT // 100
