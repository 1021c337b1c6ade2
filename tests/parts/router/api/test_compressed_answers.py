"""Answers come compressed where a client takes that and it is worth it; nobody else notices."""

import asyncio
import gzip
import json
import time
from typing import Any

import httpx
import numpy as np
import pytest
import zstandard

from router.api.accept import preferred_coding
from router.api.exchange import EXCHANGE, Exchange, Receive, Scope, Send
from router.api.server.compressed_answer import BYTES_MIN, INLINE_BYTES_MAX
from tests.harness.edge_server import Answer, guarded
from tests.harness.served_api import ServedApi

pytestmark = pytest.mark.anyio

LARGE = [str(n) for n in range(600)]


def _plain(answer: Answer) -> bytes:
    match answer.headers.get("content-encoding"):
        case None:
            return answer.body
        case "gzip":
            return gzip.decompress(answer.body)
        case "zstd":
            return zstandard.ZstdDecompressor().decompressobj().decompress(answer.body)
        case other:
            raise AssertionError(other)


@pytest.mark.parametrize(
    ("accept", "coding"),
    [
        ("gzip", "gzip"),
        ("GZIP", "gzip"),
        ("x-gzip", "gzip"),
        ("zstd", "zstd"),
        ("gzip, deflate", "gzip"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip;q=1.0, zstd;q=0.5", "gzip"),
        ("gzip; q=0.2 , ZSTD ;Q=0.9", "zstd"),
        ("gzip;q=0", None),
        ("gzip;q=0.000, zstd;q=0", None),
        ("gzip;q=0, *", None),
        ("*", "gzip"),
        ("*;q=0", None),
        ("identity", None),
        ("identity, gzip;q=0.5", None),
        ("identity;q=0.5, gzip;q=1", "gzip"),
        ("identity;q=0, gzip", "gzip"),
        ("identity;q=0", None),
        ("br", None),
        ("deflate", None),
        ("gzip;q=nan", None),
        ("gzip;q=2", None),
        ("gzip;q=-1", None),
        ("gzip;q=", None),
        ("", None),
        (", ,", None),
        ("gzip" + "," * 300, None),
    ],
)
async def test_the_coding_is_the_one_that_the_client_likes_best(
    api: ServedApi, accept: str, coding: str | None
) -> None:
    assert preferred_coding(accept.encode()) == coding
    answer = await api.raw("GET", "/openapi.json", b"accept-encoding: " + accept.encode())
    assert answer.headers.get("content-encoding") == coding
    assert _plain(answer) == (await api.raw("GET", "/openapi.json")).body
    assert "accept-encoding" in answer.headers["vary"]


async def test_two_lines_are_one_list(api: ServedApi) -> None:
    lines = [b"accept-encoding: br", b"accept-encoding: gzip"]
    assert (await api.raw("GET", "/openapi.json", *lines)).headers["content-encoding"] == "gzip"


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
@pytest.mark.parametrize("encoding_format", ["float", "base64"])
async def test_vectors_are_the_same_compressed(api: ServedApi, coding: str, encoding_format: str) -> None:
    """A single piece, and, of more than 64 Ki floats, a stream of them."""
    for inputs in (LARGE, [str(n) for n in range(2048)]):
        headers = [api.bearer, b"idempotency-key: same-%d-%b" % (len(inputs), encoding_format.encode())]
        body: dict[str, Any] = {"input": inputs, "encoding_format": encoding_format}
        plain = await api.embed(*headers, **body)
        packed = await api.embed(*headers, b"accept-encoding: " + coding.encode(), **body)
        assert (plain.status, packed.status, packed.headers["content-encoding"]) == (200, 200, coding)
        assert "content-encoding" not in plain.headers
        assert _plain(packed) == plain.body
        assert len(packed.body) < 0.9 * len(plain.body)


async def test_a_small_answer_is_not_compressed_nor_an_error(api: ServedApi) -> None:
    accept = b"accept-encoding: gzip, zstd"
    for answer in (
        await api.embed(api.bearer, accept),
        await api.embed(accept),
        await api.raw("GET", "/health", accept),
        await api.raw("OPTIONS", "/health", accept),
    ):
        assert "content-encoding" not in answer.headers


async def test_head_says_what_get_would(api: ServedApi) -> None:
    accept = b"accept-encoding: gzip"
    get = await api.raw("GET", "/openapi.json", accept)
    head = await api.raw("HEAD", "/openapi.json", accept)
    assert head.body == b""
    for name in ("content-encoding", "content-length", "vary"):
        assert head.headers[name] == get.headers[name]


async def test_a_client_of_http_1_0_gets_it_with_its_length(api: ServedApi) -> None:
    async with api.server.peer() as peer:
        body = json.dumps({"model": api.model, "input": [str(n) for n in range(2048)]}).encode()
        lines = [
            b"POST /v1/embeddings HTTP/1.0",
            api.bearer,
            b"accept-encoding: gzip",
            b"content-length: %d" % len(body),
        ]
        await peer.send(b"\r\n".join([*lines, b"", body]))
        answer = await peer.answer()
        assert answer.headers["content-encoding"] == "gzip"
        assert len(json.loads(_plain(answer))["data"]) == 2048


async def test_known_clients_read_it(api: ServedApi) -> None:
    """httpx, on which OpenAI's client stands, asks for gzip by itself, and for zstd where it can."""
    headers = {"authorization": f"Bearer {api.key}", "accept-encoding": "gzip, deflate, zstd"}
    answer = await api.client.post("/v1/embeddings", json={"model": api.model, "input": LARGE}, headers=headers)
    assert answer.headers["content-encoding"] == "zstd"
    assert len(answer.json()["data"]) == len(LARGE)


async def test_an_answer_with_a_secret_in_it_is_never_compressed(api: ServedApi) -> None:
    """However long it is: a compressed length tells what the secret has in common with its surroundings."""
    headers = [b"authorization: Bearer " + api.operator.encode(), b"accept-encoding: gzip, zstd"]
    account = await api.raw("POST", "/admin/v1/accounts", *headers, body={"name": "Secret"})
    body = {"account": json.loads(account.body)["id"], "name": "k" * 100, "models": [api.model]}
    made = await api.raw("POST", "/admin/v1/keys", *headers, b"idempotency-key: secret-1", body=body)
    again = await api.raw("POST", "/admin/v1/keys", *headers, b"idempotency-key: secret-1", body=body)
    assert (made.status, again.status) == (201, 201), made.body
    assert [exchange.holds_secret for exchange in api.server.exchanges[-3:]] == [False, True, True]
    for answer in (account, made, again):
        assert "content-encoding" not in answer.headers
    document = await api.raw("GET", "/admin/openapi.json", *headers)
    assert document.headers["content-encoding"] == "zstd"


@pytest.mark.parametrize(
    ("headers", "holds_secret", "size", "is_compressed"),
    [
        ([(b"content-type", b"application/json")], False, BYTES_MIN, True),
        ([(b"content-type", b"application/json")], False, BYTES_MIN - 1, False),
        ([(b"content-type", b"application/json")], False, INLINE_BYTES_MAX + 1, True),
        ([(b"content-type", b"text/csv; charset=utf-8")], False, 5000, True),
        ([(b"content-type", b"image/png")], False, 5000, False),
        ([], False, 5000, False),
        ([(b"content-type", b"application/json")], True, 50_000, False),
        ([(b"content-type", b"application/json"), (b"etag", b'"1"')], False, 5000, False),
        ([(b"content-type", b"application/json"), (b"content-encoding", b"br")], False, 5000, False),
    ],
)
async def test_what_is_compressed_at_all(
    headers: list[tuple[bytes, bytes]], holds_secret: bool, size: int, is_compressed: bool
) -> None:
    body = b"x" * size

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        exchange: Exchange = scope[EXCHANGE]
        exchange.holds_secret = holds_secret
        head = [*headers, (b"content-length", b"%d" % size)]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": body})

    async with guarded(app) as server:
        answer = await server.ask(b"GET / HTTP/1.1\r\nhost: a\r\naccept-encoding: gzip\r\n\r\n")
    assert (answer.headers.get("content-encoding") == "gzip") == is_compressed
    assert not is_compressed or gzip.decompress(answer.body) == body


async def test_a_large_answer_is_compressed_beside_the_event_loop() -> None:
    """Or one customer's answer would hold up all others for as long."""
    noise = np.random.default_rng(7).integers(32, 96, 24_000_000, dtype=np.uint8).tobytes()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        head = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(noise))]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": noise})

    async with guarded(app) as server:
        began = last = time.monotonic()
        longest = 0.0
        asking = asyncio.ensure_future(server.ask(b"HEAD / HTTP/1.1\r\nhost: a\r\naccept-encoding: gzip\r\n\r\n"))
        while not server.exchanges:
            await asyncio.sleep(0.001)
            now = time.monotonic()
            longest, last = max(longest, now - last), now
        took = time.monotonic() - began
        asking.cancel()
    assert took > 0.2, "too little to tell"
    assert longest < took / 3


async def test_a_client_that_leaves_while_a_large_answer_is_compressed_hurts_nobody(api: ServedApi) -> None:
    body = json.dumps({"model": api.model, "input": [str(n) for n in range(2048)]}).encode()
    head = [b"POST /v1/embeddings HTTP/1.1", b"host: a", api.bearer, b"accept-encoding: gzip"]
    for _ in range(5):
        async with api.server.peer() as peer:
            await peer.send(b"\r\n".join([*head, b"content-length: %d" % len(body), b"", body]))
    answer = await api.embed(api.bearer, b"accept-encoding: gzip", input=LARGE)
    assert answer.status == 200
    async with httpx.AsyncClient(base_url=api.client.base_url) as client:
        assert (await client.get("/health")).status_code == 200
