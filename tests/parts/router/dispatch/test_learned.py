"""What an attempt tells of its endpoint, on real servers on loopback: what counts against it, and for whom."""

import asyncio

import pytest

from router import errors
from router.routing.health import UNSEEN
from router.routing.latency import size_of
from router.values import Lane
from tests.builders.dispatching import a_fleet, run
from tests.builders.values import a_request
from tests.harness.fake_upstream import Reply


@pytest.mark.parametrize("failing", [Reply(status=503, headers={"retry-after": "60"}), Reply(status=500)])
def test_what_batch_calls_meet_never_takes_an_endpoint_from_interactive_ones(failing: Reply) -> None:
    async def scenario() -> None:
        async with a_fleet(1, kind="worker") as fleet:
            endpoint, loop = fleet.endpoints[0].id, asyncio.get_running_loop()
            fleet.upstreams[0].always = failing
            for _ in range(6):
                with pytest.raises(errors.Refusal):
                    await fleet.send(a_request("x"), lane=Lane.BATCH)
            assert fleet.health.of(Lane.BATCH).left_out(endpoint, loop.time()) is not None
            assert fleet.health.left_out(endpoint, loop.time()) is None
            assert fleet.health.seen(endpoint, 0, loop.time()) is UNSEEN
            interactive = fleet.dispatch_state.retry_budgets[Lane.INTERACTIVE]
            assert all(interactive.takes_retry(endpoint, 0.0) for _ in range(1000))

    run(scenario)


def test_who_asks_for_patience_has_not_failed() -> None:
    async def scenario() -> None:
        async with a_fleet(1) as fleet:
            fleet.upstreams[0].always = Reply(status=429)
            with pytest.raises(errors.Refusal):
                await fleet.send(a_request("x"))
            budgets, now = fleet.dispatch_state.retry_budgets[Lane.INTERACTIVE], asyncio.get_running_loop().time()
            assert all(budgets.takes_retry(fleet.endpoints[0].id, now) for _ in range(1000))

    run(scenario)


def test_a_late_refusal_of_an_old_credential_quarantines_nothing_under_the_new_one() -> None:
    async def scenario() -> None:
        async with a_fleet(1) as fleet:
            fleet.upstreams[0].always = Reply(status=401, delay_s=0.2)
            endpoint = fleet.endpoints[0].id
            call = asyncio.ensure_future(fleet.send(a_request("x")))
            await asyncio.sleep(0.05)
            fleet.health.forget(endpoint)
            with pytest.raises(errors.AllAttemptsFailed):
                await call
            assert fleet.health.left_out(endpoint, asyncio.get_running_loop().time()) is None
            assert (fleet.health.untold, dict(fleet.dispatch_state.counts.credentials_refused)) == ({}, {})

    run(scenario)


def test_an_attempt_that_we_cut_tells_that_it_is_slow_and_the_last_one_that_it_failed() -> None:
    async def scenario() -> None:
        async with a_fleet(2) as fleet:
            fleet.upstreams[0].always = fleet.upstreams[1].always = Reply(delay_s=30)
            with pytest.raises(errors.DeadlinePassed):
                await fleet.send(a_request("x"), within_s=1.0)
            now = asyncio.get_running_loop().time()
            slow, failed = (fleet.health.seen(endpoint.id, size_of(1, 10_000), now) for endpoint in fleet.endpoints)
            assert slow.success == 1
            # It heals while the clock runs on: after a second of a busy machine by less than a hundredth.
            assert failed.success == pytest.approx(0.8, abs=0.01)
            assert slow.latency_s == pytest.approx(0.5, abs=0.1)

    run(scenario)


def test_parts_of_which_some_were_answered_in_time_are_slow_and_no_failure() -> None:
    async def scenario() -> None:
        async with a_fleet(1, max_batch=1) as fleet:
            fleet.upstreams[0].script.append(Reply())
            fleet.upstreams[0].always = Reply(delay_s=30)
            with pytest.raises(errors.DeadlinePassed):
                await fleet.send(a_request("a", "b"), within_s=0.5)
            now = asyncio.get_running_loop().time()
            assert fleet.health.seen(fleet.endpoints[0].id, 0, now).success == 1

    run(scenario)
