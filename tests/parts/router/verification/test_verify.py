"""An endpoint earns its space: who may vouch, what each verdict does to it, and what is written down."""

import asyncio
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from sqlalchemy import text

from providers.worker_client.identity import WorkerBuild
from router.changes.audit import list_changes
from router.changes.transaction import UnitOfWork, transact
from router.errors import Conflict
from router.registry.endpoints import move_endpoint
from router.values import EndpointState, QuarantineCause
from router.verification.references import refusal_to_vouch
from router.verification.report import Occasion, SpaceVerdict, VerificationReport, next_state
from store.ids import EndpointId, wire
from store.postgres import Database
from tests.builders.registry import OPS
from tests.builders.spaces import SpaceLab
from tests.harness.fake_upstream import Counting, Reply, Upstream
from tests.harness.verified_upstreams import IDENTITY, REASON, WIDTH, NamedWorker, Shifted

pytestmark = pytest.mark.anyio
TESTED, AGAIN = Occasion.REGISTRATION, Occasion.PERIODIC


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream(WIDTH).in_thread() as running:
        yield running


async def test_without_a_reference_an_endpoint_stays_in_probing_and_is_told_what_to_do(
    lab: SpaceLab, upstream: Upstream
) -> None:
    endpoint = await lab.a_draft(await lab.a_model(), "vendor", upstream.base_url)
    report = await lab.verify(endpoint)
    assert report.verdict is SpaceVerdict.NO_REFERENCE
    assert "`as_reference`" in report.reason
    assert await lab.state(endpoint) == "probing"


async def test_an_operator_vouches_with_a_reason_and_the_next_one_is_compared(
    lab: SpaceLab, upstream: Upstream
) -> None:
    model = await lab.a_model()
    first = await lab.a_draft(model, "vendor", upstream.base_url)
    report = await lab.verify(first, as_reference=REASON)
    assert report.passed
    assert report.became_reference
    assert await lab.state(first) == "live"

    second = await lab.a_draft(model, "second", upstream.base_url)
    report = await lab.verify(second)
    assert report.passed
    assert (report.reference, report.became_reference) == (REASON, False)
    assert report.cosine_min is not None
    assert report.cosine_min > 0.999999
    async with lab.db.transaction() as connection:
        (recorded,) = await list_changes(connection, subject=model.space)
    assert (recorded.actor, recorded.change.action, recorded.change.reason) == (OPS, "space.reference", REASON)
    rows = await lab.rows("SELECT occasion, verdict, report FROM probes ORDER BY at")
    assert [(row.occasion, row.verdict) for row in rows] == [("registration", "same_space")] * 2
    assert {step["name"] for step in rows[1].report["steps"]} >= {"in one batch", "alone", "mixed lengths at once"}


async def test_our_own_worker_vouches_if_it_serves_what_the_catalogue_says(lab: SpaceLab) -> None:
    with NamedWorker(WIDTH).in_thread() as worker:
        other = await lab.a_model(name="tests/other", revision="another commit")
        refused = await lab.verify(await lab.a_draft(other, "w1", worker.worker_url, kind="worker"))
        assert refused.verdict is SpaceVerdict.NO_REFERENCE
        assert "another commit" in refused.reason
        model = await lab.a_model(revision=IDENTITY.revision)
        endpoint = await lab.a_draft(model, "w2", worker.worker_url, kind="worker")
        report = await lab.verify(endpoint)
        assert report.became_reference
        assert "in-house worker" in report.reference
        assert (await lab.view(endpoint)).endpoint.upstream_space == "upstream-space"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, ""),
        ({"revision": "f00"}, "f00"),
        ({"pooling": ("cls",)}, "cls"),
        ({"dimensions": 16}, "16"),
        ({"normalized": False}, "normalized"),
        ({"prompts": {"query": "Find: "}}, "prompts"),
        ({"build": WorkerBuild("float32", derived="int8")}, "int8"),
        ({"build": WorkerBuild("bfloat16")}, "bfloat16"),
    ],
)
async def test_a_worker_that_differs_in_anything_does_not_vouch(
    lab: SpaceLab, changes: dict[str, Any], says: str
) -> None:
    model = await lab.a_model(revision=IDENTITY.revision, numerics="fp32")
    refusal = refusal_to_vouch(model, msgspec.structs.replace(IDENTITY, **changes))
    assert says in refusal
    assert bool(refusal) == bool(changes)


