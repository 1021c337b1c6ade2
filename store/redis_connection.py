"""One pipelined connection to one Redis server: commands of a tick leave in one write, replies come in order.

It knows nothing of clusters: an error reply goes to the owner of the connection, who may send the command elsewhere.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from hashlib import sha1
from typing import Any, cast

import hiredis
import msgspec
from typing_extensions import override

Value = str | bytes | int
Reply = Any  # hiredis gives bytes, int, None, or lists of those


class RedisUnavailable(Exception):
    """Redis cannot be reached, or did not answer in time: the command's fate is unknown."""


class Script:
    """A Lua script, known to Redis by its SHA-1."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.sha = sha1(source.encode(), usedforsecurity=False).hexdigest()


class Server(msgspec.Struct, frozen=True):
    """The address of a server (``path`` is a Unix socket's), and how to authenticate."""

    host: str = "localhost"
    port: int = 6379
    path: str | None = None
    is_tls: bool = False
    username: str | None = None
    password: str | None = None
    database: int = 0

    def at(self, host: str, port: int) -> "Server":
        """Another server with the same authentication."""
        return msgspec.structs.replace(self, host=host, port=port, path=None)


class Command(msgspec.Struct, gc=False):
    """A command without a reply yet, last sent at ``sent_at`` (the loop's clock); ``sent`` counts how often."""

    arguments: tuple[Value, ...]
    future: "asyncio.Future[Reply]"
    sent_at: float
    sent: int = 1


OnErrorReply = Callable[["RedisConnection", Command, hiredis.ReplyError], None]
OnLost = Callable[["RedisConnection"], None]


class RedisConnection(asyncio.Protocol):
    """A connection made by :func:`connect`. ``on_error_reply`` gets each error reply and must settle its future."""

    def __init__(self, server: Server, on_error_reply: OnErrorReply, on_lost: OnLost) -> None:
        self.server = server
        self.run_id = ""
        self.is_cluster = False
        self._on_error_reply = on_error_reply
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader()
        self._pending: deque[Command] = deque()
        self._outgoing: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self._received_at = 0.0

    @property
    def is_open(self) -> bool:
        """Whether commands can be sent."""
        return self._transport is not None

    def send(self, *arguments: Value) -> "asyncio.Future[Reply]":
        """Send one command in this tick's write. Raises :class:`RedisUnavailable` at once when not connected."""
        command = Command(arguments, self._loop.create_future(), 0.0)
        self.send_again(command)
        return command.future

    def send_again(self, command: Command) -> None:
        """Send a command again that got an error reply, here or elsewhere. Raises :class:`RedisUnavailable`."""
        if self._transport is None:
            raise RedisUnavailable("not connected to Redis")
        command.sent_at = self._loop.time()
        self._pending.append(command)
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        self._outgoing.append(hiredis.pack_command(command.arguments))  # type: ignore[arg-type]

    def drop(self) -> None:
        """Close at once; commands without a reply fail."""
        if self._transport is not None:
            self._transport.abort()
            self.connection_lost(None)

    def drop_if_silent(self, timeout_s: float) -> None:
        """Close where a command waits and nothing has come for longer than ``timeout_s``.

        What waits in a long queue whose replies come is not lost: to send all of it again would make the queue longer.
        """
        if self._pending and self._loop.time() - max(self._pending[0].sent_at, self._received_at) > timeout_s:
            self.drop()

    async def greet(self, scripts: Iterable[Script]) -> None:
        """Authenticate, load the scripts, and learn which server this is; :class:`RedisUnavailable` at a replica."""
        server = self.server
        if server.password:
            await self.send("AUTH", *((server.username, server.password) if server.username else (server.password,)))
        if server.database:
            await self.send("SELECT", server.database)
        for script in scripts:
            await self.send("SCRIPT", "LOAD", script.source)
        lines = bytes(await self.send("INFO")).decode().splitlines()
        info = dict(line.split(":", 1) for line in lines if ":" in line)
        self.run_id, self.is_cluster = info["run_id"], info.get("redis_mode") == "cluster"
        # In a cluster a replica says who owns the slots, and sends writes to them.
        if not self.is_cluster and info.get("role") == "slave":
            raise RedisUnavailable("the server is a replica, which takes no writes")

    def _flush(self) -> None:
        if self._outgoing and self._transport is not None:
            self._transport.write(b"".join(self._outgoing))
        self._outgoing.clear()

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no asyncio.Transport by class.
        self._transport = cast("asyncio.Transport", transport)

    @override
    def data_received(self, data: bytes) -> None:
        self._received_at = self._loop.time()
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not False:
            command = self._pending.popleft()
            if command.future.done():
                continue
            if isinstance(reply, hiredis.ReplyError):
                self._on_error_reply(self, command, reply)
            else:
                command.future.set_result(reply)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is None:
            return
        self._transport = None
        while self._pending:
            future = self._pending.popleft().future
            if not future.done():
                future.set_exception(RedisUnavailable("the connection to Redis broke"))
        self._on_lost(self)


async def connect(
    server: Server, scripts: Iterable[Script], on_error_reply: OnErrorReply, on_lost: OnLost
) -> RedisConnection:
    """Connect and greet. Raises ``OSError``, :class:`RedisUnavailable`, or the server's ``ReplyError``."""
    loop = asyncio.get_running_loop()

    def new_connection() -> RedisConnection:
        return RedisConnection(server, on_error_reply, on_lost)

    if server.path is not None:
        _, connection = await loop.create_unix_connection(new_connection, server.path)
    else:
        _, connection = await loop.create_connection(
            new_connection, server.host, server.port, ssl=True if server.is_tls else None
        )
    try:
        await connection.greet(scripts)
    except BaseException:
        connection.drop()
        raise
    return connection
