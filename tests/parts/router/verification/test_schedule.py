"""Rounds: whoever serves is asked again; drift costs the place, silence does not, good probes return it."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from catalog import models
from catalog.values import Model
from router.changes.transaction import transact
from router.registry.endpoints import AWAITS_PROOF, REFUSED, move_endpoint
from router.registry.providers import edit_provider
from router.registry.specs import ProviderSpec
from router.values import EndpointState
from router.verification.report import Occasion, Report, Verdict
from router.verification.schedule import (
    GOOD_TO_RETURN,
    PROBES_KEPT,
    RECOVERY_FIRST,
    RECOVERY_LATEST,
    SILENT_TIMES_TOLD,
    Due,
    claim,
    forget_probes,
    plan,
    take,
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
    assert (await lab.certify(endpoint, as_reference=REASON)).passed
    return endpoint


async def a_round(lab: SpaceLab, endpoint: EndpointId) -> list[Report]:
    """The endpoint's next turn has come."""
    await lab.make_due(endpoint)
    return await lab.a_round()


async def test_a_live_endpoint_is_asked_when_its_time_has_come_and_not_before(lab: SpaceLab, upstream: Shifted) -> None:
    endpoint = await a_live_endpoint(lab, upstream)
    assert await claim(lab.db) is None, "it was tested a moment ago"
    (report,) = await a_round(lab, endpoint)
    assert (report.occasion, report.verdict, report.full) == (Occasion.PERIODIC, Verdict.SAME_SPACE, True)
    assert await claim(lab.db) is None
    await lab.rows("UPDATE probe_schedule SET next_at = now()")
    asked = len(upstream.calls)
    (report,) = await lab.a_round()
    assert not report.full
    assert len(upstream.calls) - asked == 2, "a few canaries: one batch of texts, one of queries"


async def test_any_number_of_processes_ask_an_endpoint_once_and_none_waits_for_another(
    lab: SpaceLab, upstream: Shifted
) -> None:
    endpoint = await a_live_endpoint(lab, upstream)
    await lab.make_due(endpoint)
    async with lab.db.transaction() as connection:
        due = await take(connection)
        assert due is not None
        assert due.endpoint_id == endpoint
        async with asyncio.timeout(10):
            assert await claim(lab.db) is None, "another one is taking it"
    assert await claim(lab.db) is None, "it was taken"


async def test_drift_ends_traffic_and_three_good_probes_bring_it_back(lab: SpaceLab, upstream: Shifted) -> None:
    endpoint = await a_live_endpoint(lab, upstream)
    upstream.shift = True
    (report,) = await a_round(lab, endpoint)
    assert report.verdict is Verdict.ANOTHER_SPACE
    assert await lab.state(endpoint) == "quarantined"

    (report,) = await a_round(lab, endpoint)
    assert (report.occasion, report.state) == (Occasion.RECOVERY, EndpointState.QUARANTINED)
    upstream.shift = False
    for _ in range(GOOD_TO_RETURN - 1):
        (report,) = await a_round(lab, endpoint)
        assert report.passed
        assert await lab.state(endpoint) == "quarantined", "one good probe is luck"
    upstream.shift = True
    await a_round(lab, endpoint)  # The count starts again.
    upstream.shift = False
    for _ in range(GOOD_TO_RETURN - 1):
        await a_round(lab, endpoint)
    assert await lab.state(endpoint) == "quarantined"
    (report,) = await a_round(lab, endpoint)
    assert (report.full, report.state) == (True, EndpointState.LIVE)
    assert await lab.state(endpoint) == "live"


async def test_what_was_quarantined_by_hand_is_not_asked(lab: SpaceLab, upstream: Shifted) -> None:
    endpoint = await a_live_endpoint(lab, upstream)
    await transact(lab.db, OPS, lambda work: move_endpoint(work, endpoint, EndpointState.QUARANTINED, "by hand"))
    assert await a_round(lab, endpoint) == []
    assert await lab.state(endpoint) == "quarantined"


async def test_silence_is_counted_and_is_no_drift(lab: SpaceLab, upstream: Shifted) -> None:
    endpoint = await a_live_endpoint(lab, upstream)
    upstream.always = Reply(status=500)
    for number in range(1, SILENT_TIMES_TOLD + 2):
        (report,) = await a_round(lab, endpoint)
        assert (report.verdict, report.state) == (Verdict.NO_ANSWER, EndpointState.LIVE)
        (row,) = await lab.rows("SELECT misses FROM probe_schedule")
        assert row.misses == number
    upstream.always = Reply()
    await a_round(lab, endpoint)
    (row,) = await lab.rows("SELECT misses FROM probe_schedule")
    assert row.misses == 0