async def test_another_space_is_quarantined_whatever_the_state_and_ops_learn_whom_it_hit(lab: SpaceLab) -> None:
    with Shifted(WIDTH).in_thread() as upstream:
        model = await lab.a_model()
        endpoint = await lab.a_draft(model, "vendor", upstream.base_url)
        await lab.verify(endpoint, as_reference=REASON)
        await lab.rows(USED, endpoint=endpoint, model=model.id)
        upstream.shift = True
        report = await lab.verify(endpoint, AGAIN, canary_turn=3)
        assert report.verdict is SpaceVerdict.ANOTHER_SPACE
        assert (report.state, report.calls_since) == (EndpointState.QUARANTINED, 1)
        assert report.last_good_at is not None
        view = await lab.view(endpoint)
        assert view.endpoint.state is EndpointState.QUARANTINED
        assert view.quarantine_cause is QuarantineCause.PROBE
        assert view.reason == report.reason
        async with lab.db.transaction() as connection:
            newest = (await list_changes(connection, subject=wire(EndpointId, endpoint)))[0]
        assert newest.change.action == "endpoint.quarantined"
        assert newest.change.after == {"state": "quarantined", "quarantine_cause": "probe"}


async def test_traffic_ends_before_anyone_counts_whom_it_hit(lab: SpaceLab) -> None:
    with Shifted(WIDTH).in_thread() as upstream:
        endpoint = await lab.a_draft(await lab.a_model(), "vendor", upstream.base_url)
        await lab.verify(endpoint, as_reference=REASON)
        upstream.shift = True
        owner = Database(lab.db.url, as_owner=True)
        async with owner.transaction() as connection:
            # Counting waits for this, as it would for a hundred million rows.
            await connection.execute(text("LOCK TABLE usage_events IN ACCESS EXCLUSIVE MODE"))
            counting = asyncio.ensure_future(lab.verify(endpoint, AGAIN))
            for _ in range(1000):
                if await lab.state(endpoint) == "quarantined":
                    break
                await asyncio.sleep(0.01)
            assert await lab.state(endpoint) == "quarantined"
            assert not counting.done()
        await owner.close()
        assert (await counting).calls_since == 0


USED = """
INSERT INTO usage_events (
    request_id, occurred_at, account_id, key_id, model_id, provider_id, endpoint_id, space, inputs, tokens, price_id,
    nano_per_mtok, cost_nano, charged_nano, overdraft_nano, provider_cost_nano, latency_ms, attempts
) VALUES (
    uuidv7(), clock_timestamp(), gen_random_uuid(), gen_random_uuid(), :model, gen_random_uuid(), :endpoint, 's', 1, 1,
    gen_random_uuid(), 1, 0, 0, 0, 0, 1, 1
)
"""


async def test_silence_keeps_an_endpoint_from_going_live_and_takes_no_live_one_away(
    lab: SpaceLab, upstream: Upstream
) -> None:
    model = await lab.a_model()
    live = await lab.a_draft(model, "vendor", upstream.base_url)
    await lab.verify(live, as_reference=REASON)
    upstream.always = Reply(status=500)
    report = await lab.verify(live, AGAIN)
    assert (report.verdict, report.state) == (SpaceVerdict.NO_ANSWER, EndpointState.LIVE)
    draft = await lab.a_draft(model, "draft", upstream.base_url)
    report = await lab.verify(draft)
    assert (report.verdict, report.state) == (SpaceVerdict.NO_ANSWER, EndpointState.QUARANTINED)
    assert "Broken" in report.reason


async def test_a_provider_that_names_another_space_is_quarantined_until_an_operator_tests_it(
    lab: SpaceLab, upstream: Upstream
) -> None:
    model = await lab.a_model()
    endpoint = await lab.a_draft(model, "worker", upstream.worker_url, kind="worker")
    await lab.verify(endpoint, as_reference=REASON)
    await lab.rows("UPDATE endpoints SET upstream_space = 'the tested one' WHERE id = :id", id=endpoint)
    report = await lab.verify(endpoint, AGAIN)
    assert report.verdict is SpaceVerdict.ANOTHER_SPACE
    assert not report.may_recover
    view = await lab.view(endpoint)
    assert view.quarantine_cause is QuarantineCause.SPACE_MISMATCH
    assert "the tested one" in view.reason
    assert (await lab.verify(endpoint, Occasion.MANUAL)).passed
    assert (await lab.view(endpoint)).endpoint.upstream_space == "upstream-space"


async def test_coarser_numbers_than_the_space_has_are_refused_without_a_call(lab: SpaceLab, upstream: Upstream) -> None:
    endpoint = await lab.a_draft(await lab.a_model(), "vendor", upstream.base_url, numerics="fp8")
    report = await lab.verify(endpoint, as_reference=REASON)
    assert report.verdict is SpaceVerdict.ANOTHER_SPACE
    assert "fp8" in report.reason
    assert not upstream.calls


