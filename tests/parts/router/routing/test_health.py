"""What a process learns of an endpoint: breaker, slow start, pauses, latency by size; and what it forgets."""

import pytest

from router.routing.circuit_breaker import FAILURES_MAX, OPEN_MAX_S, OPEN_S, SLOW_START_S, TRIALS
from router.routing.health import PAUSE_MAX_S, Health
from router.routing.latency import BASELINE_S, DECAY_S, EXPIRY_S, SAMPLES_MIN, SIZES, UsualLatency, size_of
from router.routing.stats import NO_STATS
from router.values import Lane, QuarantineCause
from store.ids import EndpointId, new_id


@pytest.fixture
def endpoint() -> EndpointId:
    return EndpointId(new_id())


def broken(health: Health, endpoint: EndpointId, at: float = 0.0) -> Health:
    for _ in range(FAILURES_MAX):
        assert health.exclusion_reason(endpoint, at) is None
        health.record_failure(endpoint, at, "it broke")
    return health


def answer(health: Health, endpoint: EndpointId, now: float, took_s: float = 0.1) -> None:
    health.start(endpoint, now)
    health.record_success(endpoint, now, took_s, 1, 10)


def seen_s(health: Health, endpoint: EndpointId, now: float) -> float | None:
    return health.stats(endpoint, size_of(1, 10), now).latency_s


def test_five_failures_in_a_row_open_the_breaker_and_one_call_may_try_after_the_rest(endpoint: EndpointId) -> None:
    health = broken(Health(), endpoint)
    assert health.exclusion_reason(endpoint, OPEN_S - 0.1) == "its breaker is open: it broke"
    assert health.retry_after_s(endpoint, 1.0) == OPEN_S - 1
    assert health.exclusion_reason(endpoint, OPEN_S) is None
    assert health.start(endpoint, OPEN_S)
    assert health.exclusion_reason(endpoint, OPEN_S) == "another call is trying it"
    assert not health.start(endpoint, OPEN_S)
    health.release(endpoint)
    assert health.exclusion_reason(endpoint, OPEN_S) is None


def test_three_good_trials_close_it_and_its_share_grows_slowly(endpoint: EndpointId) -> None:
    health = broken(Health(), endpoint)
    now = OPEN_S
    for _ in range(TRIALS):
        assert health.stats(endpoint, 0, now).share == pytest.approx(0.1)
        answer(health, endpoint, now)
    assert health.start(endpoint, now)
    assert health.start(endpoint, now), "it is closed: calls need not wait for each other"
    assert health.stats(endpoint, 0, now).share == pytest.approx(0.1)
    assert health.stats(endpoint, 0, now + SLOW_START_S / 2).share == pytest.approx(0.55)
    assert health.stats(endpoint, 0, now + SLOW_START_S).share == 1


def test_a_rest_doubles_up_to_five_minutes_and_starts_small_again_after_a_good_time(endpoint: EndpointId) -> None:
    health, now, rests = broken(Health(), endpoint), 0.0, []
    for _ in range(9):
        rests.append(health.retry_after_s(endpoint, now))
        now += rests[-1]
        health.start(endpoint, now)
        health.record_failure(endpoint, now, "it broke again")
    assert rests[:4] == [5, 10, 20, 40]
    assert max(rests) == OPEN_MAX_S
    now += OPEN_MAX_S
    for _ in range(TRIALS):
        answer(health, endpoint, now)
    answer(health, endpoint, now + SLOW_START_S + 1)
    broken(health, endpoint, now + SLOW_START_S + 2)
    assert health.retry_after_s(endpoint, now + SLOW_START_S + 2) == OPEN_S


def test_one_that_breaks_right_after_its_trials_rests_longer(endpoint: EndpointId) -> None:
    health = broken(Health(), endpoint)
    for _ in range(TRIALS):
        answer(health, endpoint, OPEN_S)
    broken(health, endpoint, OPEN_S + 1)
    assert health.retry_after_s(endpoint, OPEN_S + 1) == 2 * OPEN_S


