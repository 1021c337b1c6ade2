"""A space has one reference: it is not raced, not replaced unseen, and what it says holds for who serves."""

from collections.abc import AsyncIterator, Iterator

import numpy as np
import pytest

from providers.agreement import Noise
from router.audit import list_changes
from router.errors import InvalidRequest
from router.spaces import Reference, find_reference, lock_space, set_noise, set_reference
from router.testing import try_endpoint
from router.values import EndpointState
from router.verdicts import Occasion, Verdict
from router.write import Work, transact
from tests.desk import OPS, Desk, speaking
from tests.parts.router.test_certify import REASON, a_model
from tests.parts.router.test_proof import Gated, while_it_is_asked

pytestmark = pytest.mark.anyio


@pytest.fixture
async def desk(database_url: str) -> AsyncIterator[Desk]:
    desk = Desk(database_url)
    yield desk
    await desk.close()


@pytest.fixture
def upstream() -> Iterator[Gated]:
    with Gated().in_thread() as running:
        yield running


@pytest.fixture
def other() -> Iterator[Gated]:
    with Gated().in_thread() as running:
        running.shift = True
        yield running


async def sources(desk: Desk) -> list[str]:
    return [row.source for row in await desk.rows("SELECT source FROM space_references")]


async def test_of_two_first_references_at_once_from_two_spaces_one_goes_live(
    desk: Desk, upstream: Gated, other: Gated
) -> None:
    model = await a_model(desk)
    slow, fast = await desk.a_draft(model, "slow", upstream.base_url), await desk.a_draft(model, "fast", other.base_url)
    report = await while_it_is_asked(
        upstream, desk.certify(slow, as_reference="slow"), lambda: desk.certify(fast, as_reference="fast")
    )
    assert (report.passed, report.became_reference) == (False, False)
    assert (await desk.state(slow), await desk.state(fast)) == ("probing", "live")
    assert await sources(desk) == ["fast"]
    assert (await desk.certify(slow)).verdict is Verdict.ANOTHER_SPACE


async def test_a_verdict_by_a_reference_that_was_replaced_meanwhile_counts_for_nothing(
    desk: Desk, upstream: Gated, other: Gated
) -> None:
    model = await a_model(desk)
    first, second = await desk.a_draft(model, "a", upstream.base_url), await desk.a_draft(model, "b", other.base_url)
    await desk.certify(first, as_reference=REASON)
    report = await while_it_is_asked(
        upstream,
        desk.certify(first, Occasion.PERIODIC, ending=_nothing),
        lambda: desk.certify(second, as_reference="the maker's new one", replace=True),
    )
    assert not report.stands


async def _nothing(_work: Work, _report: object) -> None:
    """Makes the outcome a command with an end."""


async def test_the_wrong_endpoint_does_not_become_the_reference_beside_others_unless_it_is_to(
    desk: Desk, upstream: Gated, other: Gated
) -> None:
    model = await a_model(desk)
    serves, wrong = await desk.a_draft(model, "a", upstream.base_url), await desk.a_draft(model, "b", other.base_url)
    await desk.certify(serves, as_reference=REASON)
    report = await desk.certify(wrong, as_reference="oops")
    assert (report.verdict, report.became_reference) == (Verdict.ANOTHER_SPACE, False)
    assert "--replace" in report.reason
    assert REASON in report.reason
    assert (await desk.state(wrong), await desk.state(serves)) == ("quarantined", "live")
    assert await sources(desk) == [REASON]

    report = await desk.certify(wrong, as_reference="meant", replace=True)
    assert (report.state, report.became_reference) == (EndpointState.LIVE, True)
    async with desk.db.transaction() as connection:
        newest = (await list_changes(connection, subject=model.space))[0]
    assert (newest.actor, newest.change.reason) == (OPS, "meant")
    assert newest.change.before is not None
    assert newest.change.before["source"] == REASON
    view = await desk.view(serves)
    assert view.endpoint.state is EndpointState.QUARANTINED, "two spaces never serve at once"
    assert "was replaced" in view.reason
    assert (await desk.a_round())[0].verdict is Verdict.ANOTHER_SPACE


async def test_an_agreeing_endpoint_becomes_the_reference_and_who_serves_goes_on(desk: Desk, upstream: Gated) -> None:
    model = await a_model(desk)
    first = await desk.a_draft(model, "a", upstream.base_url)
    second = await desk.a_draft(model, "b", upstream.base_url)
    await desk.certify(first, as_reference=REASON)
    await desk.rows("UPDATE space_references SET noise_worst = 0.5, noise_typical = 0.5")  # By a worker gone bad.
    assert (await desk.certify(second, as_reference="a better one")).became_reference
    assert [row.noise_worst for row in await desk.rows("SELECT noise_worst FROM space_references")] == [None]
    assert await sources(desk) == ["a better one"]
    assert await desk.state(first) == "live"


async def test_where_nobody_serves_a_new_reference_needs_no_replacing(
    desk: Desk, upstream: Gated, other: Gated
) -> None:
    model = await a_model(desk)
    await desk.certify(await desk.a_draft(model, "a", upstream.base_url), as_reference=REASON)
    await desk.rows("UPDATE endpoints SET state = 'off'")
    second = await desk.a_draft(model, "b", other.base_url)
    assert (await desk.certify(second, as_reference="another one")).state is EndpointState.LIVE


async def test_replacing_takes_a_reason(desk: Desk, upstream: Gated) -> None:
    endpoint = await desk.a_draft(await a_model(desk), "a", upstream.base_url)
    record = await desk.record(endpoint)
    async with speaking(record.kind, upstream.base_url) as provider:
        with pytest.raises(InvalidRequest, match="as_reference"):
            await try_endpoint(desk.db, OPS, endpoint, record, provider, replace=True)


async def test_noise_is_of_the_reference_that_it_was_measured_against(desk: Desk) -> None:
    vectors = np.eye(3, dtype=np.float32)

    async def record(work: Work) -> Reference:
        await lock_space(work.connection, "s")
        await set_reference(work, "s", "p", vectors, "x", before=await find_reference(work.connection, "s", "p"))
        found = await find_reference(work.connection, "s", "p")
        assert found is not None
        return found

    async def measure(work: Work) -> None:
        await set_reference(work, "t", "p", vectors, "so that there is a change", before=None)
        await set_noise(work, old, Noise(1e-4, 1e-5))

    old = await transact(desk.db, OPS, record)
    new = await transact(desk.db, OPS, record)
    assert new.recorded_at > old.recorded_at
    await transact(desk.db, OPS, measure)
    assert [row.noise_worst for row in await desk.rows("SELECT noise_worst FROM space_references")] == [None, None]