async def test_a_dry_run_tells_and_changes_nothing(lab: SpaceLab, upstream: Upstream) -> None:
    endpoint = await lab.a_draft(await lab.a_model(), "vendor", upstream.base_url)
    report = await lab.verify(endpoint, as_reference=REASON, dry_run=True)
    assert report.passed
    assert await lab.state(endpoint) == "draft"
    assert await lab.rows("SELECT 1 FROM probes UNION ALL SELECT 1 FROM space_references") == []


async def test_what_belongs_to_the_outcome_is_written_with_it(lab: SpaceLab, upstream: Upstream) -> None:
    endpoint = await lab.a_draft(await lab.a_model(), "vendor", upstream.base_url)

    async def on_verified(work: UnitOfWork, report: VerificationReport) -> None:
        raise Conflict(f"not {report.state.value}")

    with pytest.raises(Conflict, match="not live"):
        await lab.verify(endpoint, as_reference=REASON, on_verified=on_verified)
    assert await lab.state(endpoint) == "probing"
    assert await lab.rows("SELECT 1 FROM probes UNION ALL SELECT 1 FROM space_references") == []


async def test_an_endpoint_is_asked_within_its_bounds_and_for_no_width(lab: SpaceLab, upstream: Upstream) -> None:
    model = await lab.a_model(trained_dimensions=[8, 16, WIDTH], prompts={"query": "Find: "})
    endpoint = await lab.a_draft(model, "vendor", upstream.base_url, max_batch=5, concurrency=2)
    report = await lab.verify(endpoint, as_reference=REASON)
    assert report.passed
    bodies: list[Any] = [call.json for call in upstream.calls]
    assert max(len(body["input"]) for body in bodies) == 5
    assert not any("dimensions" in body for body in bodies)
    assert upstream.most_in_flight <= 2
    assert any(text.startswith("Find: ") for body in bodies for text in body["input"])


async def test_what_ops_did_meanwhile_stays(lab: SpaceLab, upstream: Upstream) -> None:
    model = await lab.a_model()
    endpoint = await lab.a_draft(model, "vendor", upstream.base_url)
    await lab.verify(endpoint, as_reference=REASON)
    seen = (await lab.view(endpoint)).endpoint
    await transact(lab.db, OPS, lambda work: move_endpoint(work, endpoint, EndpointState.OFF, "by hand"))
    upstream.always = Reply(body=b'{"data": []}')
    report = await lab.verify(endpoint, AGAIN, seen=seen)
    assert report.verdict is SpaceVerdict.ANOTHER_SPACE
    assert report.state is EndpointState.OFF
    assert await lab.state(endpoint) == "off"


def test_the_rules_of_moving() -> None:
    """Every state and verdict; what is not named stays where it is."""
    moves = {
        (state, verdict, ends_quarantine): to
        for state in EndpointState
        for verdict in SpaceVerdict
        for ends_quarantine in (False, True)
        if (to := next_state(state, verdict, ends_quarantine=ends_quarantine)) is not None
    }
    s, v = EndpointState, SpaceVerdict
    expected = {(s.PROBING, v.SAME_SPACE): s.LIVE, (s.PROBING, v.NO_ANSWER): s.QUARANTINED}
    expected |= {(state, v.ANOTHER_SPACE): s.QUARANTINED for state in (s.PROBING, s.LIVE, s.DRAINING)}
    both = {(*key, ends): to for key, to in expected.items() for ends in (False, True)}
    assert moves == both | {(s.QUARANTINED, v.SAME_SPACE, True): s.LIVE}


@pytest.mark.parametrize(
    ("usage", "state"),
    [("characters", EndpointState.QUARANTINED), ("nothing", EndpointState.LIVE), ("tokens", EndpointState.LIVE)],
)
async def test_one_that_begins_to_count_characters_is_quarantined(
    lab: SpaceLab, usage: str, state: EndpointState
) -> None:
    with Counting(WIDTH).in_thread() as upstream:
        endpoint = await lab.a_draft(await lab.a_model(), "vendor", upstream.base_url)
        await lab.verify(endpoint, as_reference=REASON)
        upstream.tells = usage
        report = await lab.verify(endpoint, AGAIN)
        assert (report.state, "usage: " in report.reason) == (state, usage == "characters")
        # A new test asks for more: without any usage nobody goes live.
        again = await lab.verify(endpoint, Occasion.MANUAL)
        assert again.passed is (usage == "tokens")
