"""A space has one reference: it is not raced, not replaced unseen, and what it says holds for who serves."""

from collections.abc import Iterator

import msgspec
import numpy as np
import pytest
from structlog.testing import capture_logs

from providers.probing.agreement import Noise
from providers.probing.probe_texts import ProbeSet, ProbeText, probe_set
from router.changes.audit import list_changes
from router.changes.transaction import UnitOfWork, transact
from router.errors import InvalidRequest
from router.values import EndpointState
from router.verification.endpoint_check import CheckRequest, check_endpoint
from router.verification.references import Reference, find_reference, lock_space, record_noise, set_reference
from router.verification.report import Occasion, SpaceVerdict
from tests.builders.providers import a_provider
from tests.builders.registry import OPS
from tests.builders.spaces import SpaceLab
from tests.harness.verified_upstreams import IDENTITY, REASON, WIDTH, Gated, NamedWorker

pytestmark = pytest.mark.anyio


@pytest.fixture
def upstream() -> Iterator[Gated]:
    with Gated().in_thread() as running:
        yield running


@pytest.fixture
def other() -> Iterator[Gated]:
    with Gated().in_thread() as running:
        running.shift = True
        yield running


async def sources(lab: SpaceLab) -> list[str]:
    return [row.source for row in await lab.rows("SELECT source FROM space_references")]


async def test_of_two_first_references_at_once_from_two_spaces_one_goes_live(
    lab: SpaceLab, upstream: Gated, other: Gated
) -> None:
    model = await lab.a_model()
    slow, fast = await lab.a_draft(model, "slow", upstream.base_url), await lab.a_draft(model, "fast", other.base_url)
    report = await upstream.between(
        lab.verify(slow, as_reference="slow"), lambda: lab.verify(fast, as_reference="fast")
    )
    assert (report.passed, report.became_reference) == (False, False)
    assert (await lab.state(slow), await lab.state(fast)) == ("probing", "live")
    assert await sources(lab) == ["fast"]
    assert (await lab.verify(slow)).verdict is SpaceVerdict.ANOTHER_SPACE


async def test_a_verdict_by_a_reference_that_was_replaced_meanwhile_counts_for_nothing(
    lab: SpaceLab, upstream: Gated, other: Gated
) -> None:
    model = await lab.a_model()
    first, second = await lab.a_draft(model, "a", upstream.base_url), await lab.a_draft(model, "b", other.base_url)
    await lab.verify(first, as_reference=REASON)
    report = await upstream.between(
        lab.verify(first, Occasion.PERIODIC, on_verified=_nothing),
        lambda: lab.verify(second, as_reference="the maker's new one", replace=True),
    )
    assert not report.stands


async def _nothing(_work: UnitOfWork, _report: object) -> None:
    """Makes the outcome a command with an end."""


async def test_the_wrong_endpoint_does_not_become_the_reference_beside_others_unless_it_is_to(
    lab: SpaceLab, upstream: Gated, other: Gated
) -> None:
    model = await lab.a_model()
    serves, wrong = await lab.a_draft(model, "a", upstream.base_url), await lab.a_draft(model, "b", other.base_url)
    await lab.verify(serves, as_reference=REASON)
    report = await lab.verify(wrong, as_reference="oops")
    assert (report.verdict, report.became_reference) == (SpaceVerdict.ANOTHER_SPACE, False)
    assert "`replace`" in report.reason
    assert REASON in report.reason
    assert (await lab.state(wrong), await lab.state(serves)) == ("quarantined", "live")
    assert await sources(lab) == [REASON]

    report = await lab.verify(wrong, as_reference="meant", replace=True)
    assert (report.state, report.became_reference) == (EndpointState.LIVE, True)
    async with lab.db.transaction() as connection:
        newest = (await list_changes(connection, subject=model.space))[0]
    assert (newest.actor, newest.change.reason) == (OPS, "meant")
    assert newest.change.before is not None
    assert newest.change.before["source"] == REASON
    view = await lab.view(serves)
    assert view.endpoint.state is EndpointState.QUARANTINED, "two spaces never serve at once"
    assert "was replaced" in view.reason
    assert (await lab.run_checks())[0].verdict is SpaceVerdict.ANOTHER_SPACE


async def test_an_agreeing_endpoint_becomes_the_reference_and_who_serves_goes_on(
    lab: SpaceLab, upstream: Gated
) -> None:
    model = await lab.a_model()
    first = await lab.a_draft(model, "a", upstream.base_url)
    second = await lab.a_draft(model, "b", upstream.base_url)
    await lab.verify(first, as_reference=REASON)
    await lab.rows("UPDATE space_references SET noise_worst = 0.5, noise_typical = 0.5")  # By a worker gone bad.
    assert (await lab.verify(second, as_reference="a better one")).became_reference
    assert [row.noise_worst for row in await lab.rows("SELECT noise_worst FROM space_references")] == [None]
    assert await sources(lab) == ["a better one"]
    assert await lab.state(first) == "live"


async def test_where_nobody_serves_a_new_reference_needs_no_replacing(
    lab: SpaceLab, upstream: Gated, other: Gated
) -> None:
    model = await lab.a_model()
    await lab.verify(await lab.a_draft(model, "a", upstream.base_url), as_reference=REASON)
    await lab.rows("UPDATE endpoints SET state = 'off'")
    second = await lab.a_draft(model, "b", other.base_url)
    assert (await lab.verify(second, as_reference="another one")).state is EndpointState.LIVE