def test_calls_that_were_under_way_when_it_opened_do_not_lengthen_the_rest(endpoint: EndpointId) -> None:
    health = Health()
    for _ in range(50):
        health.start(endpoint, 0.0)
    for _ in range(50):
        health.record_failure(endpoint, 0.5, "it broke")
    assert health.retry_after_s(endpoint, 0.5) == OPEN_S
    health.record_failure(endpoint, OPEN_S + 1, "a very late one")
    assert health.exclusion_reason(endpoint, OPEN_S + 1) is None


def test_stragglers_of_before_a_rest_are_never_taken_for_the_trial(endpoint: EndpointId) -> None:
    health = Health()
    stragglers = [health.start(endpoint, 0.0) for _ in range(20)]
    broken(health, endpoint)
    trial = health.start(endpoint, OPEN_S)
    health.record_failure(endpoint, OPEN_S + 1, "a late timeout", start=stragglers.pop())
    assert health.retry_after_s(endpoint, OPEN_S + 1) == 0
    health.release(endpoint, stragglers.pop())
    for _ in range(TRIALS):
        health.record_success(endpoint, OPEN_S + 1, 0.1, start=stragglers.pop())
    assert health.exclusion_reason(endpoint, OPEN_S + 1) == "another call is trying it"
    health.record_success(endpoint, OPEN_S + 2, 0.1, start=trial)
    for _ in range(TRIALS - 1):
        health.record_success(endpoint, OPEN_S + 2, 0.1, start=health.start(endpoint, OPEN_S + 2))
    # It is closed; what hangs since before the rest does not open it again.
    while stragglers:
        health.record_failure(endpoint, OPEN_S + 3, "a very late timeout", start=stragglers.pop())
    assert health.exclusion_reason(endpoint, OPEN_S + 3) is None
    assert health.stats(endpoint, 0, OPEN_S + 3).success_rate == 1
    assert health.stats(endpoint, 0, OPEN_S + 3).in_flight == 0


def test_what_began_before_a_change_says_nothing_of_the_endpoint_after_it(endpoint: EndpointId) -> None:
    health = Health()
    old = [health.start(endpoint, 0.0) for _ in range(8)]
    health.quarantine(endpoint, QuarantineCause.CREDENTIAL_REFUSED, "401", start=old.pop())
    health.forget(endpoint)
    assert health.pending_quarantines == {}
    new = health.start(endpoint, 1.0)
    assert not health.quarantine(endpoint, QuarantineCause.CREDENTIAL_REFUSED, "401", start=old.pop())
    health.record_pause(endpoint, 1.0, 60.0, start=old.pop())
    while old:
        health.record_failure(endpoint, 1.0, "it broke", start=old.pop())
    assert health.exclusion_reason(endpoint, 1.0) is None
    assert health.pending_quarantines == {}
    assert health.stats(endpoint, 0, 1.0).in_flight == 1
    health.record_success(endpoint, 2.0, 0.1, start=new)
    assert health.stats(endpoint, 0, 2.0).in_flight == 0


def test_half_of_twenty_calls_within_thirty_seconds_open_it_too(endpoint: EndpointId) -> None:
    health = Health()
    for second in range(9):
        answer(health, endpoint, float(second))
        health.record_failure(endpoint, float(second), "it broke")
    answer(health, endpoint, 9.0)
    assert health.exclusion_reason(endpoint, 9.0) is None
    health.record_failure(endpoint, 9.0, "it broke")
    assert health.exclusion_reason(endpoint, 9.0) is not None


def test_what_is_older_than_the_window_does_not_count(endpoint: EndpointId) -> None:
    health = Health()
    for second in range(0, 600, 10):
        answer(health, endpoint, float(second))
        health.record_failure(endpoint, float(second), "it broke")
    assert health.exclusion_reason(endpoint, 600.0) is None


def test_a_wrong_answer_weighs_as_much_as_three_failures(endpoint: EndpointId) -> None:
    health = Health()
    health.record_failure(endpoint, 0.0, "NaN", weight=3)
    assert health.exclusion_reason(endpoint, 0.0) is None
    health.record_failure(endpoint, 0.0, "NaN", weight=3)
    assert health.exclusion_reason(endpoint, 0.0) is not None


