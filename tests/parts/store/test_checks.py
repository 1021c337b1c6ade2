"""Start-up refuses servers that would lose money: shown on real ones that are set up wrong."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from store.checks import check_postgres, check_redis
from store.embedded import Embedded
from store.faults import CannotStart, UnsafeServer

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def wrong(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    """Servers of this module alone, for it to spoil."""
    with Embedded(tmp_path_factory.mktemp("wrong")) as servers:
        yield servers


async def test_servers_as_we_start_them_are_fit(servers: Embedded) -> None:
    await check_postgres(servers.postgres.url("postgres"))
    await check_redis(servers.redis_url)


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl", "allkeys-random"])
async def test_a_redis_that_evicts_is_refused(wrong: Embedded, policy: str) -> None:
    wrong.redis.command(f"CONFIG SET maxmemory-policy {policy}")
    with pytest.raises(UnsafeServer, match=f"maxmemory-policy {policy}, which deletes balances"):
        await check_redis(wrong.redis_url)
    wrong.redis.command("CONFIG SET maxmemory-policy noeviction")
    await check_redis(wrong.redis_url)


@pytest.mark.parametrize("setting", ["fsync", "full_page_writes", "synchronous_commit"])
async def test_a_postgres_that_forgets_is_refused(wrong: Embedded, setting: str) -> None:
    """`fsync` and `full_page_writes` are read from a real server's command line, as an operator would set them."""
    wrong.postgres.query(f"ALTER SYSTEM SET {setting} = off")
    wrong.postgres.stop()
    options = wrong.postgres.options
    wrong.postgres.options = {name: value for name, value in options.items() if name != setting}
    try:
        wrong.postgres.launch()
        wrong.postgres.wait_until_ready()
        with pytest.raises(UnsafeServer, match=re.escape(f"{setting} = off")):
            await check_postgres(wrong.postgres.url("postgres"))
    finally:
        wrong.postgres.query(f"ALTER SYSTEM RESET {setting}")
        wrong.postgres.stop()
        wrong.postgres.options = options
        wrong.postgres.launch()
        wrong.postgres.wait_until_ready()
    await check_postgres(wrong.postgres.url("postgres"))


async def test_servers_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match=r"PostgreSQL \(DATABASE_URL\) cannot be reached"):
        await check_postgres(f"postgresql://postgres@/x?host={tmp_path}")
    with pytest.raises(CannotStart, match=r"Redis \(REDIS_URL\) cannot be reached"):
        await check_redis(f"unix://{tmp_path}/redis.sock")


async def test_a_password_is_never_in_the_sentence() -> None:
    for url in ("postgresql://user:hunter2@127.0.0.1:1/x", "postgresql://user:hunter2@127.0.0.1:port/x"):
        with pytest.raises(CannotStart) as fault:
            await check_postgres(url)
        assert "hunter2" not in str(fault.value)
