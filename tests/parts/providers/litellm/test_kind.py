"""Kind ``litellm``: vendors' own shapes served on loopback, spoken to by the real litellm over our own wire."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from typing import cast

import httpx
import numpy as np
import pytest

from providers.litellm import kind
from providers.litellm.egress import CURRENT, Channels, Egress, Transport
from providers.outcomes import (
    BadAnswer,
    Broken,
    CallerFault,
    ConnectFailed,
    CredentialRefused,
    Failure,
    ModelMissing,
    Overloaded,
    Throttled,
    TimedOut,
)
from providers.protocol import Attempt, Provider
from providers.wire import Pool
from tests.builders.providers import LOOPBACK, a_provider, build_provider
from tests.harness.fake_upstream import Reply, Upstream, unit_vector
from tests.harness.litellm_loading import loaded

COHERE = {"vendor": "cohere"}
TWO = Attempt("req_1", "up-model", texts=["one", "two"], asks_base64=False)
EXPECTED = np.array([unit_vector("one", 8), unit_vector("two", 8)], dtype=np.float32)


# In a process of its own: in this one another module's tests may have imported it before.
IMPORTED = """
from tests.harness.litellm_loading import loaded
with loaded() as places:
    assert not places, places
"""


@pytest.fixture(scope="module", autouse=True)
def litellm() -> Iterator[None]:
    with loaded():
        yield


def test_importing_litellm_connects_nowhere() -> None:
    subprocess.run([sys.executable, "-c", IMPORTED], check=True, timeout=120)


def a_bridge(
    upstream: Upstream, vendor: str, path: str = "/v1", **options: object
) -> AbstractAsyncContextManager[Provider]:
    base_url = upstream.base_url.removesuffix("/v1") + path
    return a_provider("litellm", base_url, credential="secret", options={"vendor": vendor, **options})


def cohere(vectors: list[list[float]], tokens: int = 2) -> Reply:
    billed = {"billed_units": {"input_tokens": tokens}}
    return Reply(
        body=json.dumps({"id": "x", "embeddings": {"float": vectors}, "texts": ["x"], "meta": billed}).encode()
    )


def test_an_openai_like_vendor_is_spoken_to_over_our_own_wire() -> None:
    async def scenario() -> None:
        async with Upstream(8) as upstream, a_bridge(upstream, "openai") as provider:
            for _ in range(3):
                vectors = await provider.embed(TWO, 30.0)
                assert np.array_equal(vectors.matrix, EXPECTED)
                assert vectors.tokens == 2
            assert upstream.connections == 1
            call = upstream.calls[0]
            assert call.headers["authorization"] == "Bearer secret"
            assert call.headers["user-agent"] == "gigarouter"
            assert call.json["model"] == "up-model"
            assert set(call.json) <= {"model", "input", "encoding_format"}

    asyncio.run(scenario())


def test_an_index_of_0_that_is_left_out_is_one_and_no_other() -> None:
    async def scenario() -> None:
        usage = {"prompt_tokens": 2, "total_tokens": 2}
        first, second = ({"object": "embedding", "embedding": row.tolist()} for row in EXPECTED)
        async with Upstream(8) as upstream, a_bridge(upstream, "openai") as provider:
            data = [first, {**second, "index": 1}]
            upstream.script.append(Reply(body=json.dumps({"data": data, "model": "m", "usage": usage}).encode()))
            assert np.array_equal((await provider.embed(TWO, 30.0)).matrix, EXPECTED)
            data = [first, second]
            upstream.script.append(Reply(body=json.dumps({"data": data, "model": "m", "usage": usage}).encode()))
            with pytest.raises(BadAnswer):
                await provider.embed(TWO, 30.0)

    asyncio.run(scenario())


def test_coheres_shape_is_translated_both_ways() -> None:
    async def scenario() -> None:
        words = {"query": "search_query", "document": "search_document"}
        async with (
            Upstream() as upstream,
            a_bridge(upstream, "cohere", "/v2/embed", input_types=words) as provider,
        ):
            upstream.script.append(cohere([[0.6, 0.8], [1.0, 0.0]], tokens=5))
            attempt = Attempt("r", "embed-v4.0", texts=["one", "two"], input_type="query", dimensions=2)
            vectors = await provider.embed(attempt, 30.0)
            assert np.array_equal(vectors.matrix, np.array([[0.6, 0.8], [1.0, 0.0]], dtype=np.float32))
            assert vectors.tokens == 5
            sent = upstream.calls[0].json
            assert sent["texts"] == ["one", "two"]
            assert sent["input_type"] == "search_query"
            assert "output_dimension" not in sent

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply(status=400), CallerFault),
        (Reply(status=401), CredentialRefused),
        (Reply(status=402), CredentialRefused),
        (Reply(status=403), Broken),
        (Reply(status=404), Broken),
        (Reply(status=404, body=b'{"error": {"code": "model_not_found"}}'), ModelMissing),
        (Reply(status=429, headers={"retry-after": "7"}), Throttled),
        (Reply(status=500), Broken),
        (Reply(status=503, headers={"retry-after": "7"}), Overloaded),
        (Reply(status=302, headers={"location": "/elsewhere"}), Broken),
        (Reply(reset=True), Broken),
        (Reply(raw=b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"), Broken),
        (Reply(body=b"<html></html>"), Broken),
        (Reply(body=b'{"data": [{"index": 0, "embedding": [1.0]}], "model": "m", "usage": {}}'), BadAnswer),
    ],
)
@pytest.mark.parametrize("vendor", ["openai", "cohere"])
def test_a_vendors_failure_is_ours_tried_once_and_told_without_its_words(
    vendor: str, reply: Reply, expected: type[Failure]
) -> None:
    async def scenario() -> None:
        async with Upstream() as upstream, a_bridge(upstream, vendor) as provider:
            upstream.script.append(reply)
            if vendor == "cohere" and expected is BadAnswer:
                upstream.script[0] = cohere([[1.0]])
            await kind.load()
            started = time.monotonic()
            with pytest.raises(expected) as caught:
                await provider.embed(TWO, 30.0)
            assert type(caught.value) is expected
            assert len(upstream.calls) == 1
            assert time.monotonic() - started < 6, "nobody waits the seven seconds"
            assert "scripted 4" not in caught.value.detail + caught.value.message
            if expected in (Throttled, Overloaded):
                assert caught.value.retry_after_s == 7

    asyncio.run(scenario())


def test_a_vendor_that_hangs_costs_the_deadline_and_no_more() -> None:
    async def scenario() -> None:
        async with Upstream() as upstream, a_bridge(upstream, "openai") as provider:
            await provider.embed(TWO, 30.0)
            upstream.script.append(Reply(delay_s=30))
            started = time.monotonic()
            with pytest.raises(TimedOut):
                await provider.embed(TWO, 0.3)
            assert time.monotonic() - started < 15, "not the 30 s that it hangs"
            await provider.embed(TWO, 30.0)

    asyncio.run(scenario())


def test_a_cancelled_call_stays_cancelled() -> None:
    async def scenario() -> None:
        async with Upstream() as upstream, a_bridge(upstream, "openai") as provider:
            await kind.load()
            upstream.script.append(Reply(delay_s=30))
            call = asyncio.ensure_future(provider.embed(TWO, 30.0))
            await upstream.wait_for_calls(1)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call

    asyncio.run(scenario())


def test_litellm_cannot_be_led_into_a_private_network() -> None:
    """Not even when a vendor's name resolves there, or litellm takes an address from elsewhere."""

    async def scenario() -> None:
        async def lookup(host: str, port: int) -> list[str]:
            return ["127.0.0.1"]

        pool = Pool(lookup=lookup)
        provider = build_provider("litellm", None, credential="secret", allowed=(), pool=pool, options=COHERE)
        with pytest.raises(ConnectFailed) as caught:
            await provider.embed(TWO, 30.0)
        assert "refused" in caught.value.detail

    asyncio.run(scenario())


