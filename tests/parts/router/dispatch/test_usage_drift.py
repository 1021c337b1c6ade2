"""A provider's usage beside our own count: who is told, and how often."""

import msgspec
import pytest
import structlog.testing

from router.dispatch.state import DispatchState
from router.dispatch.usage_drift import agrees, compare_usage
from tests.builders.values import ENDPOINT, a_hold, an_answer_of, unit_rows


def a_dispatch_state() -> DispatchState:
    return DispatchState(providers={}, health=None, quota=None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("reported", "own", "inputs", "agree"),
    [
        *((100, 100, 1, True), (98, 100, 1, True), (104, 100, 1, True), (107, 100, 1, False), (400, 100, 2, False)),
        *((12, 10, 1, True), (0, 10, 1, False), (1_000_000, 10, 1, False), (1_010_000, 1_000_000, 2, True)),
        # Each input may have four special tokens, and 2 % of the whole are rounding.
        *((142, 100, 10, True), (143, 100, 10, False), (58, 100, 10, True), (57, 100, 10, False)),
    ],
)
def test_special_tokens_and_rounding_are_no_drift(reported: int, own: int, inputs: int, agree: bool) -> None:
    assert agrees(reported, own, inputs) is agree


def test_a_drift_is_counted_each_time_and_told_once_until_it_is_over() -> None:
    dispatch_state, quote = a_dispatch_state(), msgspec.structs.replace(a_hold().quote, tokens_max=100, exact=True)
    with structlog.testing.capture_logs() as events:
        for reported in (400, 400, 100, 400, None):
            compare_usage(quote, an_answer_of(unit_rows(1, 8), reported), ENDPOINT, 1, dispatch_state)
    assert [(one["event"], one["reported"], one["counted"]) for one in events] == [
        ("provider_usage_differs", 400, 100),
        ("provider_usage_differs", 400, 100),
    ]
    assert dispatch_state.counts.usage_differing == {"upstream": 3}


def test_no_count_at_all_is_told_and_a_count_that_nobody_can_compare_is_not() -> None:
    dispatch_state, quote = a_dispatch_state(), msgspec.structs.replace(a_hold().quote, exact=False)
    with structlog.testing.capture_logs() as events:
        for reported in (None, 7, None):
            compare_usage(quote, an_answer_of(unit_rows(1, 8), reported), ENDPOINT, 1, dispatch_state)
    assert [one["event"] for one in events] == ["provider_usage_missing"]
    assert dispatch_state.counts.usage_differing == {"upstream": 2}
