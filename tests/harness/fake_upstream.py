"""The outside worlds, faked behind their real wire: here an OpenAI-compatible embeddings server on loopback.

``Upstream`` answers ``POST …/embeddings`` with deterministic unit vectors of a given width, honors
``encoding_format`` and ``dimensions``, counts what it got, and can be told to misbehave, per call or for good. It
speaks our own worker's ``/embed`` and ``/count`` as well (below ``worker_url``). Use it inside a running loop
(``async with Upstream(8) as upstream``) or, for tests that talk to other processes, in a thread of its own
(``with Upstream(8).in_thread() as upstream``).
"""

import asyncio
import base64
import contextlib
import hashlib
import json
import math
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Self

import msgspec
from typing_extensions import override

from tests.harness.event_loops import wait_until
from tests.harness.listener import Listener

HANG = 3600.0


@dataclass
class Received:
    """One request as it came: header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    peer: tuple[str, int]

    @property
    def json(self) -> dict[str, object]:
        content: dict[str, object] = json.loads(self.body)
        return content


@dataclass
class Reply:
    """How to answer one call. Without ``status``, ``body`` and ``raw`` it is an honest answer, only ``delay_s`` late.

    ``raw`` is sent as it is, ``then_hang_s`` later the connection is closed; ``reset`` closes it with a TCP reset.
    ``drip_s`` sends the answer byte by byte with that pause.
    """

    delay_s: float = 0.0
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    raw: bytes | None = None
    then_hang_s: float = 0.0
    reset: bool = False
    drip_s: float = 0.0
    close: bool = False


def unit_vector(text: str, dimensions: int) -> list[float]:
    """The vector that an Upstream gives for a text (for token ids: their JSON), each value exact in float32."""
    raw = hashlib.shake_256(text.encode()).digest(2 * dimensions)
    values = [value / 32768.0 for (value,) in struct.iter_unpack("<h", raw)]
    norm = math.sqrt(math.fsum(value * value for value in values)) or 1.0
    return [struct.unpack("<f", struct.pack("<f", value / norm))[0] for value in values]


def as_base64(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def tokens_of(text: str) -> int:
    """What an Upstream says it counted: four bytes a token, rounded up."""
    return -(-len(text.encode()) // 4)


def worker_answer(
    path: str, request: dict[str, object], dimensions: int, count: Callable[[str], int] = tokens_of
) -> bytes:
    """An honest answer of our own worker's wire to ``/embed`` or ``/count``: two special tokens around each input."""
    texts, ids, prefix = request["texts"], request["token_ids"], request["prefix"]
    if isinstance(texts, list):
        inputs = [f"{prefix}{text}" for text in texts]
        tokens = [count(text) + 2 for text in inputs]
    else:
        assert isinstance(ids, list)
        inputs = [json.dumps(item) for item in ids]
        tokens = [len(item) + 2 for item in ids]
    if path.endswith("/count"):
        return msgspec.msgpack.encode({"tokens": tokens})
    width = request.get("dimensions") or dimensions
    assert isinstance(width, int)
    header = {
        "rows": len(inputs),
        "dimensions": width,
        "tokens": tokens,
        "truncated": [False] * len(inputs),
        "space": "upstream-space",
        "model": "upstream-model",
        "revision": None,
    }
    packed = msgspec.msgpack.encode(header)
    vectors = b"".join(struct.pack(f"<{width}f", *unit_vector(text, width)) for text in inputs)
    return struct.pack("<I", len(packed)) + packed + vectors


