"""Compares a share of real answers with what a second endpoint says of the same texts. Off unless an operator sets it.

What is compared is charged and answered already: the second answer is delivered to nobody. It is asked only of an
endpoint of the call's own route, so where the call's data policy lets its texts go, within a budget of tokens an hour,
one call at a time. Long and large calls are preferred. Where the two differ, an alarm is raised and both are verified
in full, at once: a difference tells that one of them is wrong, and not which.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from math import log2
from typing import Final

import msgspec
import structlog

from catalog.values import Model
from providers.outcomes import Failure, Misconfigured
from providers.probing.agreement import compare, numerics_of
from providers.protocol import FloatMatrix, Vectors
from router.dispatch.attempt import build_attempt
from router.dispatch.chunking import is_too_large
from router.dispatch.provider_quota import has_quota
from router.dispatch.state import DispatchState
from router.dispatch.validate import validate_vectors
from router.errors import StoreUnavailable
from router.registry.endpoints import verify_soon
from router.values import EmbedRequest, Endpoint, Route
from store.ids import EndpointId, RequestId, new_id, wire
from store.postgres import STORE_FAULTS, Database

log = structlog.get_logger("router.dispatch.traffic_comparison")

WAITING_MAX: Final = 4
WITHIN_S: Final = 60.0
QUOTA_WITHIN_S: Final = 5.0
# A call of so many tokens is as likely again to be chosen as one of none; each doubling adds as much.
PREFERRED_FROM_TOKENS: Final = 512
ROWS_AT_ONCE: Final = 64
HOUR_S: Final = 3600.0


class ComparisonBounds(msgspec.Struct, frozen=True):
    """The share of calls that is compared, 0 for none, and the most tokens an hour that a process spends on it."""

    share: float = 0.0
    tokens_per_hour: int = 100_000


class AnsweredCall(msgspec.Struct, frozen=True):
    """A call that was delivered, and by whom; ``tokens`` are the billed ones."""

    request: EmbedRequest
    model: Model
    endpoint: Endpoint
    matrix: FloatMatrix
    tokens: int


class TrafficComparison:
    """The comparisons of one process; :meth:`run` makes them."""

    def __init__(self, bounds: ComparisonBounds, state: DispatchState, db: Database, draw: Callable[[], float]) -> None:
        """``draw`` gives random numbers in [0, 1)."""
        self._bounds = bounds
        # All that a call pays for this where it is off: 6 ns to look, 200 with the arguments of an offer.
        self.is_on = bounds.share > 0
        self._state = state
        self._db = db
        self._draw = draw
        self._waiting: asyncio.Queue[tuple[AnsweredCall, Endpoint]] = asyncio.Queue(WAITING_MAX)
        self._tokens_left = float(bounds.tokens_per_hour)
        self._filled_at = 0.0

    def offer(self, answered: AnsweredCall, route: Route | None) -> None:
        """Choose a call for comparison, or not: never waits, never fails."""
        if not self.is_on or route is None or self._waiting.full():
            return
        if self._draw() >= self._bounds.share * (1 + log2(1 + answered.tokens / PREFERRED_FROM_TOKENS)):
            return
        second = _second(answered, route)
        if second is not None and self._take(answered.tokens):
            self._waiting.put_nowait((answered, second))

    async def run(self) -> None:
        """Make the chosen comparisons until cancelled, one after the other."""
        while True:
            answered, second = await self._waiting.get()
            try:
                await self._compare(answered, second)
            except Failure as failure:
                log.info("comparison_unanswered", provider=second.provider_name, failure=type(failure).__name__)

    def _take(self, tokens: int) -> bool:
        """Take tokens out of the hour's budget, which fills up evenly."""
        now = asyncio.get_running_loop().time()
        most = float(self._bounds.tokens_per_hour)
        self._tokens_left = min(most, self._tokens_left + (now - self._filled_at) * most / HOUR_S)
        self._filled_at = now
        if tokens > self._tokens_left:
            return False
        self._tokens_left -= tokens
        return True

    async def _compare(self, answered: AnsweredCall, second: Endpoint) -> None:
        vectors = await self._embed(answered, second)
        self._state.counts.answers_compared[answered.endpoint.provider_name] += 1
        agrees = partial(compare, numerics=numerics_of(answered.model.numerics), sides=2)
        for start in range(0, len(answered.matrix), ROWS_AT_ONCE):
            part = slice(start, start + ROWS_AT_ONCE)
            agreement = await asyncio.to_thread(agrees, answered.matrix[part], vectors.matrix[part])
            if not agreement.passed:
                await self._alarm(answered, second, agreement.fault)
                return

    async def _embed(self, answered: AnsweredCall, second: Endpoint) -> Vectors:
        request_id = RequestId(new_id())
        attempt = build_attempt(second, answered.request, answered.model, request_id)
        provider = self._state.providers.get(second.provider_id)
        if provider is None:
            raise Misconfigured("its provider is gone")
        lease, used_tokens = None, None
        if has_quota(second):
            lease = await self._state.quota.acquire(
                second, request_id.hex, requests=1, tokens=answered.tokens, slots=1, limit_s=QUOTA_WITHIN_S
            )
        try:
            vectors = await provider.embed(attempt, WITHIN_S)
            used_tokens = vectors.tokens
        finally:
            if lease is not None:
                self._state.quota.release(lease, used_tokens, 1)
        validate_vectors(vectors, attempt, answered.model)
        return vectors

    async def _alarm(self, answered: AnsweredCall, second: Endpoint, fault: str) -> None:
        """Tell operators, and let the probes find out which of the two is wrong."""
        first = answered.endpoint
        self._state.counts.answers_disagreeing[first.provider_name] += 1
        log.error(
            "answers_disagree",
            model=answered.model.id,
            endpoint=wire(EndpointId, first.id),
            provider=first.provider_name,
            second_endpoint=wire(EndpointId, second.id),
            second_provider=second.provider_name,
            inputs=len(answered.matrix),
            tokens=answered.tokens,
            reason=fault,
        )
        try:
            async with self._db.transaction() as connection:
                await verify_soon(connection, sorted((first.id, second.id)))
        except (StoreUnavailable, *STORE_FAULTS) as gone:
            log.warning("verification_not_scheduled", failure=repr(gone)[:200])


def _second(answered: AnsweredCall, route: Route) -> Endpoint | None:
    """Another provider's endpoint of the call's route and space that takes the call in one request."""
    first, inputs = answered.endpoint, len(answered.matrix)
    for other in route.order:
        is_another = other.provider_id != first.provider_id and other.space == first.space
        if is_another and not is_too_large(other, inputs, answered.tokens):
            return other
    return None
