"""Kind ``openai`` against a real server on loopback: right vectors out, wrong answers refused, nothing extra sent."""

import asyncio
import base64
import json
import struct
import time
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any

import numpy as np
import pytest

from providers.outcomes import BadAnswer, Broken, CallerFault, CredentialRefused, Failure, Throttled
from providers.protocol import Attempt, Provider, Vectors
from tests.builders.providers import a_provider
from tests.builders.values import an_attempt
from tests.harness.event_loops import Run
from tests.harness.fake_upstream import Reply, Upstream, as_base64, unit_vector


def a_keyed_provider(upstream: Upstream, **options: object) -> AbstractAsyncContextManager[Provider]:
    return a_provider("openai", upstream.base_url, credential="secret", options=options)


def answered(data: object, **more: object) -> Reply:
    usage = {"prompt_tokens": 2, "total_tokens": 2}
    return Reply(body=json.dumps({"object": "list", "data": data, "model": "m", "usage": usage, **more}).encode())


def item(index: object, embedding: object) -> dict[str, object]:
    return {"object": "embedding", "index": index, "embedding": embedding}


@pytest.mark.parametrize("asks_base64", [True, False])
def test_vectors_come_back_exactly_in_the_order_of_the_inputs(asks_base64: bool, run: Run) -> None:
    async def scenario() -> None:
        async with Upstream(16) as upstream, a_keyed_provider(upstream) as provider:
            vectors = await provider.embed(an_attempt("one", "two", "three", asks_base64=asks_base64), 5.0)
            expected = np.array([unit_vector(text, 16) for text in ("one", "two", "three")], dtype=np.float32)
            assert vectors.matrix.dtype == np.float32
            assert np.array_equal(vectors.matrix, expected)
            assert vectors.tokens == 4
            assert not vectors.exact

    run(scenario())


def test_only_what_is_allowed_goes_upstream(run: Run) -> None:
    async def scenario() -> None:
        async with Upstream() as upstream, a_keyed_provider(upstream) as provider:
            await provider.embed(an_attempt("hello"), 5.0)
            await provider.embed(an_attempt("hello", prefix="query: ", dimensions=4, asks_base64=False), 5.0)
            await provider.embed(Attempt("r", "m", token_ids=[[1, 2], [3]], input_type="query"), 5.0)
            bodies = [call.json for call in upstream.calls]
            assert bodies == [
                {"model": "up-model", "input": ["hello"], "encoding_format": "base64"},
                {"model": "up-model", "input": ["query: hello"]},
                {"model": "m", "input": [[1, 2], [3]], "encoding_format": "base64", "input_type": "query"},
            ]
            assert upstream.calls[0].headers["authorization"] == "Bearer secret"
            assert "req_1" not in str(upstream.calls[0])

    run(scenario())


def test_a_servers_own_words_are_used_where_an_operator_told_them(run: Run) -> None:
    async def scenario() -> None:
        options = {
            "path": "/embed",
            "credential_header": "api-key",
            "input_type_field": "task",
            "input_types": {"query": "retrieval.query"},
        }
        async with Upstream() as upstream, a_keyed_provider(upstream, **options) as provider:
            await provider.embed(an_attempt("x", input_type="query", asks_base64=False), 5.0)
            call = upstream.calls[0]
            assert call.path == "/v1/embed"
            assert call.headers["api-key"] == "secret"
            assert "authorization" not in call.headers
            assert call.json == {"model": "up-model", "input": ["x"], "task": "retrieval.query"}

    run(scenario())


def test_a_prompt_is_never_left_out_of_token_ids(run: Run) -> None:
    async def scenario() -> None:
        async with Upstream() as upstream, a_keyed_provider(upstream) as provider:
            with pytest.raises(CallerFault, match="send text"):
                await provider.embed(Attempt("r", "m", token_ids=[[1]], prefix="query: "), 5.0)
            assert not upstream.calls

    run(scenario())


A, B = [0.6, 0.8], [1.0, 0.0]
A64, B64 = as_base64(A), as_base64(B)


@pytest.mark.parametrize(
    "data",
    [
        [item(0, A64), item(1, B64)],
        [item(1, B64), item(0, A64)],
        [item(1, B), item(0, A64)],
        [item(0, A), item(1, [1, 0])],
        [item(0, A64.replace("/", "\\/")), item(1, B64)],
        # By protobuf's rules a zero is left out, as Google's server does.
        [{"embedding": A64}, item(1, B64)],
        [{"embedding": A}, item(1, B)],
    ],
)
def test_any_order_and_either_encoding_is_understood_whatever_was_asked(data: object, run: Run) -> None:
    async def scenario() -> None:
        async with Upstream() as upstream, a_keyed_provider(upstream) as provider:
            upstream.script.append(answered(data))
            vectors = await provider.embed(an_attempt("a", "b"), 5.0)
            assert np.array_equal(vectors.matrix, np.array([A, B], dtype=np.float32))

    run(scenario())


