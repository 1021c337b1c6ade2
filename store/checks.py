"""What PostgreSQL and Redis must be set to before money is trusted to them: checked at each start, never changed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from redis import asyncio as redis_client
from redis.exceptions import RedisClusterException, RedisError

from store.faults import CannotStart, Unfit

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
    """One connection for a check. Raises :class:`CannotStart` when there is none."""
    try:
        connection = await asyncpg.connect(url, timeout=CONNECT_WITHIN_S)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        raise CannotStart(f"PostgreSQL (DATABASE_URL) cannot be reached: {_why(error)}.") from error
    try:
        yield connection
    finally:
        await connection.close(timeout=CONNECT_WITHIN_S)


async def check_postgres(url: str) -> None:
    """Raises :class:`Unfit` for settings that lose money, :class:`CannotStart` when it cannot be reached."""
    async with connected(url) as connection:
        version = int(await connection.fetchval("SHOW server_version_num")) // 10_000
        if version < POSTGRES_VERSION_MIN:
            raise Unfit(f"PostgreSQL {version} is too old: {POSTGRES_VERSION_MIN} or newer is needed.")
        if await connection.fetchval("SELECT pg_is_in_recovery()"):
            raise Unfit("PostgreSQL (DATABASE_URL) is a read-only replica: name the primary.")
        for setting, loss in POSTGRES_ON.items():
            value = await connection.fetchval("SELECT current_setting($1)", setting)
            if value == "off":
                raise Unfit(f"PostgreSQL runs with {setting} = off: {loss}. Set it to on in postgresql.conf.")


async def check_redis(url: str) -> None:
    """Raises :class:`Unfit` for a Redis that evicts, :class:`CannotStart` when it cannot be reached.

    Of a Redis Cluster every primary is looked at. It asks INFO, which managed services allow where they forbid CONFIG.
    """
    try:
        servers = await _servers(url)
    except (OSError, TimeoutError, RedisError, RedisClusterException) as error:
        raise CannotStart(f"Redis (REDIS_URL) cannot be reached: {_why(error)}.") from error
    for where, info in servers.items():
        major = int(str(info["redis_version"]).split(".", 1)[0])
        if major < REDIS_VERSION_MIN:
            raise Unfit(f"Redis {info['redis_version']}{where} is too old: {REDIS_VERSION_MIN} or newer is needed.")
        policy = info["maxmemory_policy"]
        if policy != "noeviction":
            raise Unfit(
                f"Redis{where} runs with maxmemory-policy {policy}, which deletes balances when memory is short: "
                "set it to noeviction."
            )


async def _servers(url: str) -> dict[str, dict[str, Any]]:
    """What the server, or every primary of its cluster, says of itself; by where it is, in words for a sentence."""
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


def _why(error: Exception) -> str:
    return str(error) or type(error).__name__