def test_jitter_spreads_the_rests(endpoint: EndpointId) -> None:
    assert broken(Health(lambda: 0.8), endpoint).retry_after_s(endpoint, 0.0) == pytest.approx(1.2 * OPEN_S)


def test_being_slow_never_ejects(endpoint: EndpointId) -> None:
    health = Health()
    for second in range(200):
        answer(health, endpoint, float(second), took_s=50.0)
    assert health.exclusion_reason(endpoint, 200.0) is None


def test_patience_is_kept_as_asked_up_to_a_minute_and_is_no_failure(endpoint: EndpointId) -> None:
    health = Health()
    for _ in range(30):
        health.start(endpoint, 0.0)
        health.record_pause(endpoint, 0.0, 7.0)
    assert health.exclusion(endpoint, 6.9) == ("paced", "it asked for patience")
    assert health.exclusion_reason(endpoint, 7.0) is None
    assert health.stats(endpoint, 0, 7.0).success_rate == 1
    health.record_pause(endpoint, 10.0, 86_400.0)
    assert health.retry_after_s(endpoint, 10.0) == PAUSE_MAX_S


def test_without_a_number_patience_doubles_until_an_answer_comes(endpoint: EndpointId) -> None:
    health, now, waits = Health(), 0.0, []
    for _ in range(4):
        health.record_pause(endpoint, now)
        health.record_pause(endpoint, now)
        waits.append(health.retry_after_s(endpoint, now))
        now += waits[-1]
    assert waits[0] == 1
    assert waits == sorted(waits)
    assert waits[-1] >= 8
    answer(health, endpoint, now)
    health.record_pause(endpoint, now)
    assert health.retry_after_s(endpoint, now) == 1
    half = Health(lambda: 0.999)
    half.record_pause(endpoint, 0.0)
    assert half.retry_after_s(endpoint, 0.0) == pytest.approx(0.5, abs=0.01)


def test_a_cold_endpoint_is_left_alone_until_it_is_warm_and_is_no_failure(endpoint: EndpointId) -> None:
    health = Health()
    for _ in range(FAILURES_MAX + 1):
        health.record_warming(endpoint, 0.0, 12.0)
    assert health.exclusion(endpoint, 11.0) == ("warming", "its model is being loaded")
    assert health.exclusion_reason(endpoint, 12.0) is None
    health.record_warming(endpoint, 12.0, 12.0)
    answer(health, endpoint, 13.0)
    assert health.exclusion_reason(endpoint, 13.0) is None, "an answer says that it is warm"


def test_a_quarantined_endpoint_stays_out_until_it_is_changed(endpoint: EndpointId) -> None:
    health = Health()
    health.quarantine(endpoint, QuarantineCause.SPACE_MISMATCH, "another space")
    assert health.pending_quarantines == {endpoint: (QuarantineCause.SPACE_MISMATCH, "another space")}
    assert health.exclusion_reason(endpoint, 1e9) == "it is quarantined: another space"
    assert not health.may_be_tried(endpoint, 1e9)
    health.forget(endpoint)
    assert health.exclusion_reason(endpoint, 0.0) is None


def test_a_quarantine_and_a_change_are_news_for_both_lanes_and_failures_are_not(endpoint: EndpointId) -> None:
    health = Health()
    batch = health.of(Lane.BATCH)
    broken(batch, endpoint)
    assert health.exclusion_reason(endpoint, 0.0) is None
    batch.quarantine(endpoint, QuarantineCause.SPACE_MISMATCH, "another space")
    assert health.exclusion_reason(endpoint, 0.0) == "it is quarantined: another space"
    assert health.pending_quarantines == {endpoint: (QuarantineCause.SPACE_MISMATCH, "another space")}
    health.forget(endpoint)
    assert batch.exclusion_reason(endpoint, 0.0) is None


def test_latency_rises_at_once_and_falls_back_to_what_is_usual(endpoint: EndpointId) -> None:
    health = Health()
    for tenth in range(300):
        answer(health, endpoint, tenth / 10, took_s=0.1)
    answer(health, endpoint, 30.0, took_s=1.1)
    assert seen_s(health, endpoint, 30.0) == pytest.approx(1.1)
    assert seen_s(health, endpoint, 30.0 + DECAY_S) == pytest.approx(0.1 + 1 / 2.718, abs=0.01)
    assert seen_s(health, endpoint, 30.0 + 8 * DECAY_S) == pytest.approx(0.1, abs=0.01)
    assert seen_s(health, endpoint, 30.0 + EXPIRY_S + 1) is None


