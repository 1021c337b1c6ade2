"""The order of those that may serve: by the call's wish, else by price, wait and habit."""

from collections import Counter
from random import Random
from typing import Any

import pytest

from router.routing.circuit_breaker import FAILURES_MAX, OPEN_S, SLOW_START_S, TRIALS
from router.routing.health import Health
from router.values import Endpoint, Preferences, Route
from store.ids import AccountId, new_id
from tests.builders.routing import chance, pick
from tests.builders.values import an_endpoint


def measured(health: Health, latencies: dict[Endpoint, float], now: float = 0.0, tokens: int = 0) -> Health:
    for endpoint, took_s in latencies.items():
        health.start(endpoint.id, now)
        health.record_success(endpoint.id, now, took_s, 1, tokens)
    return health


def names(route: Route) -> list[str]:
    return [endpoint.provider_name for endpoint in route.order]


def test_ten_thousand_draws_give_shares_of_one_over_the_price_squared() -> None:
    costs, random = {"a": 100, "b": 120, "c": 150}, Random(1)
    endpoints = [an_endpoint(name, cost_nano_per_mtok=cost) for name, cost in costs.items()]
    first = Counter(pick(endpoints, draw=random.random).order[0].provider_name for _ in range(10_000))
    whole = sum(1 / cost**2 for cost in costs.values())
    for name, cost in costs.items():
        assert first[name] / 10_000 == pytest.approx(1 / cost**2 / whole, abs=0.02)


def test_weight_shifts_the_shares() -> None:
    endpoints, random = [an_endpoint("a", weight=300), an_endpoint("b", weight=100)], Random(1)
    first = Counter(pick(endpoints, draw=random.random).order[0].provider_name for _ in range(4_000))
    assert first["a"] / 4_000 == pytest.approx(0.75, abs=0.03)


def test_what_costs_more_than_the_band_only_stands_in() -> None:
    cheap, dear = an_endpoint("cheap", cost_nano_per_mtok=100), an_endpoint("dear", cost_nano_per_mtok=151)
    health = measured(Health(), {cheap: 1.0, dear: 0.1})
    route = pick([dear, cheap], health=health)
    assert (names(route), route.policy) == (["cheap", "dear"], "cheapest")


def test_a_worse_priority_only_stands_in() -> None:
    spare, usual = an_endpoint("spare", priority=200), an_endpoint("usual", cost_nano_per_mtok=9)
    assert names(pick([spare, usual])) == ["usual", "spare"]


def test_of_two_drawn_the_clearly_better_one_goes_first() -> None:
    a, b = an_endpoint("a"), an_endpoint("b")
    for b_s, first in ((0.05, "b"), (0.09, "a"), (0.2, "a")):
        route = pick([a, b], health=measured(Health(), {a: 0.1, b: b_s}), draw=chance(0.0))
        assert (names(route)[0], route.policy) == (first, "balanced")


def test_calls_in_flight_and_failures_count_against_an_endpoint() -> None:
    a, b = an_endpoint("a", concurrency=4), an_endpoint("b", concurrency=4)
    busy = measured(Health(), {a: 0.1, b: 0.1})
    for _ in range(2):
        busy.start(a.id, 0.0)
    assert names(pick([a, b], health=busy)) == ["b", "a"]
    failing = measured(Health(), {a: 0.1, b: 0.1})
    for _ in range(2):
        failing.record_failure(a.id, 0.0, "it broke")
    assert names(pick([a, b], health=failing)) == ["b", "a"]


def test_the_least_expected_wait_is_chosen_among_workers() -> None:
    a, b = an_endpoint("a"), an_endpoint("b")
    health = measured(Health(), {a: 0.1, b: 0.1})
    health.record_load(a.id, 0.5, 40_000, 0.0)
    route = pick([a, b], health=health)
    assert names(route) == ["b", "a"]
    assert route.ranked[1].facts["wait_ms"] == 500
    # The queue drains while nobody looks.
    assert pick([a, b], health=health, now=0.5).ranked[0].endpoint is a


def test_a_crowded_worker_gives_way_to_a_dearer_endpoint_and_to_nobody_that_is_worse() -> None:
    worker, dear = an_endpoint("worker", priority=1), an_endpoint("dear", cost_nano_per_mtok=9, priority=2)
    health = measured(Health(), {worker: 0.1, dear: 0.3})
    health.record_load(worker.id, 5.0, 1_000_000, 0.0)
    assert names(pick([worker, dear], health=health)) == ["dear", "worker"]
    health.record_load(dear.id, 20.0, 0, 0.0)
    assert names(pick([worker, dear], health=health)) == ["worker", "dear"]


def test_order_goes_first_and_the_others_stand_in_if_they_may() -> None:
    endpoints = [an_endpoint("c"), an_endpoint("a", priority=1), an_endpoint("b", cost_nano_per_mtok=9)]
    assert names(pick(endpoints, Preferences(order=("b", "c")))) == ["b", "c", "a"]
    strict = pick(endpoints, Preferences(order=("b", "c"), allow_fallbacks=False))
    assert (names(strict), strict.policy) == (["b", "c"], "order")
    assert [c.code for c in strict.left_out] == ["order"]


