"""A TCP proxy before an honest upstream that spoils its answers, and the list of ways in which upstreams do.

A :data:`Play` gets the honest answer, head and body, and says what the caller gets instead: bytes, seconds to wait, or
how the connection ends.
"""

import asyncio
import contextlib
import gzip
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from typing import Any, Self

from tests.harness.fake_upstream import HANG, as_base64
from tests.harness.listener import Listener

Answer = dict[str, Any]


class End(Enum):
    RESET = "reset"
    CLOSE = "close"


Play = Callable[[bytes, bytes], Iterable[bytes | float | End]]


class FaultProxy:
    """Spoils every answer of one upstream by one play; ``calls`` and ``sent_bytes`` count."""

    def __init__(self, upstream_port: int, play: Play | None) -> None:
        """Without a ``play`` every connection is reset when it is made."""
        self.port = 0
        self.calls = 0
        self.sent_bytes = 0
        self._upstream_port = upstream_port
        self._play = play
        self._listener = Listener(self._client)

    async def start(self) -> None:
        self.port = await self._listener.start(limit=1 << 24)

    async def stop(self) -> None:
        await self._listener.stop()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self._play is None:
                self.calls += 1
                reset(writer)
                return
            while True:
                head, body = await _message(reader)
                self.calls += 1
                if not await self._plays(self._play(*await self._ask(head + body)), writer):
                    return
        except (asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            writer.close()

    async def _ask(self, request: bytes) -> tuple[bytes, bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._upstream_port, limit=1 << 24)
        try:
            writer.write(request)
            return await _message(reader)
        finally:
            writer.close()

    async def _plays(self, steps: Iterable[bytes | float | End], writer: asyncio.StreamWriter) -> bool:
        """Whether the connection lives on."""
        for step in steps:
            match step:
                case bytes():
                    writer.write(step)
                    await writer.drain()
                    self.sent_bytes += len(step)
                case float():
                    await asyncio.sleep(step)
                case End.RESET:
                    reset(writer)
                    return False
                case End.CLOSE:
                    return False
        return True


class Proxies:
    """Proxies by name, in a thread with a loop of its own: ``with Proxies(port, plays) as proxies``."""

    def __init__(self, upstream_port: int, plays: dict[str, Play | None]) -> None:
        self._proxies = {name: FaultProxy(upstream_port, play) for name, play in plays.items()}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxies", daemon=True)

    def __getitem__(self, name: str) -> FaultProxy:
        return self._proxies[name]

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(FaultProxy.start)
        return self

    def __exit__(self, *_: object) -> None:
        self._run(FaultProxy.stop)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _run(self, what: Callable[[FaultProxy], Any]) -> None:
        for proxy in self._proxies.values():
            asyncio.run_coroutine_threadsafe(what(proxy), self._loop).result(10)


def reset(writer: asyncio.StreamWriter) -> None:
    """A TCP reset, not a close."""
    with contextlib.suppress(OSError):
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return head, await reader.readexactly(int(lengths[0]) if lengths else 0)


# The plays.


def whole(body: bytes, status: str = "200 OK", **headers: str) -> bytes:
    lines = {"content-type": "application/json", "content-length": str(len(body))}
    lines |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body


def says(body: bytes, status: str = "200 OK", **headers: str) -> Play:
    """A whole answer with another body."""
    return lambda _head, _body: [whole(body, status, **headers)]


def cut(parts: float) -> Play:
    """Whole by its length, but the JSON ends after so much of it."""
    return lambda _, body: [whole(body[: int(len(body) * parts)])]


def spoils(change: Callable[[Answer], object]) -> Play:
    """The honest answer with something changed in its JSON (``change`` may also give another answer)."""

    def play(_: bytes, body: bytes) -> list[bytes]:
        answer: Answer = json.loads(body)
        changed = change(answer)
        return [whole(json.dumps(answer if changed is None else changed).encode())]

    return play


def vector(*numbers: object) -> Callable[[Answer], object]:
    """The first vector is these numbers, repeated to the right width where there is one."""

    def change(answer: Answer) -> None:
        answer["data"][0]["embedding"] = list(numbers) * (8 // len(numbers))

    return change


def base64_vector(*numbers: float) -> Callable[[Answer], object]:
    def change(answer: Answer) -> None:
        answer["data"][0]["embedding"] = as_base64(list(numbers) * (8 // len(numbers)))

    return change


def usage(value: object) -> Callable[[Answer], object]:
    def change(answer: Answer) -> None:
        answer["usage"] = {"prompt_tokens": value, "total_tokens": value}

    return change


def index(first: object, second: object) -> Callable[[Answer], object]:
    def change(answer: Answer) -> None:
        answer["data"][0]["index"], answer["data"][1]["index"] = first, second

    return change


def trickle(head: bytes, body: bytes) -> Iterator[bytes | float]:
    for offset in range(len(head + body)):
        yield (head + body)[offset : offset + 1]
        yield 0.1


def endless(head: bytes, _: bytes) -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    yield b'10\r\n{"data":[{"index\r\n'
    chunk = b"40000\r\n" + b"7" * 0x40000 + b"\r\n"
    while True:
        yield chunk


def endless_in_one(head: bytes, _: bytes) -> Iterator[bytes]:
    """A gigabyte announced, and sent."""
    yield b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1073741824\r\n\r\n{"data": ['
    while True:
        yield b" " * 0x40000


def long_head(head: bytes, body: bytes) -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\n"
    for number in range(640):
        yield b"x-padding-%d: " % number + b"x" * 0x4000 + b"\r\n"
    yield b"content-length: %d\r\n\r\n%b" % (len(body), body)


def bomb(_: bytes, body: bytes) -> list[bytes]:
    """10 MB of zeros in 10 kB, which nobody asked for."""
    return [whole(gzip.compress(b"\0" * 10_000_000), content_encoding="gzip")]


def chunked(*parts: bytes) -> Play:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    return lambda _, body: [head + b"".join(parts).replace(b"BODY", b"%x\r\n%b\r\n" % (len(body), body)), End.CLOSE]


def drop(answer: Answer, *names: str) -> None:
    for name in names:
        del answer[name]


ERROR = b'{"error": {"message": "words of the provider", "type": "server_error", "code": null}}'
HTML = b"<html><body>502 Bad Gateway of somebody else</body></html>"
ELSEWHERE, METADATA = "http://127.0.0.2:9/v1/embeddings", "http://169.254.169.254/latest/meta-data/"
HANGS: dict[str, Play | None] = {
    "hangs before the head": lambda head, body: [HANG],
    "hangs in the head": lambda head, body: [head[:20], HANG],
    "hangs in the body": lambda head, body: [head + body[:40], HANG],
    "trickles": trickle,
}
PLAYS: dict[str, Play | None] = {
    "reset at connect": None,
    "reset after the request": lambda head, body: [End.RESET],
    "reset in the head": lambda head, body: [head[:20], End.RESET],
    "reset in the body": lambda head, body: [head + body[:40], End.RESET],
    "closed after the request": lambda head, body: [End.CLOSE],
    "closed in the body": lambda head, body: [head + body[:-1], End.CLOSE],
    **{f"status {s}": says(ERROR, f"{s} Failed") for s in (500, 501, 502, 503, 504, 520, 524, 529)},
    "an HTML page for 502": says(HTML, "502 Bad Gateway", content_type="text/html"),
    "an HTML page for 200": says(HTML, content_type="text/html"),
    "busy": says(ERROR, "503 Busy", retry_after="1"),
    "throttled": says(ERROR, "429 Slow down", retry_after="1"),
    "throttled for ever": says(ERROR, "429 Slow down", retry_after="99999999999"),
    "our key is refused": says(ERROR, "401 Unauthorized"),
    "our credit is used up": says(ERROR, "402 Payment required"),
    "a firewall in the way": says(HTML, "403 Forbidden", content_type="text/html"),
    "no such model": says(b'{"error": {"code": "model_not_found"}}', "404 Not found"),
    "nobody behind the balancer": says(b"no healthy upstream", "404 Not found"),
    "redirected to another host": says(b"", "302 Found", location=ELSEWHERE),
    "redirected to the metadata": says(b"", "307 Temporary", location=METADATA),
    "moved for good": says(b"", "308 Moved", location=METADATA),
    "nothing at all": says(b""),
    "no content": lambda head, body: [b"HTTP/1.1 204 No Content\r\n\r\n", End.CLOSE],
    "null": says(b"null"),
    "an error in a 200": says(ERROR),
    "a throttle in a 200": says(b'{"error": {"code": 429, "message": "slow"}}'),
    "an error beside the data": spoils(lambda a: a | {"error": {"message": "x"}}),
    "empty data": spoils(lambda a: a | {"data": []}),
    "no data": spoils(lambda a: drop(a, "data")),
    "not HTTP": lambda head, body: [b"SSH-2.0-OpenSSH_9.2\r\n", End.CLOSE],
    "a length too long": lambda head, body: [whole(body, content_length=str(len(body) + 9)), End.CLOSE],
    "a length too short": lambda head, body: [whole(body, content_length=str(len(body) - 9)), End.CLOSE],
    "two lengths": lambda head, body: [whole(body).replace(b"\r\n", b"\r\ncontent-length: 7\r\n", 1), End.CLOSE],
    "a length and chunks": lambda head, body: [whole(body, transfer_encoding="chunked"), End.CLOSE],
    "a negative length": lambda head, body: [whole(body, content_length="-1"), End.CLOSE],
    "no chunk's size": chunked(b"zz\r\n", b"BODY", b"0\r\n\r\n"),
    "a chunk's size beyond all": chunked(b"FFFFFFFFFFFFFFFFF\r\n", b"BODY"),
    "no last chunk": chunked(b"BODY"),
    "a gzip bomb": bomb,
    "ten megabytes of head": long_head,
    **{f"JSON cut at {n}/16": cut(n / 16) for n in range(1, 16)},
    "JSON cut by one byte": lambda head, body: [whole(body[:-1])],
    "bytes that are no UTF-8": lambda head, body: [whole(body.replace(b"index", b"\xff\xfedex"))],
    "too wide": spoils(lambda a: [item.update(embedding=[0.25] * 16) for item in a["data"]] and None),
    "too narrow": spoils(lambda a: [item.update(embedding=[0.5] * 4) for item in a["data"]] and None),
    "two widths": spoils(lambda a: a["data"][0].update(embedding=[0.5] * 4)),
    "NaN": lambda head, body: [whole(body.replace(b'"embedding": "', b'"embedding": NaN, "x": "', 1))],
    "NaN in base64": spoils(base64_vector(float("nan"))),
    "infinity in base64": spoils(base64_vector(float("inf"), 0.0)),
    "infinity": spoils(vector(1e39)),
    "null for a number": spoils(vector(None)),
    "text for a number": spoils(vector("0.5")),
    "all zeros": spoils(vector(0.0)),
    "all zeros in base64": spoils(base64_vector(0.0)),
    "denormal": spoils(vector(1e-40)),
    "not of length one": spoils(vector(0.5)),
    "base64 cut short": spoils(lambda a: a["data"][0].update(embedding=a["data"][0]["embedding"][:-4])),
    "one vector for two": spoils(lambda a: a["data"].pop() and None),
    "three vectors for two": spoils(lambda a: a["data"].append(a["data"][0])),
    "an index twice": spoils(index(0, 0)),
    "an index beyond": spoils(index(0, 2)),
    "no index": spoils(lambda a: [item.pop("index") for item in a["data"]] and None),
    "an index as text": spoils(index("0", "1")),
    "a usage below zero": spoils(usage(-7)),
    "a usage of zero": spoils(usage(0)),
    "a usage of a million": spoils(usage(1_000_000)),
    "a usage with a fraction": spoils(usage(1.5)),
    "a usage as text": spoils(usage("10")),
    "a usage as a list": spoils(lambda a: a | {"usage": [10]}),
}
# Odd, but the vectors are right: delivered as they are.
ODD: dict[str, Play | None] = {
    "in another order": spoils(lambda a: a["data"].reverse()),
    "no usage": spoils(lambda a: drop(a, "usage")),
    "a usage of null": spoils(usage(None)),
    "fields more": spoils(lambda a: a | {"x": {"y": [1, 2]}, "id": "z"}),
    "in chunks": chunked(b"BODY", b"0\r\n\r\n"),
    "byte by byte": lambda head, body: [(head + body)[n : n + 1] for n in range(len(head + body))],
    "an interim answer first": lambda head, body: [b"HTTP/1.1 100 Continue\r\n\r\n", head + body],
}
