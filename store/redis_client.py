"""The Redis client: one pipelined connection per primary, scripts by their hash, a deadline on every command.

A command that timed out, or whose connection broke, *may have been applied*: every script of ours can be repeated. This
is the only client of Redis on the hot path; it knows no account and no money. The server says whether it is part of a
Redis Cluster: then each command goes to the primary that owns its key, and follows the key when it moves.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from hashlib import sha1

import hiredis
from redis.connection import parse_url
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from store.redis_connection import Command, RedisConnection, RedisUnavailable, Reply, Script, Server, Value, connect

__all__ = ["RedisClient", "RedisUnavailable", "Reply", "Script", "Value"]

CONNECT_WITHIN_S = 5.0
# How often one command is sent: a key on the move redirects once or twice, an inconsistent cluster for ever.
SENT_MAX = 4
# While slots move one after the other, the slot map is read again at most this often.
SLOTS_EVERY_S = 0.2


class RedisClient:
    """The Redis client of a process. ``on_connect(identity)`` runs before a fresh connection is used.

    The identity is the server's run id; of a cluster, a hash over the run ids of all primaries.
    """

    def __init__(
        self, url: str, scripts: Sequence[Script], on_connect: Callable[[str], Awaitable[None]], timeout_s: float = 1.0
    ) -> None:
        self._seed = _server(url)
        self._scripts = {script.sha: script for script in scripts}
        self._on_connect = on_connect
        self._timeout_s = timeout_s
        self._connections: dict[Server, RedisConnection] = {}
        # The owner of each slot; a single server is one entry.
        self._owners: list[RedisConnection] = []
        self._attempts = 0
        self._stale = asyncio.Event()
        self._open = asyncio.Event()

    @property
    def is_open(self) -> bool:
        """Whether calls can be sent now; in a cluster, to one primary at least."""
        return self._open.is_set()

    async def run(self) -> None:
        """Stay connected until cancelled: connect, report the identity, watch for silence and moved slots, again."""
        pause_s = 0.05
        try:
            while True:
                try:
                    await self._connect()
                except (OSError, TimeoutError, RedisUnavailable, hiredis.HiredisError):
                    await asyncio.sleep(pause_s)
                    pause_s = min(1.0, pause_s * 2)
                    continue
                pause_s = 0.05
                await self._watch()
                if all(connection.is_open for connection in self._connections.values()):
                    await asyncio.sleep(SLOTS_EVERY_S)
        finally:
            for connection in self._connections.values():
                connection.drop()
            self._open.clear()

    async def wait_connected(self, timeout_s: float) -> bool:
        """Wait until connected; False where that takes longer."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._open.wait()
        except TimeoutError:
            return False
        return True

    def call(self, script: Script, keys: Sequence[str], args: Sequence[Value]) -> "asyncio.Future[Reply]":
        """Run a script; the reply is a future. Raises :class:`RedisUnavailable` at once while not connected.

        All of ``keys`` have one hash tag, so that one primary owns them.
        """
        return self._owner(keys[0]).send("EVALSHA", script.sha, len(keys), *keys, *args)

    def command(self, *arguments: Value) -> "asyncio.Future[Reply]":
        """Send one command in this tick's write. In a cluster its second argument is the key."""
        return self._owner(*arguments[1:2]).send(*arguments)

    def command_all(self, *arguments: Value) -> "list[asyncio.Future[Reply]]":
        """Send one command to every primary that is connected."""
        return [connection.send(*arguments) for connection in self._live()]

    async def keys(self, pattern: str) -> AsyncIterator[bytes]:
        """Iterate over the matching keys of every connected primary; a key may come twice, as with ``SCAN``."""
        for connection in self._live():
            cursor = b"0"
            while True:
                cursor, batch = await connection.send("SCAN", cursor, "MATCH", pattern, "COUNT", 500)
                for key in batch:
                    yield bytes(key)
                if cursor == b"0":
                    break

    def _owner(self, *keys: Value) -> RedisConnection:
        if not self._open.is_set():
            raise RedisUnavailable("not connected to Redis")
        if len(self._owners) == 1:
            return self._owners[0]
        assert keys, "a command without a key has no one owner in a cluster; this is a bug"
        return self._owners[key_slot(str(keys[0]).encode())]

    def _live(self) -> list[RedisConnection]:
        live = [connection for connection in self._connections.values() if connection.is_open]
        if not live or not self._open.is_set():
            raise RedisUnavailable("not connected to Redis")
        return live

    def _on_error_reply(self, connection: RedisConnection, command: Command, error: hiredis.ReplyError) -> None:
        """Handle an error reply: a command that was redirected, and so not carried out, is sent to its owner."""
        kind, _, rest = str(error).partition(" ")
        try:
            if "READONLY " in str(error):
                # The primary was made a replica, and keeps its connections: the address leads to the new one.
                asyncio.get_running_loop().call_soon(connection.drop)
            if command.sent >= SENT_MAX or kind not in {"MOVED", "ASK", "NOSCRIPT"}:
                command.future.set_exception(error)
                return
            command.sent += 1
            if kind == "NOSCRIPT":
                # The scripts were flushed; EVAL loads this one again.
                command.arguments = ("EVAL", self._scripts[str(command.arguments[1])].source, *command.arguments[2:])
                connection.send_again(command)
                return
            if kind == "MOVED":
                self._stale.set()
            host, _, port = rest.split(" ")[1].rpartition(":")
            owner = self._connections.get(self._seed.at(host or connection.server.host, int(port)))
            if owner is None:
                raise RedisUnavailable("the key moves to a server that is not connected yet")
            if kind == "ASK":
                owner.send("ASKING").add_done_callback(_retrieve_exception)
            owner.send_again(command)
        except RedisUnavailable as fault:
            command.future.set_exception(fault)

    def _on_lost(self, connection: RedisConnection) -> None:
        if self._connections.get(connection.server) is not connection:
            return  # Calls do not use it yet, or no longer.
        self._stale.set()
        if not any(each.is_open for each in self._connections.values()):
            self._open.clear()

    async def _connect(self) -> None:
        """Connect to every primary, report their identity, then let calls through; live connections are kept."""
        self._stale.clear()
        reusable = {server: each for server, each in self._connections.items() if each.is_open}
        try:
            async with asyncio.timeout(CONNECT_WITHIN_S):
                slots = await self._slots(reusable)
                owners = {server: reusable.get(server) or await self._greeted(server, reusable) for server, _ in slots}
                await self._on_connect(_identity(owners.values()))
        except BaseException:
            self._drop_others(reusable, self._connections)
            raise
        self._connections = owners
        self._owners = [owners[server] for server, count in slots for _ in range(count)]
        self._open.set()
        self._drop_others(reusable, owners)
        for connection in owners.values():
            if not connection.is_open:
                self._on_lost(connection)

    async def _slots(self, reusable: dict[Server, RedisConnection]) -> list[tuple[Server, int]]:
        """The owners of the slots, with the number of slots of each, from slot 0 on; a single server owns one.

        Each attempt asks another server: one that is cut off from its cluster keeps reporting old owners.
        """
        servers = list(dict.fromkeys([*self._connections, self._seed]))
        self._attempts += 1
        server = servers[self._attempts % len(servers)]
        connection = reusable.get(server) or await self._greeted(server, reusable)
        if not connection.is_cluster:
            return [(server, 1)]
        ranges = sorted(await connection.send("CLUSTER", "SLOTS"), key=lambda each: int(each[0]))
        slots = [
            (self._seed.at(bytes(primary[0] or b"").decode() or server.host, int(primary[1])), last - first + 1)
            for first, last, primary, *_ in ranges
        ]
        if sum(count for _, count in slots) != REDIS_CLUSTER_HASH_SLOTS:
            raise RedisUnavailable("the cluster has slots that nobody owns")
        return slots

    async def _greeted(self, server: Server, connections: dict[Server, RedisConnection]) -> RedisConnection:
        connections[server] = await connect(server, self._scripts.values(), self._on_error_reply, self._on_lost)
        return connections[server]

    def _drop_others(self, connections: dict[Server, RedisConnection], used: dict[Server, RedisConnection]) -> None:
        for server, connection in connections.items():
            if used.get(server) is not connection:
                connection.drop()

    async def _watch(self) -> None:
        """Wait until a connection is lost, a command has been without a reply for too long, or a key has moved."""
        while not self._stale.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(self._timeout_s / 4):
                    await self._stale.wait()
            for connection in self._connections.values():
                connection.drop_if_silent(self._timeout_s)


def _retrieve_exception(reply: "asyncio.Future[Reply]") -> None:
    """Retrieve the exception of a reply that is not awaited, or asyncio logs it."""
    if not reply.cancelled():
        reply.exception()


def _server(url: str) -> Server:
    address = parse_url(url)  # type: ignore[no-untyped-call]
    path = address.get("path")
    return Server(
        host=address.get("host", "localhost"),
        port=int(address.get("port", 6379)),
        path=path,
        is_tls=path is None and address.get("connection_class") is not None,
        username=address.get("username"),
        password=address.get("password"),
        database=int(address.get("db") or 0),
    )


def _identity(connections: Iterable[RedisConnection]) -> str:
    run_ids = sorted(connection.run_id for connection in connections)
    if len(run_ids) == 1:
        return run_ids[0]
    return sha1("".join(run_ids).encode(), usedforsecurity=False).hexdigest()
