"""What was tested is what serves: an edit of who answers ends traffic, and a test's outcome is of what it asked.

Two servers, one of each space; nothing in a single answer tells them apart.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import msgspec
import pytest
from typing_extensions import override

from providers.outcomes import Broken
from providers.protocol import Vectors
from router.changes.transaction import UnitOfWork, transact
from router.registry.encryption import CredentialCipher
from router.registry.endpoints import edit_endpoint, get_endpoint, move_endpoint
from router.registry.providers import ProviderView, edit_provider, get_provider
from router.values import EndpointSpec, EndpointState
from router.verification.endpoint_check import try_endpoint
from router.verification.report import Occasion, Report, Verdict
from router.verification.schedule import go_round
from store.ids import EndpointId
from tests.builders.spaces import OPS, Desk, speaking
from tests.harness.fake_upstream import Received, Reply
from tests.parts.router.verification.test_verify import REASON, WIDTH, Shifted, a_model

pytestmark = pytest.mark.anyio
LIVE, DRAINING, QUARANTINED = EndpointState.LIVE, EndpointState.DRAINING, EndpointState.QUARANTINED


class Gated(Shifted):
    """Answers nothing while its gate is shut."""

    def __init__(self) -> None:
        super().__init__(WIDTH)
        self.gate = threading.Event()
        self.gate.set()

    @override
    def _bytes(self, received: Received, reply: Reply) -> bytes:
        assert self.gate.wait(30)
        return super()._bytes(received, reply)


@pytest.fixture
def upstream() -> Iterator[Gated]:
    with Gated().in_thread() as running:
        yield running


@pytest.fixture
def other() -> Iterator[Gated]:
    with Gated().in_thread() as running:
        running.shift = True
        yield running


async def a_live_endpoint(desk: Desk, upstream: Gated, **spec: Any) -> EndpointId:
    endpoint = await desk.a_draft(await a_model(desk), "vendor", upstream.base_url, **spec)
    assert (await desk.certify(endpoint, as_reference=REASON)).passed
    return endpoint


async def edit_its_provider(
    desk: Desk, endpoint: EndpointId, *, credential: str | None = None, **changes: Any
) -> ProviderView:
    async def command(work: UnitOfWork) -> ProviderView:
        provider = (await get_endpoint(work.connection, endpoint)).endpoint.provider_id
        spec = msgspec.structs.replace((await get_provider(work.connection, provider)).spec, **changes)
        return await edit_provider(work, SEAL, provider, spec, credential=credential)

    return await transact(desk.db, OPS, command)


async def edit(desk: Desk, endpoint: EndpointId, **changes: Any) -> None:
    async def command(work: UnitOfWork) -> None:
        now = (await get_endpoint(work.connection, endpoint)).endpoint
        spec = msgspec.convert(now, EndpointSpec, from_attributes=True)
        await edit_endpoint(work, endpoint, msgspec.structs.replace(spec, **changes))

    await transact(desk.db, OPS, command)


async def while_it_is_asked(
    upstream: Gated, asking: Awaitable[Report], change: Callable[[], Awaitable[object]]
) -> Report:
    """Something happens after the endpoint was asked and before it answers."""
    upstream.gate.clear()
    asked = len(upstream.calls)
    task = asyncio.ensure_future(asking)
    await is_asked(upstream, asked)
    await change()
    upstream.gate.set()
    return await task


async def is_asked(upstream: Gated, before: int) -> None:
    for _ in range(3000):
        if len(upstream.calls) > before:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("nobody asked it")


SEAL = CredentialCipher(["MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="])


async def test_another_address_ends_traffic_until_what_answers_there_has_passed(
    desk: Desk, upstream: Gated, other: Gated
) -> None:
    endpoint = await a_live_endpoint(desk, upstream)
    edited = await edit_its_provider(desk, endpoint, base_url=other.base_url)
    assert edited.unproven == (endpoint,)
    view = await desk.view(endpoint)
    assert view.endpoint.state is QUARANTINED
    assert "base_url of vendor changed" in view.reason
    (report,) = await desk.a_round()
    assert (report.verdict, report.occasion) == (Verdict.ANOTHER_SPACE, Occasion.RECOVERY)
    assert "base_url" not in (await desk.view(endpoint)).reason, "why it stays out is what was found there"

    await edit_its_provider(desk, endpoint, base_url=upstream.base_url)
    await desk.make_due(endpoint)
    assert (await desk.a_round())[0].state is QUARANTINED, "it was caught, so one good probe is luck"


async def test_an_honest_address_serves_again_after_one_round(desk: Desk, upstream: Gated) -> None:
    endpoint = await a_live_endpoint(desk, upstream)
    await edit_its_provider(desk, endpoint, base_url=upstream.base_url + "/")
    (report,) = await desk.a_round()
    assert (report.full, report.state) == (True, LIVE)
    assert await desk.state(endpoint) == "live"


@pytest.mark.parametrize("changes", [{"options": {"lane": "batch"}}, {"base_url": "http://127.0.0.1:1/v2"}])
async def test_what_decides_who_answers_ends_traffic(desk: Desk, upstream: Gated, changes: dict[str, Any]) -> None:
    endpoint = await a_live_endpoint(desk, upstream)
    await edit_its_provider(desk, endpoint, **changes)
    assert await desk.state(endpoint) == "quarantined"


@pytest.mark.parametrize("changes", [{"native_input_type": True}, {"numerics": "f16"}])
async def test_other_input_types_or_numbers_end_traffic_until_they_pass(
    desk: Desk, upstream: Gated, changes: dict[str, Any]
) -> None:
    endpoint = await a_live_endpoint(desk, upstream)
    await edit(desk, endpoint, **changes)
    assert await desk.state(endpoint) == "quarantined"
    await desk.a_round()
    assert await desk.state(endpoint) == "live"


async def test_what_is_no_matter_of_spaces_leaves_it_live(desk: Desk, upstream: Gated) -> None:
    endpoint = await a_live_endpoint(desk, upstream)
    await edit(desk, endpoint, weight=7, cost_nano_per_mtok=1, requests_per_minute=100)
    assert (await edit_its_provider(desk, endpoint, regions=("eu",), retention_days=0)).unproven == ()
    assert await desk.state(endpoint) == "live"
    assert await desk.a_round() == []


async def test_a_new_credential_is_examined_at_once_and_costs_no_traffic(desk: Desk, upstream: Gated) -> None:
    endpoint = await a_live_endpoint(desk, upstream)
    assert await desk.a_round() == []
    await edit_its_provider(desk, endpoint, credential="sk-new-000000000000000")
    assert await desk.state(endpoint) == "live"
    upstream.shift = True  # Another account, for which the gateway has another model.
    (report,) = await desk.a_round()
    assert (report.full, report.verdict) == (True, Verdict.ANOTHER_SPACE)
    assert await desk.state(endpoint) == "quarantined"


async def test_what_was_drained_does_not_come_back_by_an_edit(desk: Desk, upstream: Gated) -> None:
    endpoint = await a_live_endpoint(desk, upstream)
    await transact(desk.db, OPS, lambda work: move_endpoint(work, endpoint, DRAINING))
    await edit_its_provider(desk, endpoint, base_url=upstream.base_url + "/")
    assert await desk.state(endpoint) == "quarantined"
    await desk.make_due(endpoint)
    assert await desk.a_round() == []
    assert (await desk.certify(endpoint, Occasion.MANUAL)).state is LIVE


async def test_a_process_that_has_not_heard_of_the_edit_does_not_bring_it_back(
    desk: Desk, upstream: Gated, other: Gated
) -> None:
    endpoint = await a_live_endpoint(desk, upstream)
    record = await desk.record(endpoint)
    await edit_its_provider(desk, endpoint, base_url=other.base_url)
    async with speaking("openai", upstream.base_url) as old:
        assert await go_round(desk.db, {record.id: (record, old)}.get) == []
    assert await desk.state(endpoint) == "quarantined"
    (row,) = await desk.rows("SELECT next_at - now() < interval '6 seconds' AS soon FROM probe_schedule")
    assert row.soon


async def test_an_endpoint_is_not_put_live_for_a_model_that_nobody_asked(desk: Desk, upstream: Gated) -> None:
    endpoint = await desk.a_draft(await a_model(desk), "vendor", upstream.base_url)
    report = await while_it_is_asked(
        upstream,
        desk.certify(endpoint, as_reference=REASON),
        lambda: edit(desk, endpoint, upstream_model="quite/another"),
    )
    assert not report.passed
    assert "changed while it was examined" in report.reason
    assert not report.became_reference
    assert await desk.state(endpoint) == "probing"
    assert await desk.rows("SELECT 1 FROM space_references") == []
    (row,) = await desk.rows("SELECT verdict FROM probes")
    assert row.verdict == "no_answer"


@pytest.mark.parametrize("changes", [{"base_url": "http://127.0.0.1:1/v1"}, {"options": {"lane": "batch"}}])
async def test_nor_for_a_provider_that_nobody_asked(desk: Desk, upstream: Gated, changes: dict[str, Any]) -> None:
    endpoint = await desk.a_draft(await a_model(desk), "vendor", upstream.base_url)
    report = await while_it_is_asked(
        upstream,
        desk.certify(endpoint, as_reference=REASON),
        lambda: edit_its_provider(desk, endpoint, **changes),
    )
    assert (report.passed, report.state) == (False, EndpointState.PROBING)
    assert await desk.state(endpoint) == "probing"


async def test_drift_counts_though_its_price_was_edited_meanwhile(desk: Desk, upstream: Gated) -> None:
    endpoint = await a_live_endpoint(desk, upstream)
    upstream.shift = True
    report = await while_it_is_asked(
        upstream, desk.certify(endpoint, Occasion.PERIODIC), lambda: edit(desk, endpoint, cost_nano_per_mtok=5)
    )
    assert (report.verdict, report.state) == (Verdict.ANOTHER_SPACE, QUARANTINED)


async def test_a_round_that_was_overtaken_by_an_edit_is_repeated_at_once(desk: Desk, upstream: Gated) -> None:
    endpoint = await a_live_endpoint(desk, upstream)
    await desk.make_due(endpoint)

    async def a_round() -> Report:
        (report,) = await desk.a_round()
        return report

    report = await while_it_is_asked(
        upstream, a_round(), lambda: edit_its_provider(desk, endpoint, base_url=upstream.base_url + "/")
    )
    assert not report.stands
    assert await desk.state(endpoint) == "quarantined"
    await desk.make_due(endpoint)  # The same process had not heard of the edit, and waits some seconds.
    (report,) = await desk.a_round()
    assert report.state is LIVE


async def test_a_slow_failing_test_takes_nothing_from_an_endpoint_that_another_test_made_live(
    desk: Desk, upstream: Gated
) -> None:
    model = await a_model(desk)
    endpoint = await desk.a_draft(model, "vendor", upstream.base_url)
    await transact(desk.db, OPS, lambda work: move_endpoint(work, endpoint, EndpointState.PROBING))
    asked, may_fail = asyncio.Event(), asyncio.Event()

    async def fail(*_: object) -> Vectors:
        asked.set()
        await may_fail.wait()
        raise Broken(detail="at last")

    record = await desk.record(endpoint)
    async with speaking(record.kind, upstream.base_url) as slow:
        slow.embed = fail  # type: ignore[method-assign]
        failing = asyncio.ensure_future(try_endpoint(desk.db, OPS, endpoint, record, slow))
        await asked.wait()
        assert (await desk.certify(endpoint, as_reference=REASON)).state is LIVE
        may_fail.set()
        assert not (await failing).passed
    assert await desk.state(endpoint) == "live"


async def test_a_failed_test_by_hand_does_not_end_automatic_recovery(desk: Desk, upstream: Gated) -> None:
    endpoint = await a_live_endpoint(desk, upstream)
    upstream.shift = True
    await desk.certify(endpoint, Occasion.PERIODIC)
    before = (await desk.view(endpoint)).reason
    upstream.always = Reply(status=503)
    assert not (await a_test(desk, endpoint)).passed
    assert (await desk.view(endpoint)).reason == before
    upstream.always, upstream.shift = Reply(), False
    for _ in range(3):
        await desk.make_due(endpoint)
        await desk.a_round()
    assert await desk.state(endpoint) == "live"


async def a_test(desk: Desk, endpoint: EndpointId) -> Any:
    """As an operator's."""
    record = await desk.record(endpoint)
    async with speaking(record.kind, str(record.base_url)) as provider:
        return await try_endpoint(desk.db, OPS, endpoint, record, provider)
