"""What comes after each outcome of an attempt, as plain values: no clock, no provider."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.outcomes import (
    BadAnswer,
    Broken,
    CallerFault,
    ConnectFailed,
    CredentialRefused,
    Failure,
    ModelMissing,
    Overloaded,
    PassedOver,
    Throttled,
    TimedOut,
    TooLong,
    Warming,
)
from router.dispatch.retries import ATTEMPTS_MAX, LIMIT_MIN_S, SLOW, AttemptRequest, attempt_limit, plan_attempts
from router.dispatch.retry_budget import HEDGES_PER_CALL, RETRIES_PER_CALL, RETRIES_PER_S, WINDOW_S, RetryBudget, Window
from router.routing.health import Health
from router.routing.latency import UsualLatency
from router.values import Endpoint
from tests.builders.values import an_endpoint

ELSEWHERE = [
    TimedOut,
    ConnectFailed,
    Broken,
    BadAnswer,
    Throttled,
    Overloaded,
    Warming,
    CredentialRefused,
    ModelMissing,
]


def endpoints(number: int) -> list[Endpoint]:
    return [an_endpoint(f"p{place}") for place in range(number)]


class Call:
    """One call that is driven by hand: every outcome comes a second after its attempt."""

    def __init__(
        self,
        order: list[Endpoint],
        *,
        deadline_at: float = 60.0,
        usual_s: float | None = 0.1,
        retry_budget: RetryBudget | None = None,
    ) -> None:
        self.now = 0.0
        self.retry_budget = retry_budget or RetryBudget()
        self.plan = plan_attempts(order, deadline_at, 0.0, 100, lambda _: UsualLatency(usual_s), self.retry_budget)
        self.attempt_requests: list[AttemptRequest] = []
        self._take(next(self.plan, None))

    def fails(self, *failures: Failure, after_s: float = 1.0) -> AttemptRequest | None:
        """The next attempt after a failure of what was under way."""
        return self._then(failures, after_s)

    def is_slow(self) -> AttemptRequest | None:
        return self._then(SLOW, 1.0)

    def _then(self, outcome: object, after_s: float) -> AttemptRequest | None:
        self.now += after_s
        try:
            return self._take(self.plan.send((outcome, self.now)))  # type: ignore[arg-type]
        except StopIteration:
            return None

    def _take(self, attempt_request: AttemptRequest | None) -> AttemptRequest | None:
        if attempt_request is not None:
            self.attempt_requests.append(attempt_request)
        return attempt_request


@pytest.mark.parametrize("failure", ELSEWHERE)
def test_a_failure_of_a_provider_goes_on_to_the_next_endpoint(failure: type[Failure]) -> None:
    order = endpoints(2)
    call = Call(order)
    assert call.fails(failure()) == AttemptRequest(order[1], 59.0, "next", 2)
    assert call.fails(failure()) is None


@pytest.mark.parametrize("fault", [CallerFault("no"), TooLong(index=0, tokens=9, limit=8)])
def test_what_is_the_customers_fault_is_never_tried_again(fault: Failure) -> None:
    assert Call(endpoints(3)).fails(fault) is None


def test_three_attempts_are_the_most() -> None:
    call = Call(endpoints(9))
    while call.fails(Broken()):
        pass
    assert [attempt_request.number for attempt_request in call.attempt_requests] == [1, 2, ATTEMPTS_MAX]
    assert [attempt_request.why for attempt_request in call.attempt_requests] == ["first", "next", "next"]


def test_an_endpoint_whose_grant_is_used_up_is_passed_over_and_is_no_attempt() -> None:
    order = endpoints(5)
    call = Call(order)
    assert call.fails(PassedOver(retry_after_s=3.0)) == AttemptRequest(
        order[1], LIMIT_MIN_S, "first", 1, may_be_slow=True
    )
    call.fails(PassedOver())
    call.fails(Broken())
    assert call.fails(Broken()) == AttemptRequest(order[4], 56.0, "next", 3)


def test_an_attempt_gets_four_times_the_usual_and_the_last_one_all_that_is_left() -> None:
    call = Call(endpoints(3), usual_s=2.0)
    call.fails(Broken(), after_s=8.0)
    call.fails(Broken(), after_s=8.0)
    assert [attempt_request.limit_s for attempt_request in call.attempt_requests] == [8.0, 8.0, 44.0]


@pytest.mark.parametrize(
    ("deadline_s", "usual_s", "tokens", "limit_s"),
    [
        (60.0, None, 0, 5.0),
        (60.0, None, 1_000_000, 56.0),
        (6.0, None, 0, 2.0),
        (3.0, None, 0, 1.0),
        (3.0, 0.01, 0, 1.0),
        (60.0, 20.0, 0, 56.0),
        (3.0, 2.5, 0, 2.5),
        (3.0, 9.0, 0, 3.0),
    ],
)
def test_an_attempt_leaves_time_for_two_more_where_it_can(
    deadline_s: float, usual_s: float | None, tokens: int, limit_s: float
) -> None:
    plan = plan_attempts(endpoints(3), deadline_s, 0.0, tokens, lambda _: UsualLatency(usual_s), RetryBudget())
    attempt_request = next(plan)
    assert attempt_request is not None
    assert attempt_request.limit_s == pytest.approx(limit_s)


def send_batches(
    health: Health, endpoint: Endpoint, took_s: float, number: int, at_once: int = 20, now: float = 0.0
) -> float:
    """Rounds of calls that start together, each with time for two more endpoints; the time at the end.

    While the breaker rests nothing is sent, and after it one at a time.
    """
    for _ in range(number):
        if health.exclusion_reason(endpoint.id, now) is not None:
            now += health.retry_after_s(endpoint.id, now)
        usual = health.usual_latency(endpoint.id, 1, 10)
        limit_s, may_be_slow = attempt_limit(600.0, 3, usual, 10)
        calls = [start for _ in range(at_once) if (start := health.start(endpoint.id, now)) is not None]
        now += min(took_s, limit_s)
        for start in calls:
            if took_s <= limit_s:
                health.record_success(endpoint.id, now, took_s, 1, 10, start)
            else:
                health.record_timeout(endpoint.id, now, limit_s, 1, 10, not may_be_slow, start)
    return now


@pytest.mark.parametrize("usual_s", [0.1, 1.0])
def test_an_endpoint_that_becomes_seven_times_slower_is_slow_and_not_broken(usual_s: float) -> None:
    endpoint, health = endpoints(1)[0], Health()
    now = send_batches(health, endpoint, usual_s, 3)
    now = send_batches(health, endpoint, 7 * usual_s, 2, now=now)
    assert health.exclusion_reason(endpoint.id, now) is None
    seen = health.stats(endpoint.id, 0, now)
    assert (seen.success_rate, seen.share) == (1, 1)
    assert seen.latency_s == pytest.approx(7 * usual_s)
    # What is usual was learned: nothing is cut any more.
    assert attempt_limit(600.0, 3, health.usual_latency(endpoint.id, 1, 10), 10)[0] > 20 * usual_s


def test_one_that_hangs_is_broken_as_soon_as_it_had_twice_the_time() -> None:
    endpoint, health, usual_s = endpoints(1)[0], Health(), 0.1
    now = send_batches(health, endpoint, usual_s, 3)
    now = send_batches(health, endpoint, 1e9, 1, now=now)
    assert health.exclusion_reason(endpoint.id, now) is None
    now = send_batches(health, endpoint, 1e9, 1, now=now)
    assert health.exclusion_reason(endpoint.id, now) == "its breaker is open: no answer in time"
    assert now == pytest.approx(3 * usual_s + LIMIT_MIN_S + 2 * LIMIT_MIN_S)


def test_one_that_became_thirty_times_slower_comes_back_by_its_trials() -> None:
    endpoint, health = endpoints(1)[0], Health()
    now = send_batches(health, endpoint, 1.0, 3)
    now = send_batches(health, endpoint, 30.0, 2, now=now)
    assert health.exclusion_reason(endpoint.id, now) is not None
    now = send_batches(health, endpoint, 30.0, 8, now=now)
    assert health.exclusion_reason(endpoint.id, now) is None
    assert health.stats(endpoint.id, 0, now).latency_s == pytest.approx(30.0)


def test_after_the_deadline_nothing_is_tried() -> None:
    call = Call(endpoints(2), deadline_at=5.0)
    assert call.fails(Broken(), after_s=5.0) is None
    assert not Call(endpoints(2), deadline_at=0.0).attempt_requests


@given(
    deadline_s=st.floats(0.001, 600),
    usual=st.lists(st.one_of(st.none(), st.floats(0, 100)), min_size=1, max_size=6),
    took=st.lists(st.floats(0, 1), min_size=6, max_size=6),
)
def test_no_attempt_may_take_more_than_is_left(deadline_s: float, usual: list[float | None], took: list[float]) -> None:
    order = endpoints(len(usual))
    of = dict(zip([one.id for one in order], usual, strict=True))
    now, plan = (
        0.0,
        plan_attempts(order, deadline_s, 0.0, 100, lambda endpoint: UsualLatency(of[endpoint.id]), RetryBudget()),
    )
    attempt_request, attempt_count = next(plan, None), 0
    while attempt_request is not None:
        assert 0 < attempt_request.limit_s <= deadline_s - now
        attempt_count += 1
        now += attempt_request.limit_s * took[attempt_count - 1]
        try:
            attempt_request = plan.send(([Broken()], now))
        except StopIteration:
            break
    assert attempt_count <= ATTEMPTS_MAX


def test_a_slow_first_attempt_gets_a_hedge_where_one_was_earned() -> None:
    order, retry_budget = endpoints(3), RetryBudget()
    for _ in range(round(1 / HEDGES_PER_CALL) - 1):
        retry_budget.record_call(0.0)
    call = Call(order, retry_budget=retry_budget)
    assert call.is_slow() == AttemptRequest(order[1], LIMIT_MIN_S, "hedge", 2, may_be_slow=True)
    # Both have failed: the third and last attempt.
    assert call.fails(Broken(), Broken()) == AttemptRequest(order[2], 58.0, "next", 3)
    # That hedge is spent, and one call has not earned the next.
    poor = Call(order, retry_budget=retry_budget)
    assert poor.is_slow() is None
    assert poor.fails(Broken()) == AttemptRequest(order[1], LIMIT_MIN_S, "next", 2, may_be_slow=True)


@pytest.mark.parametrize(
    ("first", "hedge", "then", "number"),
    [
        (Broken(), PassedOver(), "next", 2),
        (PassedOver(), Broken(), "next", 2),
        (PassedOver(), PassedOver(), "first", 1),
        (Broken(), Broken(), "next", 3),
    ],
)
def test_what_comes_after_a_hedge_follows_what_was_sent(first: Failure, hedge: Failure, then: str, number: int) -> None:
    order, retry_budget = endpoints(4), RetryBudget()
    for _ in range(round(1 / HEDGES_PER_CALL)):
        retry_budget.record_call(0.0)
    call = Call(order, retry_budget=retry_budget)
    call.is_slow()
    following = call.fails(first, hedge)
    assert following is not None
    assert (following.endpoint, following.why, following.number) == (order[2], then, number)


def test_hedges_are_a_twentieth_of_the_calls_at_most() -> None:
    retry_budget, hedges = RetryBudget(), 0
    for number in range(10_000):
        retry_budget.record_call(number / 100)
        hedges += retry_budget.take_hedge()
    assert hedges == 10_000 * HEDGES_PER_CALL


def test_in_an_outage_of_all_retries_are_a_fifth_of_the_calls() -> None:
    order, retry_budget, sent = endpoints(3), RetryBudget(), [0] * 40
    for number in range(40_000):
        now = number / 1000
        plan = plan_attempts(order, 1e9, now, 1, lambda _: UsualLatency(0.1), retry_budget)
        attempt_request: AttemptRequest | None = next(plan)
        while attempt_request is not None:
            sent[int(now)] += 1
            retry_budget.record_failure(attempt_request.endpoint.id, now)
            try:
                attempt_request = plan.send(([Broken()], now))
            except StopIteration:
                attempt_request = None
    for first in range(WINDOW_S, 40 - WINDOW_S):
        assert sum(sent[first : first + WINDOW_S]) <= 1000 * WINDOW_S * (1 + RETRIES_PER_CALL) + 1000


def test_a_few_retries_a_second_are_always_allowed() -> None:
    order, retry_budget = endpoints(2), RetryBudget()
    for endpoint in order:
        retry_budget.record_failure(endpoint.id, 0.5)
    assert sum(retry_budget.take_retry(order[1].id, 0.5) for _ in range(100)) == RETRIES_PER_S * WINDOW_S
    retry_budget.record_failure(order[1].id, 0.5 + WINDOW_S)
    assert sum(retry_budget.take_retry(order[1].id, 0.5 + WINDOW_S) for _ in range(100)) == RETRIES_PER_S * WINDOW_S


def test_a_retry_at_an_endpoint_that_answers_is_never_refused() -> None:
    """One of three that fails hard must not cost the calls that come at once a second attempt."""
    order, retry_budget = endpoints(2), RetryBudget()
    retry_budget.record_failure(order[0].id, 0.0)
    retry_budget.record_answer(order[1].id)
    assert all(retry_budget.take_retry(order[1].id, 0.0) for _ in range(1000))
    assert not retry_budget.take_retry(order[0].id, 0.0)
    retry_budget.record_answer(order[0].id)
    assert retry_budget.take_retry(order[0].id, 0.0)


def test_where_the_budget_is_used_up_the_failing_are_skipped_and_who_answers_is_asked() -> None:
    order, retry_budget = endpoints(3), RetryBudget()
    for endpoint in order[:2]:
        retry_budget.record_failure(endpoint.id, 0.0)
    while retry_budget.take_retry(order[0].id, 0.0):
        pass
    assert Call(order, retry_budget=retry_budget).fails(Broken()) == AttemptRequest(order[2], 59.0, "next", 2)


def test_an_old_failure_is_forgotten() -> None:
    order, retry_budget = endpoints(1), RetryBudget()
    retry_budget.record_failure(order[0].id, 0.0)
    assert all(retry_budget.take_retry(order[0].id, float(WINDOW_S)) for _ in range(1000))


@given(st.lists(st.floats(0, 40), max_size=60))
def test_a_window_counts_the_last_ten_seconds(instants: list[float]) -> None:
    window, seen = Window(), []
    for now in sorted(instants):
        window.add(now)
        seen.append(now)
        assert window.count(now) == sum(int(now) - int(one) < WINDOW_S for one in seen)
