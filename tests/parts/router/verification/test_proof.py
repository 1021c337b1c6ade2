"""What was tested is what serves: an edit of who answers ends traffic, and a test's outcome is of what it asked.

Two servers, one of each space; nothing in a single answer tells them apart.
"""

import asyncio
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from providers.outcomes import Broken
from providers.protocol import Vectors
from router.changes.transaction import UnitOfWork, transact
from router.registry.encryption import CredentialCipher
from router.registry.endpoints import edit_endpoint, get_endpoint, move_endpoint
from router.registry.providers import ProviderView, edit_provider, get_provider
from router.registry.specs import EndpointSpec
from router.values import EndpointState, QuarantineCause
from router.verification.check_report import CheckReport
from router.verification.endpoint_check import CheckRequest, check_endpoint
from router.verification.report import Occasion, SpaceVerdict, VerificationReport
from router.verification.schedule import run_due_checks
from store.ids import EndpointId
from tests.builders.providers import a_provider
from tests.builders.registry import OPS
from tests.builders.spaces import SpaceLab
from tests.harness.fake_upstream import Reply
from tests.harness.verified_upstreams import REASON, Gated

pytestmark = pytest.mark.anyio
LIVE, DRAINING, QUARANTINED = EndpointState.LIVE, EndpointState.DRAINING, EndpointState.QUARANTINED


@pytest.fixture
def upstream() -> Iterator[Gated]:
    with Gated().in_thread() as running:
        yield running


@pytest.fixture
def other() -> Iterator[Gated]:
    with Gated().in_thread() as running:
        running.shift = True
        yield running


async def a_live_endpoint(lab: SpaceLab, upstream: Gated, **spec: Any) -> EndpointId:
    endpoint = await lab.a_draft(await lab.a_model(), "vendor", upstream.base_url, **spec)
    assert (await lab.verify(endpoint, as_reference=REASON)).passed
    return endpoint


async def edit_its_provider(
    lab: SpaceLab, endpoint: EndpointId, *, credential: str | None = None, **changes: Any
) -> ProviderView:
    async def command(work: UnitOfWork) -> ProviderView:
        provider = (await get_endpoint(work.connection, endpoint)).endpoint.provider_id
        spec = msgspec.structs.replace((await get_provider(work.connection, provider)).spec, **changes)
        return await edit_provider(work, SEAL, provider, spec, credential=credential)

    return await transact(lab.db, OPS, command)


async def edit(lab: SpaceLab, endpoint: EndpointId, **changes: Any) -> None:
    async def command(work: UnitOfWork) -> None:
        now = (await get_endpoint(work.connection, endpoint)).endpoint
        spec = msgspec.convert(now, EndpointSpec, from_attributes=True)
        await edit_endpoint(work, endpoint, msgspec.structs.replace(spec, **changes))

    await transact(lab.db, OPS, command)


SEAL = CredentialCipher(["MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="])


async def test_another_address_ends_traffic_until_what_answers_there_has_passed(
    lab: SpaceLab, upstream: Gated, other: Gated
) -> None:
    endpoint = await a_live_endpoint(lab, upstream)
    edited = await edit_its_provider(lab, endpoint, base_url=other.base_url)
    assert edited.unproven == (endpoint,)
    view = await lab.view(endpoint)
    assert view.endpoint.state is QUARANTINED
    assert "base_url of vendor changed" in view.reason
    (report,) = await lab.run_checks()
    assert (report.verdict, report.occasion) == (SpaceVerdict.ANOTHER_SPACE, Occasion.RECOVERY)
    assert "base_url" not in (await lab.view(endpoint)).reason, "why it stays out is what was found there"

    await edit_its_provider(lab, endpoint, base_url=upstream.base_url)
    await lab.make_due(endpoint)
    assert (await lab.run_checks())[0].state is QUARANTINED, "it was caught, so one good probe is luck"


async def test_an_honest_address_serves_again_after_one_round(lab: SpaceLab, upstream: Gated) -> None:
    endpoint = await a_live_endpoint(lab, upstream)
    await edit_its_provider(lab, endpoint, base_url=upstream.base_url + "/")
    (report,) = await lab.run_checks()
    assert (report.full, report.state) == (True, LIVE)
    assert await lab.state(endpoint) == "live"


# A header may decide which service answers.
HEADED = {"options": {"headers": {"x-lane": "batch"}}}


