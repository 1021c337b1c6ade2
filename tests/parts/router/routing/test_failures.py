"""What a call is told that nobody answered: one line per way in which its attempts failed."""

import pytest

from providers.outcomes import (
    BadAnswer,
    BeyondQuota,
    Broken,
    CallerFault,
    CredentialRefused,
    Failure,
    Overloaded,
    PassedOver,
    Throttled,
    TimedOut,
    TooLong,
    Warming,
)
from router import errors
from router.routing.failures import error_for
from tests.builders.values import ENDPOINT


def throttled(seconds: float | None = None) -> Throttled:
    return Throttled(retry_after_s=seconds)


def beyond(seconds: float) -> BeyondQuota:
    return BeyondQuota("it grants us so much only over more time", least_s=seconds, limit_s=5)


# What each attempt came to, in their order; the error's code; its Retry-After in seconds.
TABLE: list[tuple[list[Failure], str, float | None]] = [
    ([throttled(7)], "capacity_exhausted", 7),
    ([throttled(30), throttled(), throttled(7)], "capacity_exhausted", 7),
    ([throttled(30), throttled(0)], "capacity_exhausted", 0),
    ([throttled()], "capacity_exhausted", 1),
    ([Overloaded(retry_after_s=3), throttled(9)], "capacity_exhausted", 3),
    ([PassedOver(retry_after_s=5)], "capacity_exhausted", 5),
    ([PassedOver(retry_after_s=5), throttled(2)], "capacity_exhausted", 2),
    ([beyond(120), beyond(90)], "above_provider_quota", None),
    ([beyond(120), throttled(4)], "capacity_exhausted", 4),
    ([Warming(retry_after_s=20)], "model_warming", 20),
    ([PassedOver(retry_after_s=5), Warming(retry_after_s=20)], "model_warming", 5),
    ([throttled(30), Warming(retry_after_s=20)], "model_warming", 20),
    ([throttled(7), Broken()], "provider_unavailable", 7),
    ([Warming(retry_after_s=20), TimedOut()], "provider_unavailable", 20),
    ([throttled(7), CredentialRefused()], "provider_unavailable", 7),
    ([CredentialRefused()], "provider_unavailable", None),
    ([PassedOver(retry_after_s=5), TimedOut()], "upstream_timeout", None),
    ([], "upstream_timeout", None),
    ([PassedOver(retry_after_s=5), BadAnswer()], "upstream_invalid", None),
    ([throttled(7), CallerFault()], "invalid_request", None),
    ([throttled(7), TooLong(index=0, tokens=9, limit=8)], "input_too_long", None),
]


@pytest.mark.parametrize(("failed", "code", "retry_after_s"), TABLE)
def test_each_way_to_fail_has_its_answer(failed: list[Failure], code: str, retry_after_s: float | None) -> None:
    refusal: errors.Refusal = error_for([(ENDPOINT, failure) for failure in failed])
    assert (refusal.code, refusal.retry_after_s) == (code, retry_after_s)
