"""A link between a process and Postgres, which can be cut in each direction alone; what is sent meanwhile comes late.

So does a network that comes back: TCP sends again. A process behind a cut link finds out by its own deadlines alone.
"""

import asyncio
import threading
from enum import StrEnum
from typing import Self
from urllib.parse import parse_qs, urlsplit

from tests.harness.listener import Listener


class Cut(StrEnum):
    """Which way nothing arrives any more."""

    BOTH = "both ways"
    TO_POSTGRES = "to Postgres"
    FROM_POSTGRES = "from Postgres"


class PostgresLink:
    """``with PostgresLink(database_url) as link``: ``link.url`` leads to the same database, through the link."""

    def __init__(self, database_url: str) -> None:
        parts = urlsplit(database_url)
        self._socket = parse_qs(parts.query)["host"][0] + "/.s.PGSQL.5432"
        self._user, self._database = parts.username, parts.path
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="link", daemon=True)
        self._open: dict[bool, asyncio.Event] = {}
        self._listener = Listener(self._relay)

    @property
    def url(self) -> str:
        return f"postgresql://{self._user}@127.0.0.1:{self.port}{self._database}"

    def cut(self, cut: Cut) -> None:
        self._loop.call_soon_threadsafe(self._set, cut is Cut.FROM_POSTGRES, cut is Cut.TO_POSTGRES)

    def mend(self) -> None:
        self._loop.call_soon_threadsafe(self._set, True, True)

    def _set(self, to_postgres: bool, from_postgres: bool) -> None:
        for direction, is_open in ((True, to_postgres), (False, from_postgres)):
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

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_writer = None
        try:
            # A connection that is made while nothing arrives is made when it does again.
            await self._open[True].wait()
            far_reader, far_writer = await asyncio.open_unix_connection(self._socket)
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
