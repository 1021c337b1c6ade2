"""Which endpoints a call may go to: of its space, live, healthy; the others with their reason."""

import pytest

from router.choose import choose
from router.errors import NoEndpoint
from router.health import FAILURES_MAX, OPEN_S, Health
from router.values import Endpoint, EndpointState
from store.ids import EndpointId, ModelId, ProviderId, new_id

SPACE = "the space"


def an_endpoint(*, space: str = SPACE, state: EndpointState = EndpointState.LIVE, priority: int = 100) -> Endpoint:
    return Endpoint(
        EndpointId(new_id()), ModelId("m"), ProviderId(new_id()), "provider", "upstream", space, state, priority, 0
    )


def test_an_endpoint_of_another_space_is_never_in_a_route() -> None:
    mine, other = an_endpoint(priority=9), an_endpoint(space="another", priority=1)
    route = choose([other, mine], SPACE, Health(), 0.0)
    assert route.order == (mine,)
    assert [(c.endpoint, c.left_out) for c in route.left_out] == [(other, "it serves another vector space")]
    with pytest.raises(NoEndpoint):
        choose([other], SPACE, Health(), 0.0)


@pytest.mark.parametrize("state", [state for state in EndpointState if state is not EndpointState.LIVE])
def test_only_a_live_endpoint_gets_calls(state: EndpointState) -> None:
    with pytest.raises(NoEndpoint):
        choose([an_endpoint(state=state)], SPACE, Health(), 0.0)


def test_an_endpoint_that_keeps_failing_rests_and_is_tried_by_one_call() -> None:
    endpoint, health = an_endpoint(), Health()
    for _ in range(FAILURES_MAX):
        assert choose([endpoint], SPACE, health, 0.0).order == (endpoint,)
        health.failed(endpoint.id, 0.0, "it broke")
    with pytest.raises(NoEndpoint) as refused:
        choose([endpoint], SPACE, health, 1.0)
    assert refused.value.retry_after_s == OPEN_S - 1.0
    # The first call after the rest tries it; a second one waits for that one's end.
    assert choose([endpoint], SPACE, health, OPEN_S).order == (endpoint,)
    health.starts(endpoint.id)
    with pytest.raises(NoEndpoint):
        choose([endpoint], SPACE, health, OPEN_S)
    health.succeeded(endpoint.id)
    assert choose([endpoint], SPACE, health, OPEN_S).order == (endpoint,)


def test_a_rest_doubles_when_the_trial_fails_too() -> None:
    endpoint, health = an_endpoint(), Health()
    for _ in range(FAILURES_MAX):
        health.failed(endpoint.id, 0.0, "it broke")
    health.starts(endpoint.id)
    health.failed(endpoint.id, OPEN_S, "it broke again")
    assert health.left_out(endpoint.id, OPEN_S + 2 * OPEN_S - 0.1) is not None
    assert health.left_out(endpoint.id, OPEN_S + 2 * OPEN_S) is None


def test_a_quarantined_endpoint_stays_out_until_it_is_changed() -> None:
    endpoint, health = an_endpoint(), Health()
    health.quarantined(endpoint.id, "another space")
    assert health.untold == {endpoint.id: "another space"}
    assert health.left_out(endpoint.id, 1e9) == "it is quarantined: another space"
    health.forget(endpoint.id)
    assert health.left_out(endpoint.id, 0.0) is None