BAD_DATA = {
    "nothing": [],
    "one for two": [item(0, A64)],
    "three for two": [item(0, A64), item(1, B64), item(2, B64)],
    "an index twice": [item(0, A64), item(0, B64)],
    "an index that is none": [item(0, A64), item("1", B64)],
    "an index beyond": [item(0, A64), item(2, B64)],
    "a negative index": [item(0, A64), item(-1, B64)],
    "a fractional index": [item(0, A64), item(0.5, B64)],
    "a missing index": [item(0, A64), {"embedding": B64}],
    "no index at all": [{"embedding": A64}, {"embedding": B64}],
    "a missing index behind another": [item(1, B64), {"embedding": A64}],
    "a gap behind a missing index": [{"embedding": A64}, item(2, B64)],
    "the index of 0 behind a missing one": [{"embedding": A64}, item(0, B64)],
    "an index of null where it may be missing": [item(None, A64), item(1, B64)],
    "an index of null": [item(None, A64), item(None, B64)],
    "a missing vector": [item(0, A64), {"index": 1}],
    "two widths": [item(0, A64), item(1, [1.0, 0.0, 0.0])],
    "an empty vector": [item(0, A64), item(1, [])],
    "an empty text": [item(0, A64), item(1, "")],
    "both empty": [item(0, []), item(1, [])],
    "a null vector": [item(0, A64), item(1, None)],
    "a null number": [item(0, A64), item(1, [None, 1.0])],
    "texts for numbers": [item(0, A64), item(1, ["1.0", "0.0"])],
    "booleans for numbers": [item(0, A64), item(1, [True, False])],
    "nested vectors": [item(0, A64), item(1, [[1.0, 0.0]])],
    "an object for a vector": [item(0, A64), item(1, {"float": B})],
    "base64 of three bytes": [item(0, A64), item(1, base64.b64encode(b"abc").decode())],
    "base64 of a broken number": [item(0, A64), item(1, base64.b64encode(b"abcdefg").decode())],
    "no base64 at all": [item(0, A64), item(1, "not*base64")],
    "base64 cut short": [item(0, A64), item(1, B64[:-1])],
    "not objects": [A64, B64],
    "an object": {"0": A64, "1": B64},
    "a text": "data",
    "nothing said": None,
}


@pytest.mark.parametrize("fault", BAD_DATA)
def test_wrong_vectors_are_refused_all_together(fault: str, run: Run) -> None:
    async def scenario() -> None:
        async with Upstream() as upstream, a_keyed_provider(upstream) as provider:
            upstream.script.append(answered(BAD_DATA[fault]))
            with pytest.raises(BadAnswer):
                await provider.embed(an_attempt("a", "b"), 5.0)

    run(scenario())


@pytest.mark.parametrize(
    "number", ["NaN", "Infinity", "-Infinity", "nan", "1e999", "0x1", "01", "1.", ".5", "+1", "--1"]
)
def test_what_is_no_json_number_is_refused(number: str, run: Run) -> None:
    async def scenario() -> None:
        async with Upstream() as upstream, a_keyed_provider(upstream) as provider:
            body = f'{{"data": [{{"index": 0, "embedding": [1.0, {number}]}}]}}'
            upstream.script.append(Reply(body=body.encode()))
            with pytest.raises((BadAnswer, Broken)):
                await provider.embed(an_attempt("a"), 5.0)

    run(scenario())


