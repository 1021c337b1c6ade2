"""Rounds: whoever serves is asked again; drift costs the place, silence does not, good probes return it."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from catalog import models
from catalog.values import Model
from router.changes.transaction import transact
from router.registry import quarantine
from router.registry.endpoints import move_manually
from router.registry.providers import edit_provider
from router.registry.specs import ProviderSpec
from router.routing.health import Health
from router.values import EndpointState, QuarantineCause
from router.verification.report import Occasion, SpaceVerdict, VerificationReport
from router.verification.schedule import (
    DueCheck,
    claim_due,
    claim_next,
    delete_old_probes,
    plan_next,
)
from store.ids import EndpointId, ProbeId, new_id
from tests.builders.registry import OPS
from tests.builders.spaces import SpaceLab
from tests.harness.fake_upstream import HANG, Reply
from tests.harness.verified_upstreams import REASON, WIDTH, Shifted

pytestmark = pytest.mark.anyio


@pytest.fixture
def upstream() -> Iterator[Shifted]:
    with Shifted(WIDTH).in_thread() as running:
        yield running


async def a_live_endpoint(lab: SpaceLab, upstream: Shifted) -> EndpointId:
    endpoint = await lab.a_draft(await lab.a_model(), "vendor", upstream.base_url)
    assert (await lab.verify(endpoint, as_reference=REASON)).passed
    return endpoint


async def run_check(lab: SpaceLab, endpoint: EndpointId) -> list[VerificationReport]:
    """The endpoint's next turn has come."""
    await lab.make_due(endpoint)
    return await lab.run_checks()


async def test_a_live_endpoint_is_asked_when_its_time_has_come_and_not_before(lab: SpaceLab, upstream: Shifted) -> None:
    endpoint = await a_live_endpoint(lab, upstream)
    assert await claim_due(lab.db) is None, "it was tested a moment ago"
    (report,) = await run_check(lab, endpoint)
    assert (report.occasion, report.verdict, report.full) == (Occasion.PERIODIC, SpaceVerdict.SAME_SPACE, True)
    assert await claim_due(lab.db) is None
    await lab.rows("UPDATE probe_schedule SET next_at = now()")
    asked = len(upstream.calls)
    (report,) = await lab.run_checks()
    assert not report.full
    assert len(upstream.calls) - asked == 2, "a few canaries: one batch of texts, one of queries"


async def test_any_number_of_processes_ask_an_endpoint_once_and_none_waits_for_another(
    lab: SpaceLab, upstream: Shifted
) -> None:
    endpoint = await a_live_endpoint(lab, upstream)
    await lab.make_due(endpoint)
    async with lab.db.transaction() as connection:
        due = await claim_next(connection)
        assert due is not None
        assert due.endpoint_id == endpoint
        async with asyncio.timeout(30):
            assert await claim_due(lab.db) is None, "another one is taking it"
    assert await claim_due(lab.db) is None, "it was taken"


async def test_drift_ends_traffic_and_three_good_probes_bring_it_back(lab: SpaceLab, upstream: Shifted) -> None:
    endpoint = await a_live_endpoint(lab, upstream)
    upstream.shift = True
    (report,) = await run_check(lab, endpoint)
    assert report.verdict is SpaceVerdict.ANOTHER_SPACE
    assert await lab.state(endpoint) == "quarantined"

    (report,) = await run_check(lab, endpoint)
    assert (report.occasion, report.state) == (Occasion.RECOVERY, EndpointState.QUARANTINED)
    upstream.shift = False
    for _ in range(2):
        (report,) = await run_check(lab, endpoint)
        assert report.passed
        assert await lab.state(endpoint) == "quarantined", "one good probe is luck"
    upstream.shift = True
    await run_check(lab, endpoint)  # The count starts again.
    upstream.shift = False
    for _ in range(2):
        await run_check(lab, endpoint)
    assert await lab.state(endpoint) == "quarantined"
    (report,) = await run_check(lab, endpoint)
    assert (report.full, report.state) == (True, EndpointState.LIVE)
    assert await lab.state(endpoint) == "live"


async def test_what_was_quarantined_by_hand_is_not_asked(lab: SpaceLab, upstream: Shifted) -> None:
    endpoint = await a_live_endpoint(lab, upstream)
    await transact(lab.db, OPS, lambda work: move_manually(work, endpoint, EndpointState.QUARANTINED, "by hand"))
    assert await run_check(lab, endpoint) == []
    assert await lab.state(endpoint) == "quarantined"


async def test_silence_is_counted_and_is_no_drift(lab: SpaceLab, upstream: Shifted) -> None:
    endpoint = await a_live_endpoint(lab, upstream)
    upstream.always = Reply(status=500)
    for number in range(1, 5):
        (report,) = await run_check(lab, endpoint)
        assert (report.verdict, report.state) == (SpaceVerdict.NO_ANSWER, EndpointState.LIVE)
        (row,) = await lab.rows("SELECT misses FROM probe_schedule")
        assert row.misses == number
    upstream.always = Reply()
    await run_check(lab, endpoint)
    (row,) = await lab.rows("SELECT misses FROM probe_schedule")
    assert row.misses == 0