@pytest.mark.parametrize("changes", [HEADED, {"base_url": "http://127.0.0.1:1/v2"}])
async def test_what_decides_who_answers_ends_traffic(lab: SpaceLab, upstream: Gated, changes: dict[str, Any]) -> None:
    endpoint = await a_live_endpoint(lab, upstream)
    await edit_its_provider(lab, endpoint, **changes)
    assert await lab.state(endpoint) == "quarantined"


@pytest.mark.parametrize("changes", [{"native_input_type": True}, {"numerics": "f16"}])
async def test_other_input_types_or_numbers_end_traffic_until_they_pass(
    lab: SpaceLab, upstream: Gated, changes: dict[str, Any]
) -> None:
    endpoint = await a_live_endpoint(lab, upstream)
    await edit(lab, endpoint, **changes)
    assert await lab.state(endpoint) == "quarantined"
    await lab.run_checks()
    assert await lab.state(endpoint) == "live"


async def test_what_is_no_matter_of_spaces_leaves_it_live(lab: SpaceLab, upstream: Gated) -> None:
    endpoint = await a_live_endpoint(lab, upstream)
    await edit(lab, endpoint, weight=7, cost_nano_per_mtok=1, requests_per_minute=100)
    assert (await edit_its_provider(lab, endpoint, regions=("eu",), retention_days=0)).unproven == ()
    assert await lab.state(endpoint) == "live"
    assert await lab.run_checks() == []


async def test_a_new_credential_is_examined_at_once_and_costs_no_traffic(lab: SpaceLab, upstream: Gated) -> None:
    endpoint = await a_live_endpoint(lab, upstream)
    assert await lab.run_checks() == []
    await edit_its_provider(lab, endpoint, credential="sk-new-000000000000000")
    assert await lab.state(endpoint) == "live"
    upstream.shift = True  # Another account, for which the gateway has another model.
    (report,) = await lab.run_checks()
    assert (report.full, report.verdict) == (True, SpaceVerdict.ANOTHER_SPACE)
    assert await lab.state(endpoint) == "quarantined"


async def test_what_was_drained_does_not_come_back_by_an_edit(lab: SpaceLab, upstream: Gated) -> None:
    endpoint = await a_live_endpoint(lab, upstream)
    await transact(lab.db, OPS, lambda work: move_endpoint(work, endpoint, DRAINING))
    await edit_its_provider(lab, endpoint, base_url=upstream.base_url + "/")
    assert await lab.state(endpoint) == "quarantined"
    await lab.make_due(endpoint)
    assert await lab.run_checks() == []
    assert (await lab.verify(endpoint, Occasion.MANUAL)).state is LIVE


async def test_a_process_that_has_not_heard_of_the_edit_does_not_bring_it_back(
    lab: SpaceLab, upstream: Gated, other: Gated
) -> None:
    endpoint = await a_live_endpoint(lab, upstream)
    record = await lab.record(endpoint)
    await edit_its_provider(lab, endpoint, base_url=other.base_url)
    async with a_provider("openai", upstream.base_url) as old:
        assert await run_due_checks(lab.db, {record.id: (record, old)}.get) == []
    assert await lab.state(endpoint) == "quarantined"
    (row,) = await lab.rows("SELECT next_at - now() < interval '6 seconds' AS soon FROM probe_schedule")
    assert row.soon


async def test_an_endpoint_is_not_put_live_for_a_model_that_nobody_asked(lab: SpaceLab, upstream: Gated) -> None:
    endpoint = await lab.a_draft(await lab.a_model(), "vendor", upstream.base_url)
    report = await upstream.between(
        lab.verify(endpoint, as_reference=REASON),
        lambda: edit(lab, endpoint, upstream_model="quite/another"),
    )
    assert not report.passed
    assert "changed while it was examined" in report.reason
    assert not report.became_reference
    assert await lab.state(endpoint) == "probing"
    assert await lab.rows("SELECT 1 FROM space_references") == []
    (row,) = await lab.rows("SELECT verdict FROM probes")
    assert row.verdict == "no_answer"


@pytest.mark.parametrize("changes", [{"base_url": "http://127.0.0.1:1/v1"}, HEADED])
async def test_nor_for_a_provider_that_nobody_asked(lab: SpaceLab, upstream: Gated, changes: dict[str, Any]) -> None:
    endpoint = await lab.a_draft(await lab.a_model(), "vendor", upstream.base_url)
    report = await upstream.between(
        lab.verify(endpoint, as_reference=REASON),
        lambda: edit_its_provider(lab, endpoint, **changes),
    )
    assert (report.passed, report.state) == (False, EndpointState.PROBING)
    assert await lab.state(endpoint) == "probing"