def embeddings_answer(
    request: dict[str, object], dimensions: int, count: Callable[[str], int] = tokens_of
) -> dict[str, object]:
    """An honest OpenAI answer to a request body."""
    given = request["input"]
    assert isinstance(given, str | list)
    inputs = [given] if isinstance(given, str) or (given and isinstance(given[0], int)) else given
    texts = [item if isinstance(item, str) else json.dumps(item) for item in inputs]
    width = request.get("dimensions") or dimensions
    assert isinstance(width, int)
    tokens = sum(count(item) if isinstance(item, str) else len(item) for item in inputs)
    vectors = [unit_vector(text, width) for text in texts]
    base64_asked = request.get("encoding_format") == "base64"
    data = [
        {"object": "embedding", "index": index, "embedding": as_base64(vector) if base64_asked else vector}
        for index, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": request["model"], "usage": usage}


class Upstream:
    """An OpenAI-compatible embeddings server. ``script`` holds the next calls' replies, ``always`` all others'.

    A process asks each worker once a second how busy it is: these requests are ``polls``, answered by ``load``.
    """

    def __init__(self, dimensions: int = 8, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.dimensions = dimensions
        self.host = host
        self.port = port
        self.calls: list[Received] = []
        self.polls: list[Received] = []
        self.connections = 0
        self.in_flight = 0
        self.most_in_flight = 0
        self.script: deque[Reply] = deque()
        self.always = Reply()
        self.load = Reply(status=404)
        # The tokenizer of its model.
        self.count: Callable[[str], int] = tokens_of
        self.listener = Listener(self._client)

    @property
    def base_url(self) -> str:
        return f"http://{self.host}:{self.port}/v1"

    @property
    def worker_url(self) -> str:
        return f"http://{self.host}:{self.port}"

    async def start(self) -> None:
        self.port = await self.listener.start(self.host, self.port, limit=1 << 24)

    async def stop(self) -> None:
        await self.listener.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @contextlib.contextmanager
    def in_thread(self) -> Iterator[Self]:
        """Run in a thread with a loop of its own, for tests without one; the lists above may be read from outside."""
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, name="upstream", daemon=True)
        thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self.start(), loop).result(10)
            yield self
        finally:
            asyncio.run_coroutine_threadsafe(self.stop(), loop).result(10)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(10)
            loop.close()

    async def wait_for_calls(self, count: int) -> None:
        """Wait until so many calls have arrived, each of which has taken its reply from the script."""
        await wait_until(lambda: len(self.calls) >= count)

    def push(self, data: bytes) -> None:
        """Send something that nobody asked for on every open connection."""
        for writer in self.listener.writers:
            writer.write(data)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while await self._exchange(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        received = await self._read(reader, writer)
        if (received.method, received.path) == ("GET", "/ready"):
            self.polls.append(received)
            await self._send(self._bytes(received, self.load), self.load, writer)
            return True
        self.calls.append(received)
        reply = self.script.popleft() if self.script else self.always
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(reply.delay_s)
            if reply.reset:
                writer.transport.abort()
                return False
            await self._send(self._bytes(received, reply), reply, writer)
        finally:
            self.in_flight -= 1
        if reply.raw is not None:
            await asyncio.sleep(reply.then_hang_s)
        return reply.raw is None and not reply.close

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Received:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = {}
        for line in head[1:-2]:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        return Received(method, path, headers, body, writer.get_extra_info("peername")[:2])

    def _bytes(self, received: Received, reply: Reply) -> bytes:
        if reply.raw is not None:
            return reply.raw
        status, body = reply.status or 200, reply.body
        if body is None and status == 200 and received.headers.get("content-type") != "application/msgpack":
            body = json.dumps(embeddings_answer(received.json, self.dimensions, self.count)).encode()
        elif body is None and status == 200:
            body = worker_answer(received.path, msgspec.msgpack.decode(received.body), self.dimensions, self.count)
        elif body is None:
            error = {"message": f"scripted {status}", "type": "scripted", "code": None, "param": None}
            body = json.dumps({"error": error}).encode()
        headers = {"content-type": "application/json", "content-length": str(len(body)), **reply.headers}
        if reply.close:
            headers["connection"] = "close"
        head = f"HTTP/1.1 {status} Scripted\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return head.encode() + b"\r\n" + body

    async def _send(self, answer: bytes, reply: Reply, writer: asyncio.StreamWriter) -> None:
        if not reply.drip_s:
            writer.write(answer)
            await writer.drain()
            return
        for offset in range(len(answer)):
            writer.write(answer[offset : offset + 1])
            await writer.drain()
            await asyncio.sleep(reply.drip_s)


class Counting(Upstream):
    """Honest but for its usage, which is what ``tells`` names: ``tokens``, ``characters``, ``texts``, ``nothing``."""

    tells = "tokens"

    @override
    def _bytes(self, received: Received, reply: Reply) -> bytes:
        answer = embeddings_answer(received.json, self.dimensions)
        texts = received.json["input"]
        assert isinstance(texts, list)
        counts = {"characters": sum(map(len, texts)), "texts": len(texts)}
        if self.tells == "nothing":
            del answer["usage"]
        elif self.tells in counts:
            answer["usage"] = {"prompt_tokens": counts[self.tells], "total_tokens": counts[self.tells]}
        return super()._bytes(received, Reply(body=json.dumps(answer).encode()))