def test_what_was_slow_for_long_is_hoped_to_be_better_after_a_while_and_tried_by_few(endpoint: EndpointId) -> None:
    health = Health()
    for second in range(300):
        answer(health, endpoint, float(second), took_s=1.0)
    size = size_of(1, 10)
    now = health.stats(endpoint, size, 299.0)
    assert now.decayed_latency_s == pytest.approx(1.0)
    assert now.share == 1
    later = health.stats(endpoint, size, 299.0 + 2 * BASELINE_S)
    assert later.latency_s == pytest.approx(1.0)
    assert later.decayed_latency_s == pytest.approx(1 / 2.718**2, abs=0.01)
    assert later.share == pytest.approx(0.1)
    answer(health, endpoint, 299.0 + 2 * BASELINE_S, took_s=0.1)
    assert health.stats(endpoint, size, 300.0 + 2 * BASELINE_S).share == 1


def test_failures_lower_success_and_time_forgives(endpoint: EndpointId) -> None:
    health = Health()
    health.record_failure(endpoint, 0.0, "it broke")
    assert health.stats(endpoint, 0, 0.0).success_rate == pytest.approx(0.8)
    answer(health, endpoint, 0.0)
    assert health.stats(endpoint, 0, 0.0).success_rate == pytest.approx(0.84)
    assert health.stats(endpoint, 0, 300.0).success_rate > 0.99


def test_the_95th_percentile_needs_answers_and_is_kept_by_size(endpoint: EndpointId) -> None:
    health = Health()
    for _ in range(SAMPLES_MIN - 1):
        answer(health, endpoint, 0.0, took_s=0.1)
    assert health.usual_latency(endpoint, 1, 10).p95_s is None
    for number in range(100):
        answer(health, endpoint, 0.0, took_s=0.5 if number % 10 == 0 else 0.1)
    assert health.usual_latency(endpoint, 1, 10).p95_s == 0.5
    assert health.usual_latency(endpoint, 500, 100_000) == UsualLatency()
    assert health.usual_latency(EndpointId(new_id()), 1, 10) == UsualLatency()


def test_sizes_are_few_and_grow_with_inputs_and_tokens() -> None:
    sizes = {size_of(inputs, tokens) for inputs in (1, 2, 17, 129, 2048) for tokens in (1, 600, 9_000, 70_000)}
    assert sizes == set(range(SIZES))


def test_every_end_takes_a_call_off_what_is_in_flight(endpoint: EndpointId) -> None:
    health = Health()
    for _ in range(6):
        assert health.start(endpoint, 0.0)
    assert health.stats(endpoint, 0, 0.0).in_flight == 6
    health.record_success(endpoint, 0.0, 0.1, 1, 10)
    health.record_failure(endpoint, 0.0, "it broke")
    health.record_pause(endpoint, 0.0, 1.0)
    health.record_warming(endpoint, 0.0, 1.0)
    health.release(endpoint)
    health.quarantine(endpoint, QuarantineCause.SPACE_MISMATCH, "another space")
    assert health.stats(endpoint, 0, 0.0).in_flight == 0


def test_operators_see_all_of_it(endpoint: EndpointId) -> None:
    health = Health()
    assert health.stats(endpoint, 0, 0.0) is NO_STATS
    answer(health, endpoint, 0.0, took_s=0.25)
    health.record_load(endpoint, 2.0, 4_000, 0.0)
    health.record_pause(endpoint, 0.0, 9.0)
    picture = health.snapshot(1.0)[endpoint]
    assert (picture.code, picture.left_out, picture.retry_after_s) == ("paced", "it asked for patience", 8.0)
    assert (picture.wait_s, picture.queue_tokens) == (1.0, 4_000)
    assert picture.latency_ms == {0: 250.0}
    assert picture.tokens_per_s == {0: 40.0}
