import asyncpg
import pytest

pytestmark = pytest.mark.anyio


async def test_a_test_gets_a_database_of_its_own(database_url: str, redis_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("CREATE TABLE t (n int)")
        assert await connection.fetchval("SELECT current_setting('fsync')") == "on"
    finally:
        await connection.close()


async def test_and_sees_nothing_of_another_test(database_url: str, redis_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        assert await connection.fetchval("SELECT to_regclass('t')") is None
    finally:
        await connection.close()
