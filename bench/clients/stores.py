"""Redis: what a call costs there, an admission and the end of its hold, by the product's own scripts and keys.

Every task is another account. One Redis is spoken to over TCP; a cluster of three primaries by the clients that know
clusters. A library's commands are also sent as a pipeline per tick of the event loop, by the few lines of ``Ticks``.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any
from uuid import uuid4

import msgspec

from bench.clients.rounds import Call
from bench.clients.upstreams import installed
from billing.projection import ADMIT, APPLY, LOAD, SCRIPTS, account_key, limits_key
from store.ids import AccountId
from store.redis_client import RedisClient, Script

# Runs one script; the reply as the client gives it.
Run = Callable[[Script, Sequence[str], Sequence[str | int]], Awaitable[Any]]
ACCOUNTS = [AccountId(uuid4()) for _ in range(64)]
KEY = uuid4().hex


class Target(msgspec.Struct, frozen=True):
    """Where Redis listens; ``is_cluster``: it is one node of a cluster."""

    host: str
    port: int
    is_cluster: bool

    @property
    def url(self) -> str:
        return f"redis://{self.host}:{self.port}"


async def _prepared(run: Run) -> Call:
    """Load the accounts, and give back what is measured: two scripts, one after the other."""
    for account in ACCOUNTS:
        await run(LOAD, [account_key(account)], [1, 1, 10**14, 0])

    async def call(number: int) -> None:
        account = ACCOUNTS[number]
        keys = [account_key(account), limits_key(account)]
        request = uuid4().hex
        arguments: list[str | int] = [1, request, 1_000, KEY, "total", "", 10**6, 10**9, 1_000, 8, 10**13, 8, 0]
        reply = await run(ADMIT, keys, arguments)
        assert reply[0] == b"ok", reply
        reply = await run(APPLY, keys, [1, "", 0, 1, request, 8])
        assert reply in {b"ok", "ok"}, reply

    return call


class Ours:
    """``store/redis_client.py``."""

    name = "ours (store/redis_client.py)"

    def version(self) -> str:
        return "hiredis " + installed("hiredis")

    @asynccontextmanager
    async def opened(self, target: Target) -> AsyncIterator[Call]:
        async def known(_: str) -> None:
            return

        redis = RedisClient(target.url, SCRIPTS, known, timeout_s=5)
        async with asyncio.TaskGroup() as group:
            keeps = group.create_task(redis.run())
            assert await redis.wait_connected(5)
            yield await _prepared(redis.call)
            keeps.cancel()


class Ticks:
    """Commands of one event-loop tick as one pipeline of redis-py, which does not gather them by itself."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._waiting: list[tuple[tuple[Any, ...], asyncio.Future[Any]]] = []
        self._sending: set[asyncio.Task[None]] = set()

    def run(self, script: Script, keys: Sequence[str], arguments: Sequence[str | int]) -> Awaitable[Any]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._flush)
        self._waiting.append((("EVALSHA", script.sha, len(keys), *keys, *arguments), future))
        return future

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        task = asyncio.get_running_loop().create_task(self._send(waiting))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _send(self, waiting: list[tuple[tuple[Any, ...], asyncio.Future[Any]]]) -> None:
        pipeline = self._client.pipeline(transaction=False) if hasattr(self._client, "connection_pool") else None
        pipeline = pipeline or self._client.pipeline()
        for words, _ in waiting:
            pipeline.execute_command(*words)
        for (_, future), reply in zip(waiting, await pipeline.execute(raise_on_error=False), strict=True):
            if isinstance(reply, Exception):
                future.set_exception(reply)
            else:
                future.set_result(reply)


class RedisPy:
    """redis-py on asyncio with hiredis, command by command or with a pipeline per tick."""

    def __init__(self, *, ticks: bool) -> None:
        self.ticks = ticks
        self.name = "redis-py" + (", pipeline per tick" if ticks else "")

    def version(self) -> str:
        return installed("redis")

    @asynccontextmanager
    async def opened(self, target: Target) -> AsyncIterator[Call]:
        asynchronous = import_module("redis.asyncio")
        kind = asynchronous.RedisCluster if target.is_cluster else asynchronous.Redis
        client = kind(host=target.host, port=target.port, max_connections=64)

        async def run(script: Script, keys: Sequence[str], arguments: Sequence[str | int]) -> Any:
            return await client.execute_command("EVALSHA", script.sha, len(keys), *keys, *arguments)

        for script in SCRIPTS:
            await client.script_load(script.source)
        yield await _prepared(Ticks(client).run if self.ticks else run)
        await client.aclose()


class Coredis:
    """coredis, which gathers the commands of a connection by itself; ``bare``: its connection without its client."""

    def __init__(self, *, bare: bool) -> None:
        self.bare = bare
        self.name = "coredis" + (", bare connection" if bare else "")

    def version(self) -> str:
        return installed("coredis")

    @asynccontextmanager
    async def opened(self, target: Target) -> AsyncIterator[Call]:
        coredis = import_module("coredis")
        if target.is_cluster:
            client = coredis.RedisCluster(target.host, target.port, max_connections=1, max_connections_per_node=True)
        else:
            client = coredis.Redis(target.host, target.port, max_connections=1)
        async with client:
            for script in SCRIPTS:
                await client.script_load(script.source)

            async def run(script: Script, keys: Sequence[str], arguments: Sequence[str | int]) -> Any:
                return await client.evalsha(script.sha, keys, arguments)

            if not self.bare:
                yield await _prepared(run)
                return
            async with client.connection_pool.acquire() as connection:

                def straight(script: Script, keys: Sequence[str], arguments: Sequence[str | int]) -> Awaitable[Any]:
                    reply: Awaitable[Any] = connection.create_request(
                        b"EVALSHA", script.sha, len(keys), *keys, *arguments
                    )
                    return reply

                yield await _prepared(straight)


CONTENDERS = (Ours(), RedisPy(ticks=False), RedisPy(ticks=True), Coredis(bare=False), Coredis(bare=True))
# A cluster has no one connection to be bare on.
CLUSTERED = (Ours(), RedisPy(ticks=False), RedisPy(ticks=True), Coredis(bare=False))