async def test_drift_counts_though_its_price_was_edited_meanwhile(lab: SpaceLab, upstream: Gated) -> None:
    endpoint = await a_live_endpoint(lab, upstream)
    upstream.shift = True
    report = await upstream.between(
        lab.verify(endpoint, Occasion.PERIODIC), lambda: edit(lab, endpoint, cost_nano_per_mtok=5)
    )
    assert (report.verdict, report.state) == (SpaceVerdict.ANOTHER_SPACE, QUARANTINED)


async def test_a_round_that_was_overtaken_by_an_edit_is_repeated_at_once(lab: SpaceLab, upstream: Gated) -> None:
    endpoint = await a_live_endpoint(lab, upstream)
    await lab.make_due(endpoint)

    async def a_round() -> VerificationReport:
        (report,) = await lab.run_checks()
        return report

    report = await upstream.between(
        a_round(), lambda: edit_its_provider(lab, endpoint, base_url=upstream.base_url + "/")
    )
    assert not report.stands
    assert await lab.state(endpoint) == "quarantined"
    await lab.make_due(endpoint)  # The same process had not heard of the edit, and waits some seconds.
    (report,) = await lab.run_checks()
    assert report.state is LIVE


async def test_a_slow_failing_test_takes_nothing_from_an_endpoint_that_another_test_made_live(
    lab: SpaceLab, upstream: Gated
) -> None:
    model = await lab.a_model()
    endpoint = await lab.a_draft(model, "vendor", upstream.base_url)
    await transact(lab.db, OPS, lambda work: move_endpoint(work, endpoint, EndpointState.PROBING))
    asked, may_fail = asyncio.Event(), asyncio.Event()

    async def fail(*_: object) -> Vectors:
        asked.set()
        await may_fail.wait()
        raise Broken(detail="at last")

    record = await lab.record(endpoint)
    async with a_provider(record.kind, upstream.base_url) as slow:
        slow.embed = fail  # type: ignore[method-assign, assignment]
        failing = asyncio.ensure_future(check_endpoint(lab.db, OPS, endpoint, record, slow))
        await asked.wait()
        assert (await lab.verify(endpoint, as_reference=REASON)).state is LIVE
        may_fail.set()
        assert not (await failing).passed
    assert await lab.state(endpoint) == "live"


async def test_a_failed_test_by_hand_does_not_end_automatic_recovery(lab: SpaceLab, upstream: Gated) -> None:
    endpoint = await a_live_endpoint(lab, upstream)
    upstream.shift = True
    await lab.verify(endpoint, Occasion.PERIODIC)
    before = (await lab.view(endpoint)).reason
    upstream.always = Reply(status=503)
    assert not (await a_test(lab, endpoint)).passed
    assert (await lab.view(endpoint)).reason == before
    upstream.always, upstream.shift = Reply(), False
    for _ in range(3):
        await lab.make_due(endpoint)
        await lab.run_checks()
    assert await lab.state(endpoint) == "live"


@pytest.mark.parametrize(
    ("status", "cause", "returns"),
    [(401, QuarantineCause.CREDENTIAL_REFUSED, True), (500, QuarantineCause.TEST_FAILED, False)],
)
async def test_a_draft_whose_first_call_fails_returns_by_itself_if_only_the_credential_was_refused(
    lab: SpaceLab, upstream: Gated, status: int, cause: QuarantineCause, returns: bool
) -> None:
    model = await lab.a_model()
    assert (await lab.verify(await lab.a_draft(model, "first", upstream.base_url), as_reference=REASON)).passed
    endpoint = await lab.a_draft(model, "second", upstream.base_url)
    upstream.always = Reply(status=status)
    report = await a_test(lab, endpoint)
    assert report.endpoint is not None
    assert report.endpoint.quarantine_cause is cause
    assert report.endpoint.reason == report.reason
    upstream.always = Reply()
    await lab.make_due(endpoint)
    await lab.run_checks()
    assert await lab.state(endpoint) == ("live" if returns else "quarantined")


async def a_test(lab: SpaceLab, endpoint: EndpointId) -> CheckReport:
    """As an operator's."""
    record = await lab.record(endpoint)
    async with a_provider(record.kind, record.base_url) as provider:
        return await check_endpoint(lab.db, OPS, endpoint, record, provider, CheckRequest(activates=True))
