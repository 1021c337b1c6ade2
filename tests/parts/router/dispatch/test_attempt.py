"""What an attempt tells of its endpoint, on real servers on loopback: what counts against it, and for whom."""

import asyncio

import pytest

from router import errors
from router.routing.latency import size_of
from router.routing.stats import NO_STATS
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
            assert fleet.health.of(Lane.BATCH).exclusion_reason(endpoint, loop.time()) is not None
            assert fleet.health.exclusion_reason(endpoint, loop.time()) is None
            assert fleet.health.stats(endpoint, 0, loop.time()) is NO_STATS
            interactive = fleet.dispatch_state.retry_budgets[Lane.INTERACTIVE]
            assert all(interactive.take_retry(endpoint, 0.0) for _ in range(1000))

    run(scenario)


def test_who_asks_for_patience_has_not_failed() -> None:
    async def scenario() -> None:
        async with a_fleet(1) as fleet:
            fleet.upstreams[0].always = Reply(status=429)
            with pytest.raises(errors.Refusal):
                await fleet.send(a_request("x"))
            retry_budget, now = fleet.dispatch_state.retry_budgets[Lane.INTERACTIVE], asyncio.get_running_loop().time()
            assert all(retry_budget.take_retry(fleet.endpoints[0].id, now) for _ in range(1000))

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
            assert fleet.health.exclusion_reason(endpoint, asyncio.get_running_loop().time()) is None
            assert (fleet.health.pending_quarantines, dict(fleet.dispatch_state.counts.credentials_refused)) == ({}, {})

    run(scenario)


def test_an_attempt_that_we_cut_tells_that_it_is_slow_and_the_last_one_that_it_failed() -> None:
    async def scenario() -> None:
        async with a_fleet(2) as fleet:
            fleet.upstreams[0].always = fleet.upstreams[1].always = Reply(delay_s=30)
            with pytest.raises(errors.DeadlinePassed):
                await fleet.send(a_request("x"), within_s=1.0)
            # As it was when the last attempt ended: failures are forgiven from then on.
            first, last = fleet.trace.attempts
            ended = fleet.trace.began + (last.began_ms + last.took_ms) / 1000
            slow, failed = (fleet.health.stats(endpoint.id, size_of(1, 10_000), ended) for endpoint in fleet.endpoints)
            assert slow.success_rate == 1
            assert failed.success_rate == pytest.approx(0.8)
            assert first.took_ms >= 490, "half of the call's second"
            assert slow.latency_s == pytest.approx(first.took_ms / 1000)

    run(scenario)


def test_parts_of_which_some_were_answered_in_time_are_slow_and_no_failure() -> None:
    async def scenario() -> None:
        async with a_fleet(1, max_batch=1) as fleet:
            fleet.upstreams[0].script.append(Reply())
            fleet.upstreams[0].always = Reply(delay_s=30)
            with pytest.raises(errors.DeadlinePassed):
                await fleet.send(a_request("a", "b"), within_s=0.5)
            now = asyncio.get_running_loop().time()
            assert fleet.health.stats(fleet.endpoints[0].id, 0, now).success_rate == 1

    run(scenario)
