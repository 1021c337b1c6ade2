"""Kind ``worker`` against a server that speaks our worker's wire, honestly and not."""

import asyncio
import contextlib
import json
import struct
from collections.abc import AsyncIterator

import msgspec
import numpy as np
import pytest

from providers.outcomes import (
    BadAnswer,
    Broken,
    CallerFault,
    ConnectFailed,
    Failure,
    Overloaded,
    Warming,
)
from providers.protocol import Attempt, Provider
from providers.wire import Pool, networks
from providers.worker.server.loading import BODY
from providers.worker_client.kind import WorkerProvider
from tests.builders.providers import a_provider
from tests.harness.event_loops import Run
from tests.harness.fake_upstream import Reply, Upstream, unit_vector

MATRIX = np.array([[0.6, 0.8], [1.0, 0.0]], dtype="<f4")
HEADER = {"rows": 2, "dimensions": 2, "tokens": [3, 4], "truncated": [False, False], "space": "s1", "model": "m"}


@contextlib.asynccontextmanager
async def a_workers_provider(credential: str | None = None) -> AsyncIterator[tuple[Upstream, Provider]]:
    async with (
        Upstream() as upstream,
        a_provider("worker", upstream.worker_url, credential=credential, options={"lane": "batch"}) as provider,
    ):
        yield upstream, provider


def an_answer(body: bytes = MATRIX.tobytes(), **changes: object) -> Reply:
    header = msgspec.msgpack.encode({**HEADER, **changes})
    return Reply(body=struct.pack("<I", len(header)) + header + body)


AN_ATTEMPT = Attempt("req_1", "m", texts=["a", "b"], prefix="query: ", dimensions=2)


def test_raw_vectors_exact_tokens_and_the_space_come_back(run: Run) -> None:
    async def scenario() -> None:
        async with a_workers_provider("token") as (upstream, provider):
            upstream.script.append(an_answer())
            vectors = await provider.embed(AN_ATTEMPT, 5.0)
            assert np.array_equal(vectors.matrix, MATRIX)
            assert vectors.matrix.dtype == np.float32
            assert (vectors.tokens, vectors.exact, vectors.space) == (7, True, "s1")
            call = upstream.calls[0]
            assert (call.path, call.headers["authorization"]) == ("/embed", "Bearer token")
            assert msgspec.msgpack.decode(call.body) == {
                "request_id": "req_1",
                "texts": ["a", "b"],
                "token_ids": None,
                "prefix": "query: ",
                "truncate": False,
                "lane": "batch",
            }

    run(scenario())


def test_an_honest_worker_is_understood_for_texts_and_for_token_ids(run: Run) -> None:
    async def scenario() -> None:
        async with a_workers_provider() as (_, provider):
            texts = Attempt("r", "m", texts=["a", "bcdef"], prefix="q: ")
            vectors = await provider.embed(texts, 5.0)
            assert np.array_equal(vectors.matrix, np.array([unit_vector(t, 8) for t in ("q: a", "q: bcdef")], "f4"))
            assert vectors.tokens == await provider.count(texts, 5.0) == 7
            assert (await provider.embed(Attempt("r", "m", token_ids=[[1, 2], [3]]), 5.0)).tokens == 7

    run(scenario())


def test_the_count_is_the_sum_over_the_inputs(run: Run) -> None:
    async def scenario() -> None:
        async with a_workers_provider() as (upstream, provider):
            upstream.script.append(Reply(body=msgspec.msgpack.encode({"tokens": [3, 4]})))
            assert await provider.count(AN_ATTEMPT, 5.0) == 7
            assert upstream.calls[0].path == "/count"
            for wrong in ({"tokens": [3]}, {"tokens": [3, -4]}):
                upstream.script.append(Reply(body=msgspec.msgpack.encode(wrong)))
                with pytest.raises(BadAnswer):
                    await provider.count(AN_ATTEMPT, 5.0)
            upstream.script.append(Reply(body=b"\xc1"))
            with pytest.raises(Broken):
                await provider.count(AN_ATTEMPT, 5.0)

    run(scenario())


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (an_answer(rows=1), BadAnswer),
        (an_answer(dimensions=0), BadAnswer),
        (an_answer(dimensions=-2), BadAnswer),
        (an_answer(dimensions=3), BadAnswer),
        (an_answer(MATRIX.tobytes()[:-1]), BadAnswer),
        (an_answer(MATRIX.tobytes() + b"\0"), BadAnswer),
        (an_answer(b""), BadAnswer),
        (an_answer(tokens=[3]), BadAnswer),
        (an_answer(tokens=[3, -1]), BadAnswer),
        (an_answer(truncated=[False, True]), BadAnswer),
        (an_answer(tokens=["3", "4"]), Broken),
        (an_answer(space=None), Broken),
        (Reply(body=b""), Broken),
        (Reply(body=b"\x01"), Broken),
        (Reply(body=struct.pack("<I", 2**32 - 1) + b"x"), Broken),
        (Reply(body=struct.pack("<I", 4) + b"\xc1\xc1\xc1\xc1"), Broken),
        (Reply(body=b"<html></html>"), Broken),
        (Reply(status=500), Broken),
        (Reply(status=503, headers={"retry-after": "2"}), Overloaded),
        (Reply(status=503, headers={"retry-after": "2"}, body=BODY), Warming),
        # Ray's own server, before it knows of the worker.
        (Reply(status=404, body=b"Path '/embed' not found. Ping http://.../-/routes for available routes."), Warming),
        (Reply(status=404), Broken),
        (Reply(status=400), CallerFault),
    ],
)
def test_a_wrong_answer_is_the_failure_that_it_is(reply: Reply, expected: type[Failure], run: Run) -> None:
    async def scenario() -> None:
        async with a_workers_provider() as (upstream, provider):
            upstream.script.append(reply)
            with pytest.raises(expected) as caught:
                await provider.embed(AN_ATTEMPT, 5.0)
            assert type(caught.value) is expected
            if expected is Overloaded:
                assert caught.value.retry_after_s == 2

    run(scenario())


def test_the_customer_reads_which_input_is_too_long_and_by_how_much() -> None:
    async def scenario() -> None:
        error = {
            "message": "internal words",
            "type": "invalid_request_error",
            "code": "input_too_long",
            "param": "input",
            "details": {"index": 1, "tokens": 9000, "limit": 8192},
        }
        async with a_workers_provider() as (upstream, provider):
            upstream.script.append(Reply(status=400, body=json.dumps({"error": error}).encode()))
            with pytest.raises(CallerFault) as caught:
                await provider.embed(AN_ATTEMPT, 5.0)
            assert caught.value.message == "Input 1 has 9000 tokens; this model takes at most 8192."

    asyncio.run(scenario())


@pytest.mark.parametrize("url", ["https://8.8.8.8/w", "https://worker.example/w"])
def test_a_worker_at_a_public_address_is_not_asked_who_it_is(run: Run, url: str) -> None:
    async def lookup(_host: str, _port: int) -> list[str]:
        return ["8.8.8.8"]

    async def story() -> None:
        pool, allowed = Pool(lookup=lookup), networks(["10.0.0.0/8"])
        async with a_provider("worker", url, allowed=allowed, pool=pool) as worker:
            assert isinstance(worker, WorkerProvider)
            with pytest.raises(ConnectFailed) as refused:
                await worker.identity(5)
            assert "only inside allowed networks" in refused.value.detail

    run(story())
