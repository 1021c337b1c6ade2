"""Links from a process to a server, which can be cut in each direction alone; what is sent meanwhile comes late.

So does a network that comes back: TCP sends again. A process behind a cut link finds out by its own deadlines alone. A
link can be refused, too: what is connected is reset, and nothing new is accepted, as when the server's machine is gone.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Self
from urllib.parse import parse_qs, unquote, urlsplit

from typing_extensions import override

from tests.harness.listener import Listener

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Cut(StrEnum):
    """Which way nothing arrives any more."""

    BOTH = "both ways"
    TO_SERVER = "to the server"
    FROM_SERVER = "from the server"


class Link:
    """``with Link(connect) as link``: who connects to ``link.port`` reaches what ``connect`` opens."""

    def __init__(self, connect: Callable[[], Awaitable[Streams]]) -> None:
        self.port = 0
        self._connect = connect
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="link", daemon=True)
        self._open: dict[bool, asyncio.Event] = {}
        self._listener = Listener(self._relay)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cut(self, cut: Cut) -> None:
        self._loop.call_soon_threadsafe(self._set, cut is Cut.FROM_SERVER, cut is Cut.TO_SERVER)

    def mend(self) -> None:
        self._loop.call_soon_threadsafe(self._set, True, True)

    def refuse(self) -> None:
        """Reset every connection and accept none, until :meth:`accept`."""
        asyncio.run_coroutine_threadsafe(self._listener.stop(), self._loop).result(10)

    def accept(self) -> None:
        """Listen again at the same port, where nothing does."""
        asyncio.run_coroutine_threadsafe(self._accept(), self._loop).result(10)

    def _set(self, to_server: bool, from_server: bool) -> None:
        for direction, is_open in ((True, to_server), (False, from_server)):
            if is_open:
                self._open[direction].set()
            else:
                self._open[direction].clear()

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._listener.stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _start(self) -> None:
        self._open = {True: asyncio.Event(), False: asyncio.Event()}
        self._set(True, True)
        self.port = await self._listener.start()

    async def _accept(self) -> None:
        if not self._listener.listens:
            await self._listener.start(port=self.port)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_writer = None
        try:
            # A connection that is made while nothing arrives is made when it does again.
            await self._open[True].wait()
            far_reader, far_writer = await self._connect()
            pipes = (self._pipe(reader, far_writer, True), self._pipe(far_reader, writer, False))
            await asyncio.gather(*pipes)
        except OSError:
            return
        except asyncio.CancelledError:
            if far_writer is not None:
                far_writer.transport.abort()
        finally:
            for each in (writer, far_writer):
                if each is not None:
                    each.close()

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: bool) -> None:
        while data := await reader.read(1 << 16):
            await self._open[direction].wait()
            writer.write(data)
            await writer.drain()
        await self._open[direction].wait()
        writer.close()


class PostgresLink(Link):
    """A link to the server of a ``database_url``: ``link.url`` leads to the same database."""

    def __init__(self, database_url: str) -> None:
        parts = urlsplit(database_url)
        socket = parse_qs(parts.query)["host"][0] + "/.s.PGSQL.5432"
        super().__init__(lambda: asyncio.open_unix_connection(socket))
        self._user, self._database = parts.username, parts.path

    @property
    @override
    def url(self) -> str:
        return f"postgresql://{self._user}@127.0.0.1:{self.port}{self._database}"


class RedisLink(Link):
    """A link to a Redis on a Unix socket: ``link.url`` leads to its database 0."""

    def __init__(self, redis_url: str) -> None:
        socket = unquote(urlsplit(redis_url).path)
        super().__init__(lambda: asyncio.open_unix_connection(socket))

    @property
    @override
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"