async def test_who_lets_us_wait_keeps_nobody_waiting_who_answers(lab: SpaceLab, upstream: Shifted) -> None:
    silent = await a_live_endpoint(lab, upstream)
    with Shifted(WIDTH).in_thread() as other:
        answers = await lab.a_draft(await models_of(lab), "other", other.base_url)
        assert (await lab.certify(answers)).passed
        await lab.make_due(silent)
        await lab.make_due(answers)
        await lab.rows(
            "UPDATE probe_schedule SET misses = 1, next_at = now() - interval '1 h' WHERE endpoint_id = :id", id=silent
        )
        first = await claim(lab.db)
        assert first is not None
        assert first.endpoint_id == answers, "the silent one has been due for longer, and waits"

        upstream.always = Reply(delay_s=HANG)
        hanging = asyncio.ensure_future(lab.a_round())
        for _ in range(1000):
            if upstream.in_flight:
                break
            await asyncio.sleep(0.01)
        await lab.make_due(answers)
        (report,) = await lab.a_round(answering=True)
        assert (report.passed, report.full) == (True, True)
        assert not hanging.done()
        await lab.make_due(silent)
        assert await claim(lab.db, answering=True) is None
        hanging.cancel()
        await asyncio.wait([hanging])


async def models_of(lab: SpaceLab) -> Model:
    async with lab.db.transaction() as connection:
        return await models.get(connection, "tests/model")


def test_recovery_is_asked_for_less_and_less_often() -> None:
    def after(misses: int) -> timedelta:
        due = Due(EndpointId(new_id()), True, misses, 0, 0, datetime.now(UTC))
        report = Report(
            id=ProbeId(new_id()),
            occasion=Occasion.RECOVERY,
            verdict=Verdict.ANOTHER_SPACE,
            reason="",
            state=EndpointState.QUARANTINED,
            probe_set="",
            numerics="bf16",
        )
        return plan(due, report, was_serving=False).after

    waits = [after(misses) for misses in range(40)]
    assert waits[:3] == [RECOVERY_FIRST * 2, RECOVERY_FIRST * 4, RECOVERY_FIRST * 8]
    assert waits == sorted(waits)
    assert waits[-1] == RECOVERY_LATEST


@pytest.mark.parametrize("found_by", ["a call", "a probe"])
async def test_a_refused_credential_is_asked_again_and_one_good_probe_brings_it_back(
    lab: SpaceLab, upstream: Shifted, found_by: str
) -> None:
    endpoint = await a_live_endpoint(lab, upstream)
    mark = "probe_x: " if found_by == "a probe" else AWAITS_PROOF
    reason = f"{mark}{REFUSED}: status 402"
    await transact(lab.db, OPS, lambda work: move_endpoint(work, endpoint, EndpointState.QUARANTINED, reason))
    upstream.always = Reply(status=401)
    (report,) = await a_round(lab, endpoint)
    assert (report.verdict, report.state) == (Verdict.NO_ANSWER, EndpointState.QUARANTINED)
    assert await claim(lab.db) is None, "it waits longer each time"

    upstream.always = Reply()
    provider = (await lab.view(endpoint)).endpoint.provider_id
    spec = ProviderSpec(base_url=upstream.base_url)
    await transact(lab.db, OPS, lambda work: edit_provider(work, None, provider, spec))
    (row,) = await lab.rows("SELECT next_at <= now() AS is_due FROM probe_schedule")
    assert row.is_due
    (report,) = await a_round(lab, endpoint)
    assert (report.full, report.state) == (True, EndpointState.LIVE)


async def test_an_edited_provider_hurries_nobody_who_is_quarantined_for_something_else(
    lab: SpaceLab, upstream: Shifted
) -> None:
    endpoint = await a_live_endpoint(lab, upstream)
    await transact(lab.db, OPS, lambda work: move_endpoint(work, endpoint, EndpointState.QUARANTINED, "by hand"))
    provider = (await lab.view(endpoint)).endpoint.provider_id
    spec = ProviderSpec(base_url=upstream.base_url, retention_days=0)
    await transact(lab.db, OPS, lambda work: edit_provider(work, None, provider, spec))
    assert await lab.rows("SELECT 1 FROM probe_schedule") == []


async def test_old_probes_go_and_the_last_good_one_stays(lab: SpaceLab, upstream: Shifted) -> None:
    endpoint = await a_live_endpoint(lab, upstream)
    await lab.rows(
        "UPDATE probes SET at = now() - CAST(:age AS interval), reason = 'the last good one'", age=PROBES_KEPT * 2
    )
    await lab.rows(
        "INSERT INTO probes (id, endpoint_id, at, occasion, verdict, reason)"
        " VALUES (:id, :endpoint, now() - CAST(:age AS interval), 'periodic', 'no_answer', 'long ago')",
        id=new_id(),
        endpoint=endpoint,
        age=PROBES_KEPT * 3,
    )
    await forget_probes(lab.db, datetime.now(UTC))
    assert [row.reason for row in await lab.rows("SELECT reason FROM probes")] == ["the last good one"]
    await a_round(lab, endpoint)
    await forget_probes(lab.db, datetime.now(UTC))
    assert len(await lab.rows("SELECT 1 FROM probes")) == 1, "a newer one is good"
