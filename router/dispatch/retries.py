"""Plans the attempts of a call: the next endpoint, a hedge beside a slow one, patience, or the end. Pure.

The plan is a generator as in httpx's auth flow: the driver (``dispatch.dispatch``) and a test with another clock run
the very same rules. A call has three attempts and one deadline for all of them.
"""

from collections.abc import Callable, Generator, Sequence
from enum import Enum
from typing import Final, Literal

import msgspec

from providers.outcomes import Failure, GiveUp, PassedOver
from router.dispatch.retry_budget import RetryBudget
from router.routing.latency import UsualLatency
from router.values import Endpoint

ATTEMPTS_MAX: Final = 3

# An attempt that is not the last may take four times its endpoint's usual latency, and at least this long. Where that
# was too short, it doubles the next time, and so on; only an endpoint that does not answer then either has failed.
USUAL_TIMES: Final = 4.0
LIMIT_MIN_S: Final = 2.0
# An endpoint that was not measured yet gets this long, and a second more for each so many tokens.
UNMEASURED_S: Final = 5.0
UNMEASURED_TOKENS_PER_S: Final = 2000.0


class AttemptRequest(msgspec.Struct, frozen=True):
    """An attempt to send. ``limit_s`` is how long it may take; ``number`` counts the attempts really sent, from 1.

    ``may_be_slow``: if no answer comes in that time, the endpoint is only known to be slower than usual.
    """

    endpoint: Endpoint
    limit_s: float
    why: Literal["first", "next", "hedge"]
    number: int
    may_be_slow: bool = False


class Slow(Enum):
    """The outcome of an attempt that is under way and slower than usual: a second one may run beside it."""

    SLOW = "slow"


SLOW: Final = Slow.SLOW

# All failures of the attempts that were under way, or SLOW; and the time.
Outcome = tuple[Sequence[Failure] | Slow, float]
UsualAt = Callable[[Endpoint], UsualLatency]


def plan_attempts(
    order: Sequence[Endpoint], deadline_at: float, now: float, tokens: int, usual_at: UsualAt, retry_budget: RetryBudget
) -> Generator[AttemptRequest | None, Outcome, None]:
    """The attempts of one call at the endpoints of ``order``; the plan ends where no other attempt should be made.

    Send each attempt's failure, or :data:`SLOW`, with the time. A failure is followed by the next
    :class:`AttemptRequest`; SLOW by a hedge, or None for patience. Of two under way send both failures when both have
    failed. ``tokens`` bounds the call's size; ``usual_at`` is the usual latency of such calls at an endpoint.
    """
    retry_budget.record_call(now)
    why: Literal["first", "next", "hedge"] = "first"
    number, paid_number = 1, 1
    for place, endpoint in enumerate(order):
        left_s = deadline_at - now
        if left_s <= 0:
            return
        if number > paid_number and why == "next":
            if not retry_budget.take_retry(endpoint.id, now):
                continue  # It fails, and enough calls have retried it; an endpoint that answers may come after it.
            paid_number = number
        left = min(len(order) - place, ATTEMPTS_MAX - number + 1)
        limit_s, may_be_slow = (left_s, False) if left == 1 else attempt_limit(left_s, left, usual_at(endpoint), tokens)
        outcome, now = yield AttemptRequest(endpoint, limit_s, why, number, may_be_slow)
        while outcome is SLOW and (left == 1 or not retry_budget.take_hedge()):
            outcome, now = yield None
        if isinstance(outcome, Slow):
            why, number = "hedge", number + 1
            continue
        if any(isinstance(failure, GiveUp) for failure in outcome):
            return
        number += 1 - sum(isinstance(failure, PassedOver) for failure in outcome)
        why = "next" if number > 1 else "first"
        if number > ATTEMPTS_MAX:
            return


def attempt_limit(left_s: float, attempts_left: int, usual: UsualLatency, tokens: int) -> tuple[float, bool]:
    """How long an attempt may take while others may follow, and whether the endpoint may merely be slow after that.

    The others are left a little time each, but not so much that this one ends before its usual latency.
    """
    p95_s = usual.p95_s
    most_s = max(left_s / attempts_left, left_s - LIMIT_MIN_S * (attempts_left - 1), p95_s or 0.0)
    unmeasured_s = UNMEASURED_S + tokens / UNMEASURED_TOKENS_PER_S
    enough_s = (unmeasured_s if p95_s is None else max(LIMIT_MIN_S, USUAL_TIMES * p95_s)) * 2.0**usual.stretch
    limit_s = min(left_s, most_s, enough_s)
    return limit_s, limit_s < left_s and (usual.stretch == 0 or limit_s < enough_s)
