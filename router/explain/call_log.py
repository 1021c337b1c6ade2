"""Makes the row of the log of calls from an explanation: the columns by which calls are listed and filtered. Pure."""

from enum import StrEnum
from typing import Any, Final

from router.explain.explanation import Explanation

COLUMNS: Final = (
    "request_id",
    "account_id",
    "route",
    "at",
    "key_id",
    "model_id",
    "lane",
    "outcome",
    "code",
    "took_ms",
    "duration_class",
    "tokens",
    "cost_nano",
    "attempts",
)
# An attempt that was not sent is none (router.values.Trace.attempts_sent).
_UNSENT: Final = frozenset({"PassedOver", "BeyondQuota"})
_CLIENT_GONE: Final = 499
_TOOK_MS_MAX: Final = 2**31 - 1


class Outcome(StrEnum):
    """How a call ended: a replayed one repeats a stored answer, a canceled one's client had hung up."""

    ANSWERED = "answered"
    REPLAYED = "replayed"
    REFUSED = "refused"
    FAILED = "failed"
    CANCELED = "canceled"


def outcome_of(explanation: Explanation) -> Outcome:
    """How a call ended."""
    if explanation.status == _CLIENT_GONE:
        return Outcome.CANCELED
    if explanation.error is not None or explanation.status >= 400:
        return Outcome.REFUSED if explanation.status < 500 else Outcome.FAILED
    return Outcome.REPLAYED if explanation.replayed else Outcome.ANSWERED


def duration_class(took_ms: int) -> int:
    """The bits that a duration in milliseconds has: slower calls are those of greater classes, and some of its own."""
    return took_ms.bit_length()


def row_of(explanation: Explanation, route: str) -> tuple[Any, ...]:
    """The row of a call, in the order of :data:`COLUMNS`; ``route`` is its explanation as JSON."""
    took_ms = min(explanation.timings.total_us // 1000, _TOOK_MS_MAX)
    return (
        explanation.request_id,
        explanation.account,
        route,
        explanation.at,
        explanation.key,
        explanation.model or None,
        explanation.lane.value,
        outcome_of(explanation).value,
        explanation.error.code if explanation.error is not None else "",
        took_ms,
        duration_class(took_ms),
        explanation.tokens,
        explanation.cost_nano,
        sum(attempt.outcome not in _UNSENT for attempt in explanation.attempts),
    )