def test_without_fallbacks_the_first_alone_may_try_and_the_others_are_told() -> None:
    route = pick([an_endpoint("a"), an_endpoint("b", cost_nano_per_mtok=9)], Preferences(allow_fallbacks=False))
    assert names(route) == ["a"]
    assert [(c.endpoint.provider_name, c.code) for c in route.left_out] == [("b", "fallback")]
    assert "score" in route.left_out[0].facts


@pytest.mark.parametrize(("sort", "first"), [("price", "cheap"), ("latency", "quick"), ("throughput", "wide")])
def test_a_sort_goes_across_priorities(sort: Any, first: str) -> None:
    cheap, quick, wide = (
        an_endpoint("cheap", cost_nano_per_mtok=1, priority=3),
        an_endpoint("quick", cost_nano_per_mtok=3, priority=2),
        an_endpoint("wide", cost_nano_per_mtok=2, priority=1),
    )
    health = measured(Health(), {cheap: 0.3, quick: 0.1}, tokens=100)
    for _ in range(2):
        measured(health, {wide: 0.2}, tokens=500)
    route = pick([wide, cheap, quick], Preferences(sort=sort), health, tokens=500)
    assert (names(route)[0], route.policy) == (first, sort)


def test_an_account_keeps_its_endpoint_until_that_is_twice_as_slow() -> None:
    endpoints, random = [an_endpoint(name) for name in "abc"], Random(3)
    accounts = [AccountId(new_id()) for _ in range(60)]
    habits = {}
    for account in accounts:
        first = {names(pick(endpoints, draw=random.random, account=account))[0] for _ in range(5)}
        assert len(first) == 1
        habits[account] = first.pop()
    assert set(habits.values()) == {"a", "b", "c"}
    account = next(account for account in accounts if habits[account] == "a")
    for a_s, stays in ((0.19, True), (0.21, False)):
        health = measured(Health(), dict(zip(endpoints, (a_s, 0.1, 0.1), strict=True)))
        route = pick(endpoints, health=health, draw=random.random, account=account)
        assert (names(route)[0] == "a") is stays
        assert [c.endpoint.provider_name for c in route.ranked if c.facts["sticky"]] == ["a"]
        assert route.policy == ("sticky" if stays else "balanced")


def test_an_endpoint_less_moves_only_its_own_accounts() -> None:
    endpoints = [an_endpoint(name) for name in "abcd"]
    for _ in range(60):
        account = AccountId(new_id())
        before = names(pick(endpoints, account=account))[0]
        after = names(pick(endpoints[:3], account=account))[0]
        assert after == before or before == "d"


def test_calls_of_other_sizes_say_nothing() -> None:
    a, b = an_endpoint("a"), an_endpoint("b")
    health = measured(Health(), {a: 9.0, b: 9.0}, tokens=100_000)
    health = measured(health, {b: 0.1})
    facts = {c.endpoint.provider_name: c.facts for c in pick([a, b], health=health).ranked}
    assert "latency_ms" not in facts["a"]
    assert facts["b"]["latency_ms"] == 100
    # Nor is who was not measured taken for faster than the fastest.
    assert facts["a"]["score"] == facts["b"]["score"] == 100


def test_a_habit_survives_hours_without_a_call() -> None:
    a, b, account = an_endpoint("a"), an_endpoint("b"), AccountId(new_id())
    habit = pick([a, b], account=account).order[0]
    other = b if habit is a else a
    health = measured(measured(Health(), {other: 0.1}), {habit: 0.1}, now=150.0)
    for now in (155.0, 250.0, 10_000.0):
        assert pick([a, b], health=health, now=now, account=account).order[0] is habit


@pytest.mark.parametrize("trials", [0, TRIALS])
def test_a_cheapest_alone_gets_its_calls_back_little_by_little_after_an_outage(trials: int) -> None:
    cheap, dear, random = (
        an_endpoint("cheap", cost_nano_per_mtok=10),
        an_endpoint("dear", cost_nano_per_mtok=100),
        Random(1),
    )
    health = Health()
    for _ in range(FAILURES_MAX):
        health.record_failure(cheap.id, 0.0, "it broke")
    for _ in range(trials):
        health.start(cheap.id, OPEN_S)
        health.record_success(cheap.id, OPEN_S, 0.1)

    def share(now: float) -> float:
        routes = [pick([cheap, dear], health=health, now=now, draw=random.random) for _ in range(1_000)]
        assert all(set(names(route)) == {"cheap", "dear"} for route in routes)
        return sum(route.order[0] is cheap for route in routes) / 1_000

    assert share(OPEN_S) == pytest.approx(0.1, abs=0.03)
    if trials:
        assert share(OPEN_S + SLOW_START_S / 2) == pytest.approx(0.55, abs=0.05)
        assert share(OPEN_S + SLOW_START_S) == 1
    # With nobody beside it, it gets all that comes.
    assert names(pick([cheap], health=health, now=OPEN_S, draw=random.random)) == ["cheap"]


def test_a_single_candidate_is_told_too() -> None:
    endpoint, other = an_endpoint(cost_nano_per_mtok=7), an_endpoint(space="another")
    route = pick([endpoint], account=AccountId(new_id()))
    assert (route.order, route.policy) == ((endpoint,), "only")
    assert route.ranked[0].facts == {"cost_nano_per_mtok": 7}
    route = pick([other, endpoint], health=measured(Health(), {endpoint: 0.1}))
    assert (route.order, route.policy) == ((endpoint,), "only")
    assert route.ranked[0].facts["latency_ms"] == 100
