"""What arrives slowly, endlessly or malformed is refused in time, in the envelope, and costs nobody else anything."""

import asyncio
import gc
import gzip
import json
import socket
import time

import psutil
import pytest

from router.api.exchange import Receive, Scope, Send
from router.api.server.protocol import BoundedProtocol
from tests.harness.edge_server import BODY_BYTES_MAX, WITHIN_S, Quick, guarded, post

pytestmark = pytest.mark.anyio


async def test_half_a_head_is_answered_408_and_closed() -> None:
    async with guarded(protocol=Quick) as server, server.peer() as peer:
        await peer.send(b"POST /v1/embeddings HTTP/1.1\r\nhost: te")
        answer = await peer.answer()
        assert (answer.status, answer.error["code"]) == (408, "request_timeout")
        assert answer.headers["x-request-id"] == answer.error["request_id"]
        assert await peer.is_closed()


async def test_a_connection_that_says_nothing_is_closed() -> None:
    async with guarded(protocol=Quick) as server, server.peer() as peer:
        assert await peer.is_closed()


async def test_empty_lines_do_not_keep_a_connection_open() -> None:
    class Patient(BoundedProtocol):
        """Until the first answer is there."""

    async with guarded(protocol=Patient) as server, server.peer() as peer:
        await peer.send(post(b""))
        assert (await peer.answer()).status == 200
        Patient.header_deadline_s = Quick.header_deadline_s
        await peer.send(b"\r\n")
        assert (await peer.answer()).status == 408
        assert await peer.is_closed()


async def test_half_a_body_is_answered_408_by_the_guard_and_closed() -> None:
    async with guarded(protocol=Quick) as server, server.peer() as peer:
        await peer.send(post(b"x" * 1000)[:-1])
        answer = await peer.answer()
        assert (answer.status, answer.error["code"], answer.headers["connection"]) == (408, "request_timeout", "close")
        assert server.exchanges[0].status == 408
        assert await peer.is_closed()


async def test_a_body_that_drips_meets_the_same_deadline() -> None:
    """Each byte alone would be in time, and all of them would take 45 seconds."""
    async with guarded(protocol=Quick) as server, server.peer() as peer:
        await peer.send(post(b"x" * 1000)[:-900])
        answering = asyncio.ensure_future(peer.answer())
        while not answering.done():
            await peer.send(b"x")
            await asyncio.sleep(0.05)
        assert (await answering).status == 408


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nhost: a\r\nx-long: " + b"a" * 200 * 1024 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\n" + b"".join(b"x-%d: y\r\n" % n for n in range(20_000)) + b"\r\n",
        b"GET /" + b"a" * 200 * 1024 + b" HTTP/1.1\r\nhost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\n" + b"a" * 200 * 1024,
        b"GET / HTTP/1.1\r\nhost: a\r\n" + b"".join(b"x-%d: y\r\n" % n for n in range(120)) + b"\r\n",
    ],
    ids=["a 200 KB value", "20,000 headers", "a 200 KB path", "a 200 KB name", "120 headers"],
)
async def test_a_head_that_is_too_large_is_answered_431(head: bytes) -> None:
    async with guarded() as server, server.peer() as peer:
        await peer.send(head)
        answer = await peer.answer()
        assert (answer.status, answer.error["code"]) == (431, "headers_too_large")
        assert await peer.is_closed()
        assert server.exchanges == []


async def test_a_large_header_in_many_packets_within_the_limit_is_read() -> None:
    async with guarded() as server, server.peer() as peer:
        for start in range(0, 20_000, 5_000):
            await peer.send((b"GET / HTTP/1.1\r\nhost: a\r\nx-long: " if start == 0 else b"") + b"a" * 5_000)
            await asyncio.sleep(0.02)
        await peer.send(b"\r\n\r\n")
        assert (await peer.answer()).status == 200


