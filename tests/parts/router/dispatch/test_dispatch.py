"""Dispatch against real servers on loopback: who is asked, when, with what, and what is learned of it."""

import asyncio

import msgspec
import numpy as np
import pytest
import structlog.testing

from router import errors
from router.dispatch.attempt import CHUNKS_AT_ONCE
from router.dispatch.provider_quota import ProviderQuota
from router.values import Choice, Lane, Preferences, Route
from store.redis_client import RedisClient
from tests.builders.dispatching import a_fleet, run
from tests.builders.values import a_request
from tests.harness.event_loops import wait_until
from tests.harness.fake_upstream import Reply, unit_vector

HEDGED = msgspec.structs.replace(a_request("a question"), preferences=Preferences(hedge=True))


def test_a_slow_answer_is_overtaken_by_a_hedge_and_the_slow_one_is_ended() -> None:
    async def scenario() -> None:
        async with a_fleet(2) as fleet:
            await fleet.warm_up()
            fleet.upstreams[0].always = Reply(delay_s=30)
            with structlog.testing.capture_logs() as events:
                delivery = await fleet.send(HEDGED)
            assert delivery.endpoint is fleet.endpoints[1]
            assert delivery.attempts == 2
            assert fleet.attempts == [("p1", "hedge", "answered"), ("p0", "first", "canceled")]
            lost = [event for event in events if event["event"] == "hedge_lost"]
            assert [(one["provider"], one["tokens"], one["cost_nano_usd"]) for one in lost] == [("p0", 3, 6)]
            # Its connection was cut, so that the provider may stop; nothing of it is left behind here.
            await wait_until(lambda: fleet.upstreams[1].in_flight == 0)
            assert asyncio.all_tasks() == {
                asyncio.current_task(),
                *fleet.upstreams[0].listener.tasks,
                *fleet.upstreams[1].listener.tasks,
            }

    run(scenario)


def test_a_hedge_that_comes_second_loses_and_is_ours_to_pay() -> None:
    async def scenario() -> None:
        async with a_fleet(2) as fleet:
            await fleet.warm_up()
            fleet.upstreams[0].always = Reply(delay_s=0.3)
            fleet.upstreams[1].always = Reply(delay_s=30)
            with structlog.testing.capture_logs() as events:
                delivery = await fleet.send(HEDGED)
            assert delivery.endpoint is fleet.endpoints[0]
            assert fleet.attempts == [("p0", "first", "answered"), ("p1", "hedge", "canceled")]
            assert [event["provider"] for event in events if event["event"] == "hedge_lost"] == ["p1"]

    run(scenario)


def test_two_failures_of_a_hedged_call_are_two_attempts_and_the_third_answers() -> None:
    async def scenario() -> None:
        async with a_fleet(3) as fleet:
            await fleet.warm_up()
            fleet.upstreams[0].always = Reply(delay_s=0.3, status=500)
            fleet.upstreams[1].always = Reply(status=500)
            delivery = await fleet.send(HEDGED)
            assert (delivery.endpoint, delivery.attempts) == (fleet.endpoints[2], 3)
            assert [why for _, why, _ in fleet.attempts] == ["hedge", "first", "next"]

    run(scenario)


def test_a_hedge_that_is_passed_over_was_not_sent_and_costs_nothing() -> None:
    async def scenario() -> None:
        async with a_fleet(3) as fleet:
            await fleet.warm_up()
            # Without Redis nothing is sent to an endpoint with a limit.
            limited = msgspec.structs.replace(fleet.endpoints[1], concurrency=1)
            route = Route((fleet.endpoints[0], limited, fleet.endpoints[2]))
            fleet.dispatch_state = msgspec.structs.replace(
                fleet.dispatch_state, quota=ProviderQuota(RedisClient("unix:///none", (), _nothing))
            )
            fleet.upstreams[0].script.append(Reply(delay_s=0.5, status=500))
            delivery = await fleet.send(HEDGED, route=route)
            assert (delivery.endpoint, delivery.attempts) == (fleet.endpoints[2], 2)
            assert fleet.attempts == [
                ("p1", "hedge", "PassedOver"),
                ("p0", "first", "Broken"),
                ("p2", "next", "answered"),
            ]
            assert fleet.dispatch_state.counts.hedges == 0
            assert fleet.dispatch_state.retry_budgets[Lane.INTERACTIVE].take_hedge(), "it may be had again"

    run(scenario)


