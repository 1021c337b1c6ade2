"""Checks at each start how PostgreSQL and Redis are configured, before money is trusted to them. Changes nothing."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from redis import asyncio as redis_client
from redis.exceptions import RedisClusterException, RedisError

from store.faults import Unavailable, UnsafeServer

CONNECT_WITHIN_S = 5.0
POSTGRES_VERSION_MIN = 15
REDIS_VERSION_MIN = 6

# Setting -> what is lost without it. With these off an acknowledged charge can vanish in a crash.
POSTGRES_ON = {
    "fsync": "a crash of the machine loses or corrupts the ledger",
    "full_page_writes": "a crash of the machine can tear pages of the ledger",
    "synchronous_commit": "a crash loses charges whose answers were delivered",
}


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    """Open one connection for a check. Raises :class:`Unavailable` where that fails."""
    try:
        connection = await asyncpg.connect(url, timeout=CONNECT_WITHIN_S)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        raise Unavailable(f"PostgreSQL (DATABASE_URL) cannot be reached: {_describe(error)}.") from error
    try:
        yield connection
    finally:
        await connection.close(timeout=CONNECT_WITHIN_S)


async def check_postgres(url: str) -> None:
    """Check PostgreSQL.

    Raises :class:`UnsafeServer` for settings that lose money, :class:`Unavailable` without an answer.
    """
    async with connected(url) as connection:
        version = int(await connection.fetchval("SHOW server_version_num")) // 10_000
        if version < POSTGRES_VERSION_MIN:
            raise UnsafeServer(f"PostgreSQL {version} is too old: {POSTGRES_VERSION_MIN} or newer is needed.")
        if await connection.fetchval("SELECT pg_is_in_recovery()"):
            raise UnsafeServer("PostgreSQL (DATABASE_URL) is a read-only replica: name the primary.")
        for setting, loss in POSTGRES_ON.items():
            value = await connection.fetchval("SELECT current_setting($1)", setting)
            if value == "off":
                raise UnsafeServer(f"PostgreSQL runs with {setting} = off: {loss}. Set it to on in postgresql.conf.")


async def check_redis(url: str) -> None:
    """Check Redis. Raises :class:`UnsafeServer` for one that evicts, :class:`Unavailable` without an answer.

    Of a Redis Cluster every primary is checked. INFO is asked, which managed services allow where they forbid CONFIG.
    """
    try:
        servers = await _servers(url)
    except (OSError, TimeoutError, RedisError, RedisClusterException) as error:
        raise Unavailable(f"Redis (REDIS_URL) cannot be reached: {_describe(error)}.") from error
    for where, info in servers.items():
        major = int(str(info["redis_version"]).split(".", 1)[0])
        if major < REDIS_VERSION_MIN:
            raise UnsafeServer(
                f"Redis {info['redis_version']}{where} is too old: {REDIS_VERSION_MIN} or newer is needed."
            )
        policy = info["maxmemory_policy"]
        if policy != "noeviction":
            raise UnsafeServer(
                f"Redis{where} runs with maxmemory-policy {policy}, which deletes balances when memory is short: "
                "set it to noeviction."
            )


async def _servers(url: str) -> dict[str, dict[str, Any]]:
    """INFO of the server, or of every primary of its cluster, by its place as a part of a sentence."""
    limits = {"socket_timeout": CONNECT_WITHIN_S, "socket_connect_timeout": CONNECT_WITHIN_S}
    async with redis_client.from_url(url, **limits) as client:
        server = await client.info("server")
        if server["redis_mode"] != "cluster":
            return {"": server | await client.info("memory")}
    async with redis_client.RedisCluster.from_url(url, **limits) as cluster:
        return {
            f" at {primary.name}": await cluster.info("server", target_nodes=primary)
            | await cluster.info("memory", target_nodes=primary)
            for primary in cluster.get_primaries()
        }


def _describe(error: Exception) -> str:
    return str(error) or type(error).__name__
