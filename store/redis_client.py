"""Redis, lean: one pipelined connection per process, scripts by their hash, a deadline on every command.

Commands of one event-loop tick leave in one write. A command that timed out, or whose connection broke, *may have
been applied*: every script of ours can be repeated. The only door to Redis on the hot path; it knows no account and
no money.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from hashlib import sha1
from typing import Any, cast

import hiredis
from redis.connection import parse_url
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


class _Wire(asyncio.Protocol):
    """One connection: bytes in, replies out in order."""

    def __init__(self) -> None:
        self.reader = hiredis.Reader()
        self.waiting: deque[tuple[asyncio.Future[Reply], float]] = deque()
        self.transport: asyncio.Transport | None = None
        self.lost = asyncio.get_running_loop().create_future()

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no asyncio.Transport by class.
        self.transport = cast("asyncio.Transport", transport)

    @override
    def data_received(self, data: bytes) -> None:
        self.reader.feed(data)
        while (reply := self.reader.gets()) is not False:
            future, _ = self.waiting.popleft()
            if future.done():
                continue
            if isinstance(reply, hiredis.ReplyError):
                future.set_exception(reply)
            else:
                future.set_result(reply)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        while self.waiting:
            future, _ = self.waiting.popleft()
            if not future.done():
                future.set_exception(RedisUnavailable("the connection to Redis broke"))
        if not self.lost.done():
            self.lost.set_result(None)


class RedisClient:
    """The process's Redis. ``on_connect(run_id)`` runs before anyone may use a fresh connection."""

    def __init__(
        self, url: str, scripts: Sequence[Script], on_connect: Callable[[str], Awaitable[None]], timeout_s: float = 1.0
    ) -> None:
        self._address: dict[str, Any] = parse_url(url)  # type: ignore[no-untyped-call]
        self._scripts = scripts
        self._on_connect = on_connect
        self._timeout_s = timeout_s
        self._wire: _Wire | None = None
        self._writing: _Wire | None = None
        self._outgoing: list[bytes] = []
        self._flush_due = False
        self._open = asyncio.Event()

    @property
    def is_open(self) -> bool:
        """Whether calls can be sent now."""
        return self._open.is_set()

    async def run(self) -> None:
        """Keep connected until cancelled: connect, hand over the server's identity, watch for silence, again."""
        pause_s = 0.05
        while True:
            try:
                wire = await self._connect()
            except (OSError, TimeoutError, RedisUnavailable, hiredis.HiredisError):
                await asyncio.sleep(pause_s)
                pause_s = min(1.0, pause_s * 2)
                continue
            pause_s = 0.05
            try:
                await self._watch(wire)
            finally:
                self._drop(wire)

    async def opened(self, timeout_s: float) -> bool:
        """Wait until connected; False when that takes longer."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._open.wait()
        except TimeoutError:
            return False
        return True

    def call(self, script: Script, keys: Sequence[str], args: Sequence[Value]) -> "asyncio.Future[Reply]":
        """Run a script; the reply comes as a future. Raises :class:`RedisUnavailable` at once while not connected."""
        return self.command("EVALSHA", script.sha, len(keys), *keys, *args)

    def command(self, *words: Value) -> "asyncio.Future[Reply]":
        """Send one command in this tick's write."""
        if self._wire is None or not self._open.is_set():
            raise RedisUnavailable("not connected to Redis")
        return self._send(self._wire, *words)

    def _send(self, wire: _Wire, *words: Value) -> "asyncio.Future[Reply]":
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Reply] = loop.create_future()
        wire.waiting.append((future, loop.time()))
        self._outgoing.append(hiredis.pack_command(words))  # type: ignore[arg-type]
        if not self._flush_due:
            self._flush_due = True
            loop.call_soon(self._flush, wire)
        return future

    def _flush(self, wire: _Wire) -> None:
        if wire is not self._writing:
            return  # Of a connection that is gone: what waits now belongs to another.
        self._flush_due = False
        if self._outgoing and wire.transport is not None:
            wire.transport.write(b"".join(self._outgoing))
        self._outgoing.clear()

    async def _connect(self) -> _Wire:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(5):
            if path := self._address.get("path"):
                _, wire = await loop.create_unix_connection(_Wire, path)
            else:
                secure = self._address.get("connection_class") is not None
                host, port = self._address.get("host", "localhost"), int(self._address.get("port", 6379))
                _, wire = await loop.create_connection(_Wire, host, port, ssl=True if secure else None)
            self._outgoing.clear()
            self._flush_due = False
            self._writing = wire
            try:
                run_id = await self._greet(wire)
                self._wire = wire
                await self._on_connect(run_id)
            except BaseException:
                self._drop(wire)
                raise
        self._open.set()
        return wire

    async def _greet(self, wire: _Wire) -> str:
        if password := self._address.get("password"):
            user = self._address.get("username")
            await self._send(wire, "AUTH", *((user, password) if user else (password,)))
        if number := self._address.get("db"):
            await self._send(wire, "SELECT", int(number))
        for script in self._scripts:
            await self._send(wire, "SCRIPT", "LOAD", script.source)
        info = bytes(await self._send(wire, "INFO", "server")).decode()
        return next(line[7:] for line in info.splitlines() if line.startswith("run_id:"))

    async def _watch(self, wire: _Wire) -> None:
        """Returns when the connection is lost or a command has been without an answer for too long."""
        loop = asyncio.get_running_loop()
        while not wire.lost.done():
            await asyncio.wait([wire.lost], timeout=self._timeout_s / 4)
            if wire.waiting and loop.time() - wire.waiting[0][1] > self._timeout_s:
                return

    def _drop(self, wire: _Wire) -> None:
        self._open.clear()
        self._wire = None
        if wire.transport is not None:
            wire.transport.abort()
        wire.connection_lost(None)
