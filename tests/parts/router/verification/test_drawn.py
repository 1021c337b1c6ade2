"""Impostors that are right for the published probes, in small batches, of short texts or one at a time are caught."""

from collections.abc import Iterator

import pytest
from typing_extensions import override

from providers.probing.drawn_texts import drawn_set, long_words, short_texts
from router.values import EndpointState
from router.verification.report import Occasion, SpaceVerdict
from tests.builders.spaces import SpaceLab
from tests.harness.fake_upstream import Received, Reply, Upstream, tokens_of
from tests.harness.impostors import IMPOSTORS, PUBLISHED, TOKENS, a_verified_space, lateness_of
from tests.harness.verified_upstreams import REASON, WIDTH, Impostor, NamedWorker, first_tokens, known_alone

pytestmark = pytest.mark.anyio


@pytest.fixture
def worker() -> Iterator[NamedWorker]:
    with NamedWorker(WIDTH).in_thread() as running:
        yield running


@pytest.mark.parametrize("name", IMPOSTORS)
async def test_an_impostor_never_goes_live_beside_a_worker(lab: SpaceLab, worker: NamedWorker, name: str) -> None:
    rewrite, step = IMPOSTORS[name]
    model = await a_verified_space(lab, worker)
    with Impostor(rewrite).in_thread() as upstream:
        upstream.always = Reply(delay_s=lateness_of(name))
        endpoint = await lab.a_draft(model, "impostor", upstream.base_url)
        report = await lab.verify(endpoint)
        assert (report.verdict, report.state) == (SpaceVerdict.ANOTHER_SPACE, EndpointState.QUARANTINED)
        assert step in report.reason, report.reason


async def test_an_honest_copy_does_and_is_asked_for_the_whole_range(lab: SpaceLab, worker: NamedWorker) -> None:
    model = await a_verified_space(lab, worker)
    with Impostor(lambda texts, _: texts).in_thread() as upstream:
        endpoint = await lab.a_draft(model, "honest", upstream.base_url)
        report = await lab.verify(endpoint)
        assert (report.reason, report.state) == ("", EndpointState.LIVE)
        inputs = [call.json["input"] for call in upstream.calls]
        texts = [text for batch in inputs if isinstance(batch, list) for text in batch]
        assert max(len(batch) for batch in inputs if isinstance(batch, list)) == 2048
        assert TOKENS - 3 <= max(tokens_of(text) + 2 for text in texts) <= TOKENS
        assert len([text for text in texts if text not in PUBLISHED]) > len(texts) / 2
        before = set(texts)
        assert (await lab.verify(endpoint, Occasion.PERIODIC)).passed
        again = [text for call in upstream.calls for text in call.json["input"]]  # type: ignore[attr-defined]
        new = {str(text) for text in again} - before
        assert len(new) > 2000, "texts are drawn anew each time"


@pytest.mark.parametrize(("times", "from_tokens"), [(3, 0), (2, 0), (3, 200)])
async def test_a_usage_that_is_not_our_count_keeps_it_from_going_live(
    lab: SpaceLab, worker: NamedWorker, times: int, from_tokens: int
) -> None:
    model = await a_verified_space(lab, worker)
    with Impostor(lambda texts, _: texts, times=times, from_tokens=from_tokens).in_thread() as upstream:
        endpoint = await lab.a_draft(model, "dear", upstream.base_url)
        report = await lab.verify(endpoint)
        assert report.state is EndpointState.QUARANTINED
        assert "our own count" in report.reason


@pytest.mark.parametrize("tokens", [TOKENS // 2, 200])
async def test_without_a_second_endpoint_a_text_that_is_cut_is_seen_all_the_same(lab: SpaceLab, tokens: int) -> None:
    model = await lab.a_model(max_input_tokens=TOKENS)
    with Impostor(first_tokens(tokens)).in_thread() as upstream:
        endpoint = await lab.a_draft(model, "cuts", upstream.base_url)
        report = await lab.verify(endpoint, as_reference=REASON)
        assert report.state is EndpointState.QUARANTINED
        assert "texts are cut" in report.reason


async def test_without_a_worker_a_certified_endpoint_says_what_is_right(lab: SpaceLab) -> None:
    model = await lab.a_model(max_input_tokens=TOKENS)
    with (
        Upstream(WIDTH).in_thread() as first,
        Impostor(known_alone(PUBLISHED)).in_thread() as second,
    ):
        assert (await lab.verify(await lab.a_draft(model, "first", first.base_url), as_reference=REASON)).passed
        report = await lab.verify(await lab.a_draft(model, "second", second.base_url))
        assert (report.verdict, "beside first" in report.reason) == (SpaceVerdict.ANOTHER_SPACE, True)


async def test_one_that_turns_after_its_test_is_found_by_the_next_few_probes(
    lab: SpaceLab, worker: NamedWorker
) -> None:
    model = await a_verified_space(lab, worker)
    with Impostor(known_alone(PUBLISHED)).in_thread() as upstream:
        upstream.is_honest = True
        endpoint = await lab.a_draft(model, "turns", upstream.base_url)
        assert (await lab.verify(endpoint)).state is EndpointState.LIVE
        upstream.is_honest = False
        report = await lab.verify(endpoint, Occasion.PERIODIC, canary_turn=3)
        assert report.state is EndpointState.QUARANTINED


async def test_a_worker_that_does_not_answer_is_held_against_nobody(lab: SpaceLab, worker: NamedWorker) -> None:
    model = await a_verified_space(lab, worker)
    with Impostor(lambda texts, _: texts).in_thread() as upstream:
        worker.always = Reply(status=500)
        report = await lab.verify(await lab.a_draft(model, "honest", upstream.base_url))
        assert (report.reason, report.state) == ("", EndpointState.LIVE)


async def test_one_that_refuses_texts_which_the_model_takes_is_told_so(lab: SpaceLab, worker: NamedWorker) -> None:
    class Short(Impostor):
        @override
        def _bytes(self, received: Received, reply: Reply) -> bytes:
            texts = received.json["input"]
            assert isinstance(texts, list)
            too_long = any(len(str(text).encode()) > 4 * (TOKENS - 20) for text in texts)
            return super()._bytes(received, Reply(status=400) if too_long else reply)

    model = await a_verified_space(lab, worker)
    with Short(lambda texts, _: texts).in_thread() as upstream:
        report = await lab.verify(await lab.a_draft(model, "short", upstream.base_url))
        assert f"and the model takes {TOKENS}" in report.reason


def test_the_same_seed_draws_the_same_and_another_seed_another() -> None:
    assert drawn_set(b"a") == drawn_set(b"a")
    assert not {one.text for one in drawn_set(b"a").probes} & {one.text for one in drawn_set(b"b").probes}
    assert len({one.text for one in short_texts(b"a", 2048).probes}) == 2048
    assert long_words(b"a", 100) != long_words(b"b", 100)
