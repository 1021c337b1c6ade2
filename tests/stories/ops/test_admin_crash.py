"""A process dies in the middle of an operator's change: nothing of it is there, and the same request makes it once."""

import asyncio
import threading
import time
from contextlib import suppress

import asyncpg
import httpx
import pytest

from store.embedded import Embedded
from tests.harness.admin_client import Operator, an_operator
from tests.harness.processes import Product


def test_a_crash_in_the_middle_leaves_nothing_and_the_repeated_write_is_made_once(
    servers: Embedded, database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    crashing = Product(tmp_path_factory.mktemp("crash"), database_url, servers.redis_url, jobs=False)
    with crashing:
        serve = crashing.serves[0]
        ops = an_operator(crashing.environment, serve.admin_url)
        account = ops("POST", "/accounts", {"name": "Acme"}, 201)["id"]
        path, tag = f"/accounts/{account}", ops.ask("GET", f"/accounts/{account}").headers["etag"]
        with locked(database_url, "accounts"):
            lost = threading.Thread(target=ignored, args=(ops, path, tag))
            lost.start()
            wait_for_a_blocked_write(crashing)
            serve.kill()
            lost.join()
        assert crashing.database.value("SELECT name FROM accounts") == "Acme"
        assert crashing.database.value("SELECT count(*) FROM idempotency") == 0
        serve.start()
        serve.wait_until_ready()
        for _ in range(2):
            assert ops("PATCH", path, {"name": "New"}, if_match=tag, idempotency_key="r")["name"] == "New"
        assert crashing.database.value("SELECT count(*) FROM audit WHERE action = 'account.rename'") == 1


class locked:  # noqa: N801 - reads as a statement
    """A row lock that somebody else holds."""

    def __init__(self, database_url: str, table: str) -> None:
        self._url, self._table = database_url, table
        self._loop = asyncio.new_event_loop()

    def __enter__(self) -> None:
        self._loop.run_until_complete(self._begin())

    async def _begin(self) -> None:
        self._connection = await asyncpg.connect(self._url)
        self._transaction = self._connection.transaction()
        await self._transaction.start()
        await self._connection.execute(f"SELECT * FROM {self._table} FOR UPDATE")

    def __exit__(self, *_: object) -> None:
        self._loop.run_until_complete(self._connection.close())
        self._loop.close()


def ignored(ops: Operator, path: str, tag: str) -> None:
    with suppress(httpx.TransportError):
        ops.ask("PATCH", path, {"name": "New"}, if_match=tag, idempotency_key="r")


def wait_for_a_blocked_write(product: Product) -> None:
    deadline = time.monotonic() + 30
    while not product.database.value("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"):
        assert time.monotonic() < deadline, "nothing waits for the lock"
        time.sleep(0.02)