async def test_an_endless_chunked_body_is_refused_early_and_its_answer_arrives() -> None:
    """A gigabyte is on its way; a few megabytes of it are read, none are kept."""
    sent = 0
    gc.collect()
    before = psutil.Process().memory_info().rss
    async with guarded() as server, server.peer() as peer:
        await peer.send(post(b"", b"transfer-encoding: chunked", length=False))
        answering = asyncio.ensure_future(peer.answer())
        chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        while not answering.done() and sent < 1 << 30:
            await peer.send(chunk)
            sent += len(chunk)
        answer = await answering
        assert (answer.status, answer.error["code"], answer.headers["connection"]) == (413, "body_too_large", "close")
        assert sent < 64 * 1024 * 1024
        assert await peer.is_closed()
        assert server.exchanges[0].status == 413
    assert psutil.Process().memory_info().rss - before < 32 * 1024 * 1024


async def test_a_body_that_is_announced_too_large_is_refused_before_it_is_sent() -> None:
    async with guarded() as server, server.peer() as peer:
        await peer.send(post(b"", b"content-length: %d" % (BODY_BYTES_MAX + 1), b"expect: 100-continue", length=False))
        answer = await peer.answer()
        assert answer.status == 413


@pytest.mark.parametrize(("size", "status"), [(BODY_BYTES_MAX, 200), (BODY_BYTES_MAX + 1, 413)])
async def test_the_limit_is_exact_for_chunks_too(size: int, status: int) -> None:
    body = b"x" * size
    chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (size, body)
    async with guarded() as server:
        assert (await server.ask(post(body))).status == status
        assert (await server.ask(post(chunked, b"transfer-encoding: chunked", length=False))).status == status


