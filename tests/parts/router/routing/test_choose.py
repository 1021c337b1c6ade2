"""Which endpoints a call may go to: of its space, live, wanted, healthy; the others with their reason."""

from typing import Any

import pytest

from router.errors import InvalidRequest, ModelWarming, NoEndpoint, PreferencesUnmet, ProvidersBusy
from router.routing.circuit_breaker import FAILURES_MAX, OPEN_S
from router.routing.health import Health
from router.values import EndpointState, Preferences, QuarantineCause
from tests.builders.routing import pick
from tests.builders.values import SPACE, an_endpoint


def broken(health: Health, *endpoints: Any, at: float = 0.0) -> None:
    for endpoint in endpoints:
        for _ in range(FAILURES_MAX):
            health.record_failure(endpoint.id, at, "it broke")


def test_an_endpoint_of_another_space_is_never_in_a_route() -> None:
    mine, other = an_endpoint(priority=9), an_endpoint(space="another", priority=1)
    route = pick([other, mine])
    assert route.order == (mine,)
    assert [(c.endpoint, c.left_out, c.code) for c in route.left_out] == [
        (other, "it serves another vector space", "space")
    ]
    with pytest.raises(NoEndpoint):
        pick([other])


@pytest.mark.parametrize("state", [state for state in EndpointState if state is not EndpointState.LIVE])
def test_only_a_live_endpoint_gets_calls(state: EndpointState) -> None:
    with pytest.raises(NoEndpoint) as refused:
        pick([an_endpoint(state=state)])
    assert refused.value.left_out[0].left_out == f"it is {state.value}"


def test_another_space_than_the_models_cannot_be_pinned() -> None:
    endpoint = an_endpoint()
    assert pick([endpoint], Preferences(space=SPACE)).order == (endpoint,)
    with pytest.raises(InvalidRequest, match="which is the space") as refused:
        pick([endpoint], Preferences(space="another"))
    assert refused.value.param == "provider.space"


@pytest.mark.parametrize(
    ("wanted", "endpoint", "code", "words"),
    [
        ({"only": ("other",)}, {}, "only", "not named in only"),
        ({"ignore": ("provider",)}, {}, "ignored", "named in ignore"),
        ({"order": ("other",), "allow_fallbacks": False}, {}, "order", "not named in order"),
        ({"data_collection": "deny"}, {"collects_data": True}, "data_collection", "more than the answer"),
        ({"zero_retention": True}, {"retention_days": None}, "zero_retention", "not known how long"),
        ({"zero_retention": True}, {"retention_days": 30}, "zero_retention", "keeps inputs for 30 days"),
        ({"regions": ("eu",)}, {}, "region", "not known where"),
        ({"regions": ("eu",)}, {"regions": ("eu", "us")}, "region", "may process calls in us"),
        ({"quantizations": ("fp16",)}, {"numerics": "int8"}, "quantization", "numerics are int8"),
        ({"quantizations": ("fp16",)}, {}, "quantization", "numerics are bf16"),
        ({"max_price": 49}, {}, "price", "0.00000005 USD per 1M tokens"),
    ],
)
def test_a_preference_leaves_out_and_says_whom_and_why(
    wanted: dict[str, Any], endpoint: dict[str, Any], code: str, words: str
) -> None:
    with pytest.raises(PreferencesUnmet, match="leave nobody to serve org/m") as refused:
        pick([an_endpoint(**endpoint)], Preferences(**wanted), price=50)
    assert words in refused.value.message
    assert refused.value.details["left_out"] == [
        {"provider": "provider", "code": code, "reason": refused.value.left_out[0].left_out}
    ]


def test_what_meets_every_preference_serves() -> None:
    wanted = Preferences(
        only=("provider",),
        data_collection="deny",
        zero_retention=True,
        regions=("eu", "us"),
        quantizations=("bf16",),
        max_price=50,
    )
    endpoint = an_endpoint(collects_data=False, retention_days=0, regions=("eu",))
    assert pick([endpoint], wanted, price=50).order == (endpoint,)


def test_a_message_about_many_endpoints_stays_short() -> None:
    with pytest.raises(PreferencesUnmet) as refused:
        pick([an_endpoint(f"provider-{n}") for n in range(60)], Preferences(only=("other",)))
    assert "and 52 more" in refused.value.message
    assert len(refused.value.message) < 600
    assert len(refused.value.left_out) == 60


def test_ill_health_is_not_blamed_on_preferences() -> None:
    sick, unwanted, health = an_endpoint("a"), an_endpoint("b"), Health()
    health.quarantine(sick.id, QuarantineCause.SPACE_MISMATCH, "another space")
    with pytest.raises(NoEndpoint):
        pick([sick, unwanted], Preferences(only=("a",)), health)


def test_where_only_breakers_are_in_the_way_one_call_at_a_time_tries_the_least_bad() -> None:
    sooner, later, health = an_endpoint(), an_endpoint(), Health()
    broken(health, sooner, at=0.0)
    broken(health, later, at=2.0)
    route = pick([later, sooner], health=health, now=3.0)
    assert (route.order, route.policy) == ((sooner,), "trial")
    assert [c.endpoint for c in route.left_out] == [later]
    assert health.start(sooner.id, 3.0)
    assert not health.start(sooner.id, 3.0), "a second call is told that it came too late"
    with pytest.raises(NoEndpoint) as refused:
        pick([later, sooner], health=health, now=3.1)
    assert refused.value.retry_after_s == pytest.approx(1.9)
    health.record_failure(sooner.id, 3.2, "it broke")
    with pytest.raises(NoEndpoint):
        pick([later, sooner], health=health, now=3.9)
    assert pick([later, sooner], health=health, now=4.0).order == (later,), "the other one has not been tried yet"


def test_a_quarantined_endpoint_is_never_tried() -> None:
    endpoint, health = an_endpoint(), Health()
    broken(health, endpoint)
    health.quarantine(endpoint.id, QuarantineCause.SPACE_MISMATCH, "another space")
    with pytest.raises(NoEndpoint):
        pick([endpoint], health=health, now=100.0)


def test_when_all_ask_for_patience_the_caller_is_asked_too_for_the_shortest_of_their_waits() -> None:
    endpoints, health = [an_endpoint(), an_endpoint(), an_endpoint()], Health()
    for endpoint, wait_s in zip(endpoints, (9.0, 3.0, 7.0), strict=True):
        health.record_pause(endpoint.id, 0.0, wait_s)
    with pytest.raises(ProvidersBusy) as refused:
        pick(endpoints, health=health, now=1.0)
    assert refused.value.retry_after_s == pytest.approx(2.0)


def test_a_model_that_is_being_loaded_says_so() -> None:
    endpoint, health = an_endpoint(), Health()
    health.record_warming(endpoint.id, 0.0, 20.0)
    with pytest.raises(ModelWarming) as refused:
        pick([endpoint], health=health, now=5.0)
    assert refused.value.retry_after_s == pytest.approx(15.0)
    assert pick([endpoint], health=health, now=20.0).order == (endpoint,)


def test_one_that_failed_and_one_that_is_busy_are_a_503_with_the_shortest_wait() -> None:
    failing, busy, health = an_endpoint(), an_endpoint(), Health()
    broken(health, failing)
    health.record_pause(busy.id, 0.0, 30.0)
    with pytest.raises(NoEndpoint) as refused:
        pick([failing, busy], health=health, now=1.0)
    assert refused.value.retry_after_s == pytest.approx(OPEN_S - 1)