async def test_replacing_takes_a_reason(lab: SpaceLab, upstream: Gated) -> None:
    endpoint = await lab.a_draft(await lab.a_model(), "a", upstream.base_url)
    record = await lab.record(endpoint)
    async with a_provider(record.kind, upstream.base_url) as provider:
        with pytest.raises(InvalidRequest, match="as_reference"):
            await check_endpoint(lab.db, OPS, endpoint, record, provider, CheckRequest(replace=True))


async def test_noise_is_of_the_reference_that_it_was_measured_against(lab: SpaceLab) -> None:
    vectors = np.eye(3, dtype=np.float32)
    probes = ProbeSet("p", tuple(ProbeText("g", text) for text in "abc"))

    async def record(work: UnitOfWork) -> Reference:
        await lock_space(work.connection, "s")
        before = await find_reference(work.connection, "s", probes)
        await set_reference(work, "s", probes, vectors, "x", before=before)
        found = await find_reference(work.connection, "s", probes)
        assert found is not None
        return found

    async def measure(work: UnitOfWork) -> None:
        await set_reference(work, "t", probes, vectors, "so that there is a change", before=None)
        await record_noise(work, old, Noise(1e-4, 1e-5))

    old = await transact(lab.db, OPS, record)
    new = await transact(lab.db, OPS, record)
    assert new.recorded_at > old.recorded_at
    await transact(lab.db, OPS, measure)
    assert [row.noise_worst for row in await lab.rows("SELECT noise_worst FROM space_references")] == [None, None]


def another_release(monkeypatch: pytest.MonkeyPatch, *, changed: int) -> None:
    """The same set of probes but for so many texts, the first ones."""
    old = probe_set(512)
    probes = tuple(
        msgspec.structs.replace(probe, text=f"new {row} {probe.text}") if row < changed else probe
        for row, probe in enumerate(old.probes)
    )
    monkeypatch.setattr(
        "router.verification.verify.probe_set", lambda _most: ProbeSet("probes-of-another-release", probes)
    )


@pytest.mark.parametrize("canaries", [None, 0, 7])
async def test_after_a_release_with_other_probes_a_vouched_space_is_watched_on(
    lab: SpaceLab, upstream: Gated, monkeypatch: pytest.MonkeyPatch, canaries: int | None
) -> None:
    endpoint = await lab.a_draft(await lab.a_model(), "a", upstream.base_url)
    await lab.verify(endpoint, as_reference=REASON)
    another_release(monkeypatch, changed=5)
    assert (await lab.verify(endpoint, Occasion.PERIODIC, canary_turn=canaries)).passed
    upstream.shift = True
    report = await lab.verify(endpoint, Occasion.PERIODIC, canary_turn=canaries)
    assert (report.verdict, report.state) == (SpaceVerdict.ANOTHER_SPACE, EndpointState.QUARANTINED)


async def test_where_no_probe_is_left_in_common_ops_hear_of_an_endpoint_that_nobody_watches(
    lab: SpaceLab, upstream: Gated, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = await lab.a_draft(await lab.a_model(), "a", upstream.base_url)
    await lab.verify(endpoint, as_reference=REASON)
    another_release(monkeypatch, changed=60)
    await lab.make_due(endpoint)
    with capture_logs() as told:
        (report,) = await lab.run_checks()
    assert (report.verdict, report.state) == (SpaceVerdict.NO_REFERENCE, EndpointState.LIVE)
    assert [(line["event"], line["log_level"]) for line in told] == [("endpoint_not_comparable", "error")]
    assert (await lab.verify(endpoint, Occasion.MANUAL, as_reference="still the same")).became_reference
    assert (await lab.verify(endpoint, Occasion.PERIODIC)).passed


async def test_our_own_worker_tells_other_probes_only_where_it_agrees_on_the_known_ones(
    lab: SpaceLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    with NamedWorker(WIDTH).in_thread() as ours, Gated().in_thread() as wrong:
        wrong.shift = True
        model = await lab.a_model(revision=IDENTITY.revision)
        vendor = await lab.a_draft(model, "vendor", wrong.base_url)
        worker = await lab.a_draft(model, "worker", ours.worker_url, kind="worker")
        await lab.verify(vendor, as_reference=REASON)
        another_release(monkeypatch, changed=5)
        assert (await lab.verify(worker)).verdict is SpaceVerdict.ANOTHER_SPACE
        another_release(monkeypatch, changed=60)
        report = await lab.verify(worker, Occasion.MANUAL)
        assert (report.verdict, report.became_reference) == (SpaceVerdict.NO_REFERENCE, False)
        assert "other probes" in report.reason

        monkeypatch.undo()
        assert (await lab.verify(worker, Occasion.MANUAL, as_reference="ours", replace=True)).passed
        another_release(monkeypatch, changed=5)
        report = await lab.verify(worker, Occasion.PERIODIC)
        assert (report.passed, report.became_reference) == (True, True)
        assert "agrees with what was known: ours" in report.reference


async def test_a_reference_from_before_texts_were_kept_gets_those_of_its_set(
    lab: SpaceLab, upstream: Gated, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = await lab.a_draft(await lab.a_model(), "a", upstream.base_url)
    await lab.verify(endpoint, as_reference=REASON)
    await lab.rows("UPDATE space_references SET texts = NULL")
    assert (await lab.verify(endpoint, Occasion.PERIODIC, canary_turn=1)).passed
    another_release(monkeypatch, changed=5)
    assert (await lab.verify(endpoint, Occasion.PERIODIC)).passed