async def _nothing(_: str) -> None:
    pass


def test_no_hedge_where_it_was_not_earned_not_asked_or_anything_is_unwell() -> None:
    async def scenario() -> None:
        async with a_fleet(3) as fleet:
            fleet.upstreams[0].always = Reply(delay_s=0.15)
            await fleet.send(HEDGED)
            assert fleet.attempts == [("p0", "first", "answered")], "nothing is usual yet, and no hedge was earned"
            fleet.upstreams[0].always = Reply()
            await fleet.warm_up()
            fleet.upstreams[0].always = Reply(delay_s=0.5)
            await fleet.send(a_request("a question"))
            await fleet.send(msgspec.structs.replace(a_request("many", "texts"), preferences=Preferences(hedge=True)))
            for _ in range(10):
                fleet.health.record_failure(fleet.endpoints[2].id, asyncio.get_running_loop().time(), "it broke")
            fleet.upstreams[0].always = Reply(delay_s=1.0)
            route = Route(tuple(fleet.endpoints[:2]), (Choice(fleet.endpoints[2], "its breaker is open"),))
            await fleet.send(HEDGED, route=route)
            assert fleet.request_counts()[1:] == [0, 0]

    run(scenario)


def test_a_large_input_is_sent_in_parts_and_joined_in_order_however_they_come() -> None:
    async def scenario() -> None:
        async with a_fleet(2, kind="worker", max_batch=3) as fleet:
            texts = [f"text {number}" for number in range(40)]
            for number in range(14):
                fleet.upstreams[0].script.append(Reply(delay_s=0.02 * (number * 5 % 7)))
            delivery = await fleet.send(a_request(*texts))
            assert np.array_equal(delivery.matrix, np.array([unit_vector(text, 8) for text in texts], "f4"))
            assert (delivery.attempts, delivery.tokens, delivery.exact) == (1, sum(4 for _ in texts), True)
            first = fleet.upstreams[0]
            assert [len(msgspec.msgpack.decode(call.body)["texts"]) for call in first.calls] == [3] * 13 + [1]
            assert first.most_in_flight == CHUNKS_AT_ONCE
            assert fleet.request_counts()[1] == 0

    run(scenario)


def test_a_part_that_fails_ends_the_others_and_the_next_endpoint_gets_everything() -> None:
    async def scenario() -> None:
        async with a_fleet(2, max_batch=2) as fleet:
            texts = [f"text {number}" for number in range(12)]
            fleet.upstreams[0].script.extend([Reply(delay_s=30)] * 3 + [Reply(status=500)] + [Reply(delay_s=30)] * 2)
            delivery = await fleet.send(a_request(*texts))
            assert np.array_equal(delivery.matrix, np.array([unit_vector(text, 8) for text in texts], "f4"))
            assert fleet.attempts == [("p0", "first", "Broken"), ("p1", "next", "answered")]
            assert fleet.request_counts()[1] == 6

    run(scenario)


def test_an_input_that_is_too_long_is_named_by_its_place_in_the_whole_request() -> None:
    async def scenario() -> None:
        async with a_fleet(1, kind="worker", max_batch=2) as fleet:
            long = {"code": "input_too_long", "details": {"index": 1, "tokens": 200, "limit": 100}}
            fleet.upstreams[0].script.extend([Reply(), Reply(status=400, body=msgspec.json.encode({"error": long}))])
            with pytest.raises(errors.InputTooLong) as refused:
                await fleet.send(a_request("a", "b", "c", "d"))
            assert refused.value.details["index"] == 3

    run(scenario)


def test_the_lane_reaches_the_worker() -> None:
    async def scenario() -> None:
        async with a_fleet(1, kind="worker") as fleet:
            await fleet.send(a_request("x"), lane=Lane.BATCH)
            await fleet.send(a_request("x"))
            lanes = [msgspec.msgpack.decode(call.body)["lane"] for call in fleet.upstreams[0].calls]
            assert lanes == ["batch", "interactive"]

    run(scenario)