async def test_a_compressed_body_is_answered_415() -> None:
    async with guarded() as server:
        answer = await server.ask(post(gzip.compress(b"{}" * 100_000), b"content-encoding: gzip"))
        assert (answer.status, answer.error["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    "request_bytes",
    [
        post(b"0\r\n\r\n", b"transfer-encoding: chunked"),
        post(b"hello", b"content-length: 6"),
        b"GET / HTTP/1.1\r\nhost: a\r\nx: \x01\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\nx: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost : a\r\n\r\n",
        b"CONNECT evil:443 HTTP/1.1\r\nhost: a\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
        b"GET /\xff HTTP/1.1\r\nhost: a\r\n\r\n",
    ],
    ids=["CL and TE", "two CLs", "control character", "bare LF", "space", "CONNECT", "TLS", "bytes in the path"],
)
async def test_what_is_not_http_is_answered_400_and_closed(request_bytes: bytes) -> None:
    """Closed, so that nothing behind it can be taken for another request."""
    async with guarded() as server, server.peer() as peer:
        await peer.send(request_bytes + b"GET /second HTTP/1.1\r\nhost: a\r\n\r\n")
        answer = await peer.answer()
        assert (answer.status, answer.error["code"]) == (400, "invalid_request")
        assert await peer.is_closed()
        assert all(exchange.path != "/second" for exchange in server.exchanges)


async def test_a_trailer_does_not_pass_for_a_header() -> None:
    body = b"2\r\n{}\r\n0\r\nauthorization: Bearer smuggled\r\n\r\n"
    async with guarded() as server:
        answer = await server.ask(post(body, b"transfer-encoding: chunked", length=False))
        assert answer.status == 200
        assert "authorization" not in json.loads(answer.body)["headers"]
        assert server.exchanges[0].authorization is None


async def test_a_client_that_asks_for_http2_on_the_way_keeps_its_body() -> None:
    """Java's client does so with every request to an http:// URL."""
    upgrade = [b"connection: Upgrade, HTTP2-Settings", b"upgrade: h2c", b"http2-settings: AAEAAEAA"]
    async with guarded() as server, server.peer() as peer:
        for _ in range(2):
            await peer.send(post(b'{"a": 1}', *upgrade))
            assert json.loads((await peer.answer()).body)["bytes"] == 8
        data = post(b'{"b": 22}', *upgrade)
        await peer.send(data[:-4])
        await asyncio.sleep(0.05)
        await peer.send(data[-4:])
        assert json.loads((await peer.answer()).body)["bytes"] == 9


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with guarded() as server, server.peer() as peer:
        await peer.send(b"".join(post(b"x" * n, path=b"/%d" % n) for n in range(5)))
        answers = [json.loads((await peer.answer()).body) for _ in range(5)]
        assert [(a["path"], a["bytes"]) for a in answers] == [(f"/{n}", n) for n in range(5)]


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_an_answer_of_unknown_length_ends_as_the_clients_version_allows(version: bytes) -> None:
    async def pieces(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for piece in (b"one ", b"", b"two"):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async with guarded(pieces) as server, server.peer() as peer:
        await peer.send(b"GET / HTTP/" + version + b"\r\nhost: a\r\n\r\n")
        if version == b"1.1":
            assert (await peer.answer()).body == b"one two"
        else:
            said = await peer.reader.read()
            assert said.endswith(b"\r\n\r\none two")
            assert b"transfer-encoding" not in said


async def test_a_header_with_a_line_break_never_leaves() -> None:
    async def careless(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"x", b"a\r\nset-cookie: b"), (b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    async with guarded(careless) as server, server.peer() as peer:
        await peer.send(post(b""))
        assert await peer.reader.read() == b""


async def test_a_fault_in_the_middle_of_an_answer_breaks_the_connection() -> None:
    async def breaks(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise RuntimeError

    async with guarded(breaks) as server, server.peer() as peer:
        await peer.send(post(b""))
        with pytest.raises((asyncio.IncompleteReadError, ValueError)):
            await peer.answer()
        assert server.exchanges[0].refusal is not None


async def test_a_peer_that_never_reads_is_cut_off_and_holds_little() -> None:
    async def endless(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(200):
            await send({"type": "http.response.body", "body": b"x" * 500_000, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    gc.collect()
    before = psutil.Process().memory_info().rss
    async with guarded(endless, protocol=Quick) as server:
        deaf = socket.create_connection(("127.0.0.1", server.port))
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.sendall(post(b""))
        began = time.monotonic()
        while not server.exchanges and time.monotonic() - began < WITHIN_S:  # noqa: ASYNC110 - a list
            await asyncio.sleep(0.05)
        assert server.exchanges, "the operation was left waiting for the peer"
        assert psutil.Process().memory_info().rss - before < 16 * 1024 * 1024
        deaf.close()


async def test_others_are_served_while_hundreds_dawdle() -> None:
    """The slow never send the rest before the others are served, so nobody who waited for one of them would be."""

    class Patient(BoundedProtocol):
        """Waits longer for a body than a test may take."""

        body_deadline_s = header_deadline_s = 300.0

    async with guarded(protocol=Patient) as server:
        slow = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(300)]
        for _, writer in slow:
            writer.write(post(b"x" * 100)[:-50])
        for _ in range(50):
            assert (await server.ask(post(b"{}"))).status == 200
        assert len(server.exchanges) == 50
        for _, writer in slow:
            writer.write(b"x" * 50)
        heads = [await asyncio.wait_for(reader.readuntil(b"\r\n"), WITHIN_S) for reader, _ in slow]
        assert all(b" 200 " in head for head in heads)
        for _, writer in slow:
            writer.close()


async def test_no_room_is_503_with_a_time_to_come_back() -> None:
    release, inside = asyncio.Event(), asyncio.Semaphore(0)

    async def waits(scope: Scope, receive: Receive, send: Send) -> None:
        inside.release()
        await release.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async with guarded(waits, calls_max=2) as server:
        held = [asyncio.ensure_future(server.ask(post(b""))) for _ in range(2)]
        for _ in held:
            await asyncio.wait_for(inside.acquire(), WITHIN_S)
        refused = await server.ask(post(b""))
        assert (refused.status, refused.error["code"], refused.headers["retry-after"]) == (503, "overloaded", "1")
        release.set()
        assert [(await one).status for one in held] == [200, 200]
        assert (await server.ask(post(b""))).status == 200
