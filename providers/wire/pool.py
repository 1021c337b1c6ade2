"""Keep-alive pools of outgoing connections, one per provider, with bounds on their number and on every wait."""

import asyncio
import contextlib
import ssl
from collections import deque

import msgspec

from providers.outcomes import Broken, Overloaded
from providers.wire.connect import Resolve, connect, resolve
from providers.wire.http1 import Answer, Connection, ConnectionLost
from providers.wire.origin import Origin
from providers.wire.recorder import RECORDER, record_exchange


class Bounds(msgspec.Struct, frozen=True):
    """The bounds of one channel: its connections, and seconds for which one may idle, connect, or wait for a turn.

    Servers drop idle connections after 5 s (uvicorn, Node) to minutes; the race that this leaves is repaired by one
    retry on a fresh connection, so the bound on idling is about file descriptors only.
    """

    connections: int = 256
    idle_s: float = 30.0
    connect_s: float = 3.0
    turn_s: float = 2.0


class Pool:
    """What the channels of a process share. ``tls`` and ``lookup`` are for tests and for private authorities."""

    def __init__(
        self, bounds: Bounds | None = None, *, tls: ssl.SSLContext | None = None, lookup: Resolve = resolve
    ) -> None:
        self.bounds = bounds or Bounds()
        self.tls = tls or _default_tls()
        self.lookup = lookup
        self._channels: set[Channel] = set()

    def channel(self, origin: Origin) -> "Channel":
        """A channel for one provider. Even equal origins share none, since each provider closes its own."""
        channel = Channel(origin, self)
        self._channels.add(channel)
        return channel

    def forget(self, channel: "Channel") -> None:
        """Drop a channel that was closed."""
        self._channels.discard(channel)

    async def close(self) -> None:
        """Close every channel."""
        for channel in list(self._channels):
            channel.close()


class Channel:
    """The connections to one origin. After :meth:`close` exchanges still work, on connections that are not kept."""

    def __init__(self, origin: Origin, pool: Pool) -> None:
        self.origin = origin
        self._pool = pool
        self._bounds = pool.bounds
        self._idle: list[Connection] = []
        self._live: set[Connection] = set()
        self._busy = 0
        self._turns: deque[asyncio.Future[None]] = deque()
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False

    async def exchange(
        self, request: bytes, deadline_s: float, max_body: int, *, first_byte_s: float | None = None
    ) -> Answer:
        """Send one whole request (see :func:`providers.wire.request`), wait for its whole answer.

        ``deadline_s`` and ``first_byte_s`` are seconds from now, ``max_body`` is bytes. Raises ConnectFailed,
        TimedOut, Broken, or Overloaded when no connection comes free in time. A request is sent again only when it
        went to a connection that had idled and the server closed it without a byte of an answer.
        """
        exchanges = RECORDER.get()
        if exchanges is None:
            return await self._exchange(request, deadline_s, max_body, first_byte_s)
        answer: Answer | None = None
        try:
            answer = await self._exchange(request, deadline_s, max_body, first_byte_s)
        finally:
            record_exchange(exchanges, f"{self.origin.scheme}://{self.origin.authority}", request, answer)
        return answer

    async def _exchange(self, request: bytes, deadline_s: float, max_body: int, first_byte_s: float | None) -> Answer:
        loop = asyncio.get_running_loop()
        now = loop.time()
        deadline_at = now + deadline_s
        first_byte_at = deadline_at if first_byte_s is None else now + first_byte_s
        if self._busy >= self._bounds.connections:
            await self._turn(loop, deadline_s)
        else:
            self._busy += 1
        try:
            connection = self._take()
            if connection is not None:
                with contextlib.suppress(ConnectionLost):
                    return await self._send(connection, request, deadline_at, first_byte_at, max_body)
            connection = await self._connect(min(self._bounds.connect_s, deadline_at - loop.time()))
            try:
                return await self._send(connection, request, deadline_at, first_byte_at, max_body)
            except ConnectionLost as error:
                raise Broken(detail="closed without an answer") from error
        finally:
            self._pass_turn()

    def close(self) -> None:
        """Close idle connections; those in use are closed when their exchange ends."""
        self._closed = True
        self._pool.forget(self)
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    @property
    def open_connections(self) -> int:
        """Connections in use and idle."""
        return len(self._live)

    async def _send(
        self, connection: Connection, request: bytes, deadline_at: float, first_byte_at: float, max_body: int
    ) -> Answer:
        answer = await connection.exchange(request, deadline_at, first_byte_at, max_body)
        if not connection.reusable or self._closed:
            connection.close()
            return answer
        loop = asyncio.get_running_loop()
        connection.idle_since = loop.time()
        self._idle.append(connection)
        if self._sweeper is None:
            self._sweeper = loop.call_later(self._bounds.idle_s, self._sweep)
        return answer

    def _take(self) -> Connection | None:
        """The idle connection that was used last, so that the others may age."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            if connection.reusable:
                return connection
        return None

    async def _connect(self, timeout_s: float) -> Connection:
        return await connect(self.origin, timeout_s, self._pool.tls, self._pool.lookup, self._live)

    async def _turn(self, loop: asyncio.AbstractEventLoop, deadline_s: float) -> None:
        turn: asyncio.Future[None] = loop.create_future()
        self._turns.append(turn)
        try:
            async with asyncio.timeout(min(deadline_s, self._bounds.turn_s)):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                # The turn came in the moment in which this call gave up.
                self._pass_turn()
            if isinstance(error, TimeoutError):
                raise Overloaded(detail="all connections to the provider are in use") from error
            raise

    def _pass_turn(self) -> None:
        while self._turns:
            turn = self._turns.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._busy -= 1

    def _sweep(self) -> None:
        """Close connections that idled too long; runs only while some idle."""
        loop = asyncio.get_running_loop()
        oldest = loop.time() - self._bounds.idle_s
        fresh = [connection for connection in self._idle if connection.reusable and connection.idle_since > oldest]
        for connection in set(self._idle) - set(fresh):
            connection.close()
        self._idle = fresh
        self._sweeper = loop.call_later(self._bounds.idle_s / 2, self._sweep) if fresh else None


def _default_tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