@pytest.mark.parametrize("failing", [Reply(status=500), Reply(reset=True), Reply(raw=b"not http")])
def test_with_one_of_three_equal_endpoints_failing_hard_every_call_succeeds(failing: Reply) -> None:
    async def scenario() -> None:
        async with a_fleet(3) as fleet:
            fleet.upstreams[1].always = failing
            most = 0

            async def customer(number: int) -> None:
                nonlocal most
                for call in range(50):
                    first = (number + call) % 3
                    order = [fleet.endpoints[(first + place) % 3] for place in range(3)]
                    now = asyncio.get_running_loop().time()
                    well = [endpoint for endpoint in order if fleet.health.exclusion_reason(endpoint.id, now) is None]
                    delivery = await fleet.send(a_request("x"), route=Route(tuple(well)))
                    most = max(most, delivery.attempts)

            async with asyncio.TaskGroup() as group:
                for number in range(40):
                    group.create_task(customer(number))
            assert most == 2

    run(scenario)


def test_what_a_loading_model_says_of_itself_is_told_with_its_time() -> None:
    async def scenario() -> None:
        async with a_fleet(2) as fleet:
            for upstream, body in zip(
                fleet.upstreams,
                (
                    b'{"error":"Model m is currently loading","estimated_time":20.0}',
                    b'{"error":{"code":"model_loading"}}',
                ),
                strict=True,
            ):
                upstream.always = Reply(status=503, body=body)
            with pytest.raises(errors.ModelWarming) as cold:
                await fleet.send(a_request("x"))
            assert cold.value.retry_after_s == 5.0
            assert [outcome for _, _, outcome in fleet.attempts] == ["Warming", "Warming"]

    run(scenario)


@pytest.mark.parametrize("status", [401, 402])
def test_a_refused_credential_is_an_alarm_for_ops_once_and_503_for_the_customer(status: int) -> None:
    async def scenario() -> None:
        async with a_fleet(1) as fleet:
            body = b'{"error":{"message":"SECRET words of the provider","code":"whatever"}}'
            fleet.upstreams[0].always = Reply(status=status, body=body)
            with structlog.testing.capture_logs() as events:
                for _ in range(2):
                    with pytest.raises(errors.AllAttemptsFailed):
                        await fleet.send(a_request("x"))
                with pytest.raises(errors.AllAttemptsFailed) as refused:
                    await fleet.send(a_request("x"))
            alarms = [event for event in events if event["event"] == "provider_credential_refused"]
            assert [(one["provider"], one["status"]) for one in alarms] == [("p0", status)]
            assert fleet.dispatch_state.counts.credentials_refused == {"p0": 1}
            text = f"{refused.value.message}{refused.value.details}{refused.value.detail}{events}"
            assert "SECRET" not in text
            assert refused.value.again is False
            fleet.upstreams[0].always = Reply()
            await fleet.send(a_request("x"))
            assert not fleet.dispatch_state.refusing_endpoints

    run(scenario)


@pytest.mark.parametrize(
    "reply", [Reply(status=403, body=b"<html>Access denied</html>"), Reply(status=404, body=b"no healthy upstream")]
)
def test_a_firewall_that_one_text_trips_costs_that_call_an_attempt_and_no_endpoint_its_place(reply: Reply) -> None:
    async def scenario() -> None:
        async with a_fleet(2) as fleet:
            fleet.upstreams[0].script.append(reply)
            await fleet.send(a_request("x"))
            assert fleet.attempts == [("p0", "first", "Broken"), ("p1", "next", "answered")]
            assert not fleet.health.pending_quarantines
            assert not fleet.dispatch_state.refusing_endpoints
            await fleet.send(a_request("x"))
            assert fleet.attempts == [("p0", "first", "answered")]

    run(scenario)


def test_a_server_that_hangs_costs_its_share_of_the_time_and_not_the_call() -> None:
    async def scenario() -> None:
        async with a_fleet(2) as fleet:
            fleet.upstreams[0].always = Reply(delay_s=30)
            delivery = await fleet.send(a_request("x"), within_s=1.0)
            assert fleet.attempts == [("p0", "first", "TimedOut"), ("p1", "next", "answered")]
            assert delivery.attempts == 2
            assert 400 < fleet.trace.attempts[0].took_ms < 900

    run(scenario)
