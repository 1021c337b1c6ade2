"""What comes after each attempt's outcome: the next endpoint, a hedge beside a slow one, patience, or the end.

Pure, and a generator as in httpx's auth flow: the driver (:mod:`router.dispatch`) and a simulation with another clock
run the very same rules. A call has three attempts and one deadline for all of them.
"""

from collections.abc import Callable, Generator, Sequence
from enum import Enum
from typing import Final, Literal

import msgspec

from providers.outcomes import Failure, GiveUp, PassedOver
from router.budgets import Budgets
from router.values import Endpoint

ATTEMPTS_MAX: Final = 3

# An attempt that is not the last may take four times what its endpoint usually needs, and at least this long.
USUAL_TIMES: Final = 4.0
LIMIT_MIN_S: Final = 2.0
# An endpoint that was not measured yet gets this long, and a second more for each so many tokens.
UNKNOWN_S: Final = 5.0
UNKNOWN_TOKENS_PER_S: Final = 2000.0


class Try(msgspec.Struct, frozen=True):
    """The next attempt. ``limit_s`` is how long it may take; ``number`` counts from 1 what was really sent."""

    endpoint: Endpoint
    limit_s: float
    why: Literal["first", "next", "hedge"]
    number: int


class Slow(Enum):
    """Told instead of a failure: the attempt under way is slower than usual, and a second one may run beside it."""

    SLOW = "slow"


SLOW: Final = Slow.SLOW

Outcome = tuple[Failure | Slow, float]
Usual = Callable[[Endpoint], float | None]


def attempts(
    order: Sequence[Endpoint], deadline_at: float, now: float, tokens: int, usual_s: Usual, budgets: Budgets
) -> Generator[Try | None, Outcome, None]:
    """The attempts of one call at the endpoints of ``order``; ends where no other attempt should be made.

    Send each attempt's failure, or :data:`SLOW`, with the time. After a failure comes the next :class:`Try`; after SLOW
    a hedge, or None for patience. Of two under way send a failure only when both have failed. ``tokens`` bounds the
    call's size; ``usual_s`` is the time that 95 of 100 such calls take at an endpoint, None where that is not known.
    """
    budgets.called(now)
    why: Literal["first", "next", "hedge"] = "first"
    number, paid = 1, 1
    for place, endpoint in enumerate(order):
        left_s = deadline_at - now
        if left_s <= 0:
            return
        if number > paid and why == "next":
            if not budgets.takes_retry(endpoint.id, now):
                continue  # It fails, and enough calls have asked it twice; one that answers may come after it.
            paid = number
        left = min(len(order) - place, ATTEMPTS_MAX - number + 1)
        limit_s = left_s if left == 1 else limit(left_s, left, usual_s(endpoint), tokens)
        outcome, now = yield Try(endpoint, limit_s, why, number)
        while outcome is SLOW and (left == 1 or not budgets.takes_hedge()):
            outcome, now = yield None
        if outcome is SLOW:
            why = "hedge"
        elif isinstance(outcome, GiveUp):
            return
        elif isinstance(outcome, PassedOver):
            continue
        else:
            why = "next"
        number += 1
        if number > ATTEMPTS_MAX:
            return


def limit(left_s: float, attempts_left: int, usual_s: float | None, tokens: int) -> float:
    """How long an attempt may take while others may follow: so long that it is not merely slow, and no longer.

    The others keep a little time each, but not so much that this one is cut before what it usually takes.
    """
    most_s = max(left_s / attempts_left, left_s - LIMIT_MIN_S * (attempts_left - 1), usual_s or 0.0)
    unmeasured_s = UNKNOWN_S + tokens / UNKNOWN_TOKENS_PER_S
    return min(left_s, most_s, unmeasured_s if usual_s is None else max(LIMIT_MIN_S, USUAL_TIMES * usual_s))
