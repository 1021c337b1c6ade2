"""A real uvicorn with our protocol, in the test's own event loop, and bare sockets to talk to it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from uvicorn.config import Config

from router.api.exchange import EXCHANGE, Exchange, Receive, Scope, Send
from router.api.server.guard import Guard
from router.api.server.protocol import BoundedProtocol
from store.clock import Clock
from tests.harness.listener import stop_accepting

BODY_BYTES_MAX = 256 * 1024


# Long enough for a machine that is busy with something else; what has to be quick has a deadline of its own.
WITHIN_S = 25.0


class Quick(BoundedProtocol):
    """The protocol with deadlines that a test can wait for; a peer that owes nothing late must not meet them."""

    header_deadline_s = 0.6
    body_deadline_s = 0.6
    write_deadline_s = 1.0


class Answer:
    """A response as it came over the socket. Header names are in lower case."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def error(self) -> dict[str, Any]:
        error: dict[str, Any] = json.loads(self.body)["error"]
        return error


class Peer:
    """One raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, within_s: float = WITHIN_S, *, has_body: bool = True) -> Answer:
        """The next response; one to HEAD has no body. Raises TimeoutError, IncompleteReadError."""
        async with asyncio.timeout(within_s):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.strip().split("\r\n")
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
            if not has_body or int(first.split()[1]) in (204, 304):
                body = b""
            elif "content-length" in headers:
                body = await self.reader.readexactly(int(headers["content-length"]))
            else:
                body = b"".join([chunk async for chunk in self._chunks()])
        return Answer(int(first.split()[1]), headers, body)

    async def _chunks(self) -> AsyncIterator[bytes]:
        while size := int(await self.reader.readline(), 16):
            yield await self.reader.readexactly(size)
            await self.reader.readexactly(2)
        await self.reader.readexactly(2)

    async def is_closed(self, within_s: float = WITHIN_S) -> bool:
        """Whether the server closes the connection, cleanly or not."""
        try:
            async with asyncio.timeout(within_s):
                return await self.reader.read(1) == b""
        except ConnectionError:
            return True
        except TimeoutError:
            return False


class Server:
    """Where a test's application listens."""

    def __init__(self, port: int, exchanges: list[Exchange]) -> None:
        self.port = port
        self.exchanges = exchanges

    @asynccontextmanager
    async def peer(self) -> AsyncIterator[Peer]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 26)
        try:
            yield Peer(reader, writer)
        finally:
            writer.transport.abort()

    async def ask(self, data: bytes) -> Answer:
        """One request on a connection of its own."""
        async with self.peer() as peer:
            await peer.send(data)
            return await peer.answer()


@asynccontextmanager
async def listening(
    app: Callable[..., Any], exchanges: list[Exchange], protocol: type[BoundedProtocol] = BoundedProtocol
) -> AsyncIterator[Server]:
    """The application behind uvicorn on a free port of loopback."""
    config = Config(
        app,
        port=0,
        http=protocol,
        ws="none",
        lifespan="off",
        loop="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
    )
    server = uvicorn.Server(config)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(server._serve())
        while not server.started:  # noqa: ASYNC110 - uvicorn tells it by a flag alone
            await asyncio.sleep(0.01)
        try:
            yield Server(server.servers[0].sockets[0].getsockname()[1], exchanges)
        finally:
            for each in server.servers:
                await stop_accepting(each)
            server.should_exit = True
            server.force_exit = True
            await task
            # uvicorn leaves open what an application was still answering.
            for connection in list(server.server_state.connections):
                connection.transport.abort()
            await asyncio.sleep(0)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with what arrived: the body's length and the names of the headers."""
    exchange: Exchange = scope[EXCHANGE]
    said = {"bytes": len(exchange.body), "path": exchange.path, "headers": [n.decode() for n, _ in scope["headers"]]}
    body = json.dumps(said).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def guarded(
    app: Callable[..., Any] = echo, *, calls_max: int = 100, protocol: type[BoundedProtocol] = BoundedProtocol
) -> AsyncIterator[Server]:
    """An application behind the guard and the protocol."""
    exchanges: list[Exchange] = []
    guard = Guard(app, body_bytes_max=BODY_BYTES_MAX, calls_max=calls_max, record=exchanges.append, clock=Clock())
    async with listening(guard, exchanges, protocol) as server:
        yield server


def post(body: bytes, *headers: bytes, path: bytes = b"/", length: bool = True) -> bytes:
    """A request's bytes."""
    lines = [b"POST " + path + b" HTTP/1.1", b"host: test", *headers]
    if length:
        lines.append(b"content-length: %d" % len(body))
    return b"\r\n".join([*lines, b"", body])