async def test_who_lets_us_wait_keeps_nobody_waiting_who_answers(lab: SpaceLab, upstream: Shifted) -> None:
    silent = await a_live_endpoint(lab, upstream)
    with Shifted(WIDTH).in_thread() as other:
        answers = await lab.a_draft(await models_of(lab), "other", other.base_url)
        assert (await lab.verify(answers)).passed
        await lab.make_due(silent)
        await lab.make_due(answers)
        await lab.rows(
            "UPDATE probe_schedule SET misses = 1, next_at = now() - interval '1 h' WHERE endpoint_id = :id", id=silent
        )
        first = await claim_due(lab.db)
        assert first is not None
        assert first.endpoint_id == answers, "the silent one has been due for longer, and waits"

        upstream.always = Reply(delay_s=HANG)
        hanging = asyncio.ensure_future(lab.run_checks())
        for _ in range(1000):
            if upstream.in_flight:
                break
            await asyncio.sleep(0.01)
        await lab.make_due(answers)
        (report,) = await lab.run_checks(only_responsive=True)
        assert (report.passed, report.full) == (True, True)
        assert not hanging.done()
        await lab.make_due(silent)
        assert await claim_due(lab.db, only_responsive=True) is None
        hanging.cancel()
        await asyncio.wait([hanging])


async def models_of(lab: SpaceLab) -> Model:
    async with lab.db.transaction() as connection:
        return await models.get(connection, "tests/model")


def test_recovery_is_asked_for_less_and_less_often() -> None:
    def after(misses: int) -> timedelta:
        due = DueCheck(EndpointId(new_id()), True, misses, 0, 0, datetime.now(UTC))
        report = VerificationReport(
            id=ProbeId(new_id()),
            occasion=Occasion.RECOVERY,
            verdict=SpaceVerdict.ANOTHER_SPACE,
            reason="",
            state=EndpointState.QUARANTINED,
            probe_set="",
            numerics="bf16",
        )
        return plan_next(due, report, was_serving=False).after

    waits = [after(misses) for misses in range(40)]
    assert waits[:3] == [timedelta(minutes=30), timedelta(hours=1), timedelta(hours=2)]
    assert waits == sorted(waits)
    assert waits[-1] == timedelta(days=1)


@pytest.mark.parametrize("found_by", ["a call", "a probe"])
async def test_a_refused_credential_is_asked_again_and_one_good_probe_brings_it_back(
    lab: SpaceLab, upstream: Shifted, found_by: str
) -> None:
    endpoint = await a_live_endpoint(lab, upstream)
    upstream.always = Reply(status=401)
    if found_by == "a call":
        health = Health()
        health.quarantine(endpoint, QuarantineCause.CREDENTIAL_REFUSED, "it is quarantined", None, "status 402")
        await write_down(lab, health)
    else:
        await transact(lab.db, OPS, lambda work: move_manually(work, endpoint, EndpointState.OFF))
        assert (await lab.verify(endpoint, Occasion.MANUAL)).state is EndpointState.QUARANTINED
    assert (await lab.view(endpoint)).quarantine_cause is QuarantineCause.CREDENTIAL_REFUSED
    (report,) = await run_check(lab, endpoint)
    assert (report.verdict, report.state) == (SpaceVerdict.NO_ANSWER, EndpointState.QUARANTINED)
    assert await claim_due(lab.db) is None, "it waits longer each time"

    upstream.always = Reply()
    provider = (await lab.view(endpoint)).endpoint.provider_id
    spec = ProviderSpec(base_url=upstream.base_url)
    await transact(lab.db, OPS, lambda work: edit_provider(work, None, provider, spec))
    (row,) = await lab.rows("SELECT next_at <= now() AS is_due FROM probe_schedule")
    assert row.is_due
    (report,) = await run_check(lab, endpoint)
    assert (report.full, report.state) == (True, EndpointState.LIVE)


async def write_down(lab: SpaceLab, health: Health) -> None:
    """What a serve process does with a quarantine that a call has caused."""
    writing = asyncio.ensure_future(quarantine.run(lab.db, health))
    for _ in range(200):
        if not health.pending_quarantines:
            break
        await asyncio.sleep(0.05)
    writing.cancel()
    await asyncio.wait([writing])


async def test_an_edited_provider_hurries_nobody_who_is_quarantined_for_something_else(
    lab: SpaceLab, upstream: Shifted
) -> None:
    endpoint = await a_live_endpoint(lab, upstream)
    await transact(lab.db, OPS, lambda work: move_manually(work, endpoint, EndpointState.QUARANTINED, "by hand"))
    provider = (await lab.view(endpoint)).endpoint.provider_id
    spec = ProviderSpec(base_url=upstream.base_url, retention_days=0)
    await transact(lab.db, OPS, lambda work: edit_provider(work, None, provider, spec))
    assert await lab.rows("SELECT 1 FROM probe_schedule") == []


async def test_old_probes_go_and_the_last_good_one_stays(lab: SpaceLab, upstream: Shifted) -> None:
    endpoint = await a_live_endpoint(lab, upstream)
    await lab.rows(
        "UPDATE probes SET at = now() - CAST(:age AS interval), reason = 'the last good one'", age=timedelta(days=100)
    )
    await lab.rows(
        "INSERT INTO probes (id, endpoint_id, at, occasion, verdict, reason)"
        " VALUES (:id, :endpoint, now() - CAST(:age AS interval), 'periodic', 'no_answer', 'long ago')",
        id=new_id(),
        endpoint=endpoint,
        age=timedelta(days=200),
    )
    await delete_old_probes(lab.db, datetime.now(UTC))
    assert [row.reason for row in await lab.rows("SELECT reason FROM probes")] == ["the last good one"]
    await run_check(lab, endpoint)
    await delete_old_probes(lab.db, datetime.now(UTC))
    assert len(await lab.rows("SELECT 1 FROM probes")) == 1, "a newer one is good"