def test_outside_of_a_call_litellm_connects_nowhere() -> None:
    async def scenario() -> None:
        loaded = await kind.load()
        async with Upstream() as upstream:
            with pytest.raises(loaded.errors):
                await loaded.aembedding(
                    model="m", input=["x"], custom_llm_provider="openai", api_base=upstream.base_url, api_key="x"
                )
            assert upstream.connections == 0

    asyncio.run(scenario())


def test_a_client_of_litellms_follows_no_redirect_and_tries_nothing_twice() -> None:
    async def scenario() -> None:
        async with Upstream() as upstream:
            upstream.script.append(Reply(status=307, headers={"location": "/v1/embeddings"}))
            egress = Egress(Channels(Pool(), LOOPBACK), asyncio.get_running_loop().time() + 5, 100_000)
            token = CURRENT.set(egress)
            transport = cast(httpx.AsyncBaseTransport, Transport(httpx.Response, time.time))
            async with httpx.AsyncClient(transport=transport, follow_redirects=True) as client:
                answer = await client.post(f"{upstream.base_url}/embeddings", content=b"{}")
                assert answer.status_code == 307
                with pytest.raises(Broken):
                    await client.post(f"{upstream.base_url}/embeddings", content=b"{}")
            CURRENT.reset(token)
            assert len(upstream.calls) == 1

    asyncio.run(scenario())


def test_a_vendor_that_litellm_does_not_know_is_told_to_ops() -> None:
    async def scenario() -> None:
        async with Upstream() as upstream, a_bridge(upstream, "no-such-vendor") as provider:
            with pytest.raises(ModelMissing):
                await provider.embed(TWO, 30.0)

    asyncio.run(scenario())