def test_a_number_beyond_float32_arrives_as_infinite_for_the_check_that_follows(run: Run) -> None:
    async def scenario() -> None:
        async with Upstream() as upstream, a_keyed_provider(upstream) as provider:
            upstream.script.append(answered([item(0, [1e39, 1.0])]))
            assert not np.isfinite((await provider.embed(an_attempt("a"), 5.0)).matrix).all()

    run(scenario())


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"prompt_tokens": 7, "total_tokens": 7}, 7),
        ({"total_tokens": 7}, 7),
        ({"prompt_tokens": 0, "total_tokens": 0}, 0),
        ({}, None),
        (None, None),
        ({"prompt_tokens": None, "total_tokens": None}, None),
        ({"prompt_tokens": 10**12}, 10**12),
    ],
)
def test_usage_is_what_the_provider_said_or_nothing(usage: object, tokens: int | None, run: Run) -> None:
    async def scenario() -> None:
        async with Upstream() as upstream, a_keyed_provider(upstream) as provider:
            upstream.script.append(answered([item(0, A64)], usage=usage))
            assert (await provider.embed(an_attempt("a"), 5.0)).tokens == tokens

    run(scenario())


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": -1},
        {"total_tokens": -5},
        {"prompt_tokens": 1.5},
        {"prompt_tokens": "7"},
        {"prompt_tokens": True},
        {"prompt_tokens": 10**30},
        {"prompt_tokens": [7]},
        "7",
        7,
        [7],
    ],
)
def test_an_absurd_usage_spoils_the_answer(usage: object, run: Run) -> None:
    async def scenario() -> None:
        async with Upstream() as upstream, a_keyed_provider(upstream) as provider:
            upstream.script.append(answered([item(0, A64)], usage=usage))
            with pytest.raises(BadAnswer):
                await provider.embed(an_attempt("a"), 5.0)

    run(scenario())


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply(status=200, body=b'{"error": {"code": 429, "message": "x"}}'), Throttled),
        (Reply(status=200, body=b'{"error": {"message": "x"}, "data": []}'), Broken),
        (Reply(status=200, body=b""), Broken),
        (Reply(status=200, body=b"<html>ok</html>", headers={"content-type": "text/html"}), Broken),
        (Reply(status=200, body=b'{"data": [{"index": 0, "embedding": [1.0'), Broken),
        (Reply(status=200, body=b"[" * 50_000), BadAnswer),
        (Reply(status=200, body=b'{"x": ' + b'{"x":' * 20_000), Broken),
        (Reply(status=200, body=b'{"data": "\xff\xfe"}'), BadAnswer),
        (Reply(status=302, headers={"location": "http://169.254.169.254/"}), Broken),
        (Reply(status=401), CredentialRefused),
        (Reply(status=400), CallerFault),
        (Reply(status=429, headers={"retry-after": "3"}), Throttled),
        (Reply(status=500), Broken),
    ],
)
def test_everything_else_is_the_failure_that_it_is(reply: Reply, expected: type[Failure], run: Run) -> None:
    async def scenario() -> None:
        async with Upstream() as upstream, a_keyed_provider(upstream) as provider:
            upstream.script.append(reply)
            with pytest.raises(expected) as caught:
                await provider.embed(an_attempt("a"), 5.0)
            assert type(caught.value) is expected
            assert "secret" not in caught.value.detail
            if expected is Throttled and reply.headers:
                assert caught.value.retry_after_s == 3

    run(scenario())


def big_answer(count: int, width: int, form: str) -> bytes:
    numbers = "[" + ", ".join(["-0.01234567891234567"] * width) + "]"
    embedding = numbers if form == "float" else json.dumps(base64.b64encode(struct.pack("<f", 0.5) * width).decode())
    rows = ", ".join(
        f'{{"object": "embedding", "embedding": {embedding}, "index": {n}}}' for n in reversed(range(count))
    )
    return f'{{"object": "list", "data": [{rows}], "usage": {{"prompt_tokens": 3, "total_tokens": 3}}}}'.encode()


@pytest.mark.parametrize(("form", "count", "width"), [("float", 2048, 1024), ("base64", 2048, 3072)])
def test_the_largest_answers_do_not_hold_up_the_event_loop(form: str, count: int, width: int, run: Run) -> None:
    async def scenario() -> None:
        body = big_answer(count, width, form)
        with Upstream().in_thread() as upstream:
            async with a_keyed_provider(upstream) as provider:
                stalls_s = []
                for _ in range(3):
                    upstream.script.append(Reply(body=body))
                    before = time.thread_time()
                    stall_s, vectors = await longest_stall(provider.embed(an_attempt(*["x"] * count), 30.0))
                    assert vectors.matrix.shape == (count, width)
                    assert vectors.tokens == 3
                    # On a machine so busy that everything takes thrice as long, a third of the whole is as good.
                    stalls_s.append(stall_s - max(0.0, (time.thread_time() - before) / 3 - 0.05))
                assert min(stalls_s) < 0.05

    run(scenario())


async def longest_stall(work: Coroutine[Any, Any, Vectors]) -> tuple[float, Vectors]:
    """The most CPU seconds that this thread spent between two turns of the loop while ``work`` ran."""
    longest = 0.0
    running = asyncio.ensure_future(work)
    while not running.done():
        before = time.thread_time()
        await asyncio.sleep(0)
        longest = max(longest, time.thread_time() - before)
    return longest, await running


def test_a_large_answer_that_plays_tricks_with_its_arrays_fails(run: Run) -> None:
    async def scenario() -> None:
        filler = [0.01234567891234567] * 60_000
        tricks = [
            [item(0, filler), item(1, 0)],
            [item(0, filler), item(1, 1)],
            [item(0, filler), {"index": 1, "embedding": {"embedding": [1.0]}}],
            [item(0, filler), {"index": 1, "embedding": [[1.0]]}],
            [item(0, filler), {"index": 1, 'x"embedding': [1.0]}],
            [item(0, filler), item(1, filler[:-1])],
            [item(0, filler), item(0, filler)],
        ]
        async with Upstream() as upstream, a_keyed_provider(upstream) as provider:
            for data in tricks:
                upstream.script.append(answered(data))
                with pytest.raises((BadAnswer, Broken)):
                    await provider.embed(an_attempt("a", "b"), 5.0)
            body = big_answer(2, 40_000, "float")
            for cut in (len(body) // 2, len(body) - 1, len(body) - 60):
                upstream.script.append(Reply(body=body[:cut]))
                with pytest.raises((BadAnswer, Broken)):
                    await provider.embed(an_attempt("a", "b"), 5.0)

    run(scenario())
