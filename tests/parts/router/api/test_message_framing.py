"""What two servers on one way could read as two different requests is refused (RFC 9112); bodies stay bounded."""

import asyncio

import psutil
import pytest

from router.api.exchange import Message, deliver
from router.api.server.guard import ARRIVING_BYTES_MAX, Guard
from router.api.server.protocol import CHUNK_FRAMING_BYTES, FRAMING_BYTES_MAX, BoundedProtocol
from router.values import Answer
from store.clock import Clock
from tests.harness.crowd import crowd
from tests.harness.edge_server import echo, guarded, listening, post

pytestmark = pytest.mark.anyio

CHUNKED = b"transfer-encoding: chunked"
MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "Host"),
        (b"GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n", "Host"),
        (b"GET / HTTP/1.1\r\nhost: a\r\nHOST: b\r\n\r\n", "Host"),
        (b"GET / HTTP/1.0\r\nhost: a\r\nhost: b\r\n\r\n", "Host"),
        (b"GET / HTTP/1.1\r\nhost: a, b\r\n\r\n", "Host"),
        (b"GET / HTTP/1.1\r\nhost: a b\r\n\r\n", "Host"),
        (b"GET / HTTP/1.1\r\nhost: user@a\r\n\r\n", "Host"),
        (b"GET / HTTP/1.1\r\nhost: a/b\r\n\r\n", "Host"),
        (b"GET / HTTP/1.1\r\nhost: a:80:90\r\n\r\n", "Host"),
        (b"GET http://a/ HTTP/1.1\r\n\r\n", "Host"),
        (b"GET / HTTP/2.0\r\nhost: a\r\n\r\n", "version"),
        (b"GET / HTTP/0.9\r\nhost: a\r\n\r\n", "version"),
        (b"GET / HTTP/1.2\r\nhost: a\r\n\r\n", "HTTP"),
        (b"GET / HTTP/3.0\r\nhost: a\r\n\r\n", "HTTP"),
        (b"GET / HTTP/11.1\r\nhost: a\r\n\r\n", "HTTP"),
        (b"GET /\r\nhost: a\r\n\r\n", "HTTP"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP"),
        (b"GET / HTTP/2.0\r\nhost: a\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n", "version"),
        (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "chunked"),
        (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n", "HTTP"),
        (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n", ""),
        (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n" + CHUNKED + b"\r\n\r\n0\r\n\r\n", ""),
        (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n" + CHUNKED + b"\r\n\r\n0\r\n\r\n", ""),
        (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: identity\r\n\r\n", "chunked"),
        (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: identity, chunked\r\n\r\n0\r\n\r\n", "chunked"),
        (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n", ""),
        (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding:\r\n\r\n", ""),
        (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked;q=1\r\n\r\n0\r\n\r\n", ""),
        (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: \x0bchunked\r\n\r\n0\r\n\r\n", ""),
        (b"POST / HTTP/1.0\r\nhost: a\r\n" + CHUNKED + b"\r\n\r\n0\r\n\r\n", "chunked"),
    ],
)
async def test_a_head_that_rfc_9112_does_not_allow_is_400_and_the_end(head: bytes, words: str) -> None:
    async with guarded() as server, server.peer() as peer:
        await peer.send(head + b"GET /second HTTP/1.1\r\nhost: a\r\n\r\n")
        answer = await peer.answer()
        assert (answer.status, answer.error["code"]) == (400, "invalid_request")
        assert words in answer.error["message"]
        assert await peer.is_closed()
        assert server.exchanges == []


@pytest.mark.parametrize(
    "host", ["a", "api.example.com:443", "[::1]:8080", "a_b", "xn--bcher-kva.example", "10.0.0.1", "a:", "", " \ta\t"]
)
async def test_a_host_that_is_one_is_taken(host: str) -> None:
    async with guarded() as server, server.peer() as peer:
        for _ in range(2):
            await peer.send(f"GET / HTTP/1.1\r\nhost:{host}\r\n\r\n".encode())
            assert (await peer.answer()).status == 200


async def test_http_1_0_needs_no_host() -> None:
    async with guarded() as server:
        assert (await server.ask(b"GET / HTTP/1.0\r\n\r\n")).status == 200


@pytest.mark.parametrize("coding", [b"chunked", b"Chunked", b"CHUNKED ", b"\tchunked"])
async def test_chunked_has_no_case(coding: bytes) -> None:
    async with guarded() as server:
        data = post(b"2\r\n{}\r\n0\r\n\r\n", b"transfer-encoding:" + coding, length=False)
        assert (await server.ask(data)).status == 200


@pytest.mark.parametrize("in_first_chunk", [True, False])
async def test_chunk_extensions_are_bounded(in_first_chunk: bool) -> None:
    """The parser drops them as they come: nothing else would see a gigabyte of them."""
    sent = 0
    async with guarded() as server, server.peer() as peer:
        await peer.send(post(b"2;a=" if in_first_chunk else b"1\r\nx\r\n2;a=", CHUNKED, length=False))
        answering = asyncio.ensure_future(peer.answer())
        while not answering.done() and sent < 64 * MIB:
            await peer.send(b"x" * 10_000)
            sent += 10_000
            await asyncio.sleep(0)
        answer = await answering
        assert (answer.status, answer.error["code"]) == (400, "invalid_request")
        assert "extensions" in answer.error["message"]
        assert await peer.is_closed()


async def test_many_small_extensions_are_bounded_too() -> None:
    extension = b";" + b"a" * (CHUNK_FRAMING_BYTES + 10)
    chunks = FRAMING_BYTES_MAX // 10
    async with guarded() as server, server.peer() as peer:
        await peer.send(post((b"1" + extension + b"\r\nx\r\n") * chunks, CHUNKED, length=False))
        assert (await peer.answer()).status == 400


async def test_chunks_as_clients_write_them_are_taken_however_small() -> None:
    async with guarded() as server, server.peer() as peer:
        for _ in range(2):
            await peer.send(post(b"0000001;a=b\r\nx\r\n" * 20_000 + b"0\r\n\r\n", CHUNKED, length=False))
            assert (await peer.answer()).status == 200
            await peer.send(post(b"5;name=value\r\nhello\r\n0\r\nx: y\r\n\r\n", CHUNKED, length=False))
            assert (await peer.answer()).status == 200


async def test_a_hundred_unfinished_bodies_take_no_more_memory_than_the_bound() -> None:
    """Of 4 MB each, from another process, whose buffers do not count."""

    class Patient(BoundedProtocol):
        """Waits longer for a body than the test takes."""

        body_deadline_s = 300.0

    guard = Guard(echo, body_bytes_max=4 * MIB, calls_max=1000, clock=Clock(), record=lambda exchange: None)
    async with listening(guard, [], Patient) as server:
        before = psutil.Process().memory_info().rss
        with crowd(server.port, 100) as senders:
            assert senders.stdout is not None
            sent = asyncio.ensure_future(asyncio.to_thread(senders.stdout.readline))
            peak = 0
            while not sent.done():
                peak = max(peak, psutil.Process().memory_info().rss)
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.2)
            peak = max(peak, psutil.Process().memory_info().rss)
    assert ARRIVING_BYTES_MAX // 2 < peak - before < ARRIVING_BYTES_MAX + 16 * MIB


@pytest.mark.parametrize(("pieces", "sent"), [((), [b""]), ((b"a",), [b"a"]), ((b"a", b"b", b"c"), [b"a", b"b", b"c"])])
async def test_the_last_piece_ends_the_answer(pieces: tuple[bytes, ...], sent: list[bytes]) -> None:
    """Who has its last byte may hang up: nothing is still to be sent then, and the call was answered."""
    messages: list[Message] = []

    async def send(message: Message) -> None:
        messages.append(message)

    await deliver(Answer(200, [], iter(pieces)), send)
    assert [message["body"] for message in messages[1:]] == sent
    assert [message.get("more_body", False) for message in messages[1:]] == [True] * (len(sent) - 1) + [False]
