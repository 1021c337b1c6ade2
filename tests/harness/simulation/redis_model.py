"""Redis for the simulation: hashes in memory, and the product's own Lua scripts in a real Lua 5.1, as in Redis."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from hiredis import ReplyError
from lupa import lua51  # type: ignore[import-untyped]

from billing.projection import SCRIPTS
from store.redis_client import RedisUnavailable, Script
from tests.harness.simulation.virtual_time import Gate, Link, VirtualLoop, Wire

TIMEOUT_S = 1.0


class RedisModel:
    """One server. ``flush`` forgets everything; ``restart`` gets another identity, too."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.gate = Gate()
        self.lives = 1
        self.hashes: dict[bytes, dict[bytes, bytes]] = {}
        self._clock = clock
        lua = lua51.LuaRuntime(encoding=None)
        self._table = lua.table_from
        redis = lua.table()
        redis[b"call"], redis[b"error_reply"] = self._call, lambda message: lua.table_from({b"err": message})
        lua.globals()[b"redis"] = redis
        self._functions = {
            script.sha: lua.execute(f"return function(KEYS, ARGV) {script.source}\nend".encode()) for script in SCRIPTS
        }

    def flush(self) -> None:
        self.hashes.clear()

    def restart(self) -> None:
        self.flush()
        self.lives += 1

    def run(self, script: Script, keys: list[str], args: list[Any]) -> Any:
        """What Redis would reply to a script."""
        numbered = [self._table([_bytes(value) for value in values]) for values in (keys, args)]
        reply = self._functions[script.sha](*numbered)
        if lua51.lua_type(reply) == "table":
            if reply[b"err"]:
                raise ReplyError(reply[b"err"].decode())
            return [_reply(value) for value in reply.values()]
        return _reply(reply)

    def command(self, name: str, *arguments: Any) -> Any:
        reply = self._call(_bytes(name), *(_bytes(argument) for argument in arguments))
        return [value or None for value in reply.values()] if lua51.lua_type(reply) == "table" else reply or None

    def _call(self, name: bytes, key: bytes = b"", *arguments: Any) -> Any:
        if name == b"TIME":
            now = self._clock()
            return self._table([b"%d" % int(now), b"%d" % int(now % 1 * 1e6)])
        words = [_bytes(argument) for argument in arguments]
        reply = getattr(self, f"_{name.decode().lower()}")(key, *words)
        if key in self.hashes and not self.hashes[key]:
            del self.hashes[key]
        return reply

    def _hget(self, key: bytes, field: bytes) -> bytes | bool:
        return self.hashes.get(key, {}).get(field, False)

    def _hmget(self, key: bytes, *fields: bytes) -> Any:
        return self._table([self._hget(key, field) for field in fields])

    def _hgetall(self, key: bytes) -> Any:
        return self._table([item for pair in self.hashes.get(key, {}).items() for item in pair])

    def _hset(self, key: bytes, *pairs: bytes) -> int:
        self.hashes.setdefault(key, {}).update(zip(pairs[::2], pairs[1::2], strict=True))
        return 1

    def _hsetnx(self, key: bytes, field: bytes, value: bytes) -> int:
        return 0 if self._hget(key, field) else self._hset(key, field, value)

    def _hincrby(self, key: bytes, field: bytes, amount: bytes) -> int:
        total = int(self._hget(key, field) or 0) + int(amount)
        self._hset(key, field, b"%d" % total)
        return total

    def _hdel(self, key: bytes, *fields: bytes) -> int:
        return sum(self.hashes.get(key, {}).pop(field, None) is not None for field in fields)

    def _hexists(self, key: bytes, field: bytes) -> int:
        return int(self._hget(key, field) is not False)

    def _del(self, key: bytes) -> int:
        return int(self.hashes.pop(key, None) is not None)

    def _pexpire(self, _key: bytes, _milliseconds: bytes) -> int:
        return 1

    def _zscore(self, _key: bytes, _member: bytes) -> bool:
        return False


class SimulatedClient:
    """The part of :class:`store.redis_client.RedisClient` that billing uses, with its deadline on every command."""

    def __init__(
        self, loop: VirtualLoop, link: Link, redis: RedisModel, on_connect: Callable[[str], Awaitable[None]]
    ) -> None:
        self._loop, self._link, self._redis, self._on_connect = loop, link, redis, on_connect
        self._wire: Wire | None = None
        self._waiting: dict[asyncio.Future[Any], float] = {}

    @property
    def is_open(self) -> bool:
        return self._wire is not None

    def call(self, script: Script, keys: list[str], args: list[Any]) -> "asyncio.Future[Any]":
        return self._send(lambda: self._redis.run(script, keys, args))

    def command(self, *arguments: Any) -> "asyncio.Future[Any]":
        return self._send(lambda: self._redis.command(*arguments))

    async def keys(self, _pattern: str) -> AsyncIterator[bytes]:
        for key in await self._send(lambda: list(self._redis.hashes)):
            yield key

    def _send(self, step: Callable[[], Any]) -> "asyncio.Future[Any]":
        if self._wire is None:
            raise RedisUnavailable("not connected to Redis")
        lives = self._redis.lives

        def in_this_life() -> Any:
            if lives != self._redis.lives:
                raise RedisUnavailable("the server that was asked has ended")
            return step()

        future = self._wire.request(in_this_life)
        self._waiting[future] = self._loop.time()
        future.add_done_callback(lambda done: self._waiting.pop(done, None))
        return future

    async def run(self) -> None:
        """Stay connected; a command without a reply for too long breaks the connection, and may be done after it."""
        while True:
            wire = Wire(self._loop, self._link)
            try:
                async with asyncio.timeout(5):
                    await self._on_connect(await wire.request(lambda: f"life {self._redis.lives}"))
            except (TimeoutError, RedisUnavailable):
                await asyncio.sleep(0.2)
                continue
            lives, self._wire = self._redis.lives, wire
            while lives == self._redis.lives and not self._is_silent():  # noqa: ASYNC110 - as the client does
                await asyncio.sleep(TIMEOUT_S / 4)
            self._wire = None
            for future in list(self._waiting):
                if not future.done():
                    future.set_exception(RedisUnavailable("the connection broke"))
                    future.exception()

    def _is_silent(self) -> bool:
        return any(since < self._loop.time() - TIMEOUT_S for since in self._waiting.values())


def _bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    return str(int(value) if isinstance(value, float) else value).encode()


def _reply(value: Any) -> Any:
    return None if value is False or value is None else int(value) if isinstance(value, float) else value
