"""Calls that cost nothing take a place among the key's calls at once, and give it back."""

import asyncio
from collections.abc import Iterator

import pytest

from billing.values import Limits
from store.embedded import Embedded
from tests.harness.fake_upstream import Upstream
from tests.harness.processes import Product
from tests.harness.raw_http import Reply, request_bytes, send

PAID, FREE = "tests/paid", "tests/free"
ONE_AT_ONCE = Limits(requests_per_minute=1_000, tokens_per_minute=1_000_000, concurrency=1)


@pytest.fixture(scope="module")
def product(
    servers: Embedded, module_database_url: str, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Product]:
    servers.redis.command("FLUSHALL")
    product = Product(tmp_path_factory.mktemp("free"), module_database_url, servers.redis_url, jobs=False)
    database = product.database
    database.an_endpoint(database.a_model(PAID), upstream.base_url, name="first")
    database.an_endpoint(database.a_model(FREE, nano_per_mtok=0), upstream.base_url, name="second")
    with product:
        yield product


@pytest.mark.parametrize(
    ("path", "model", "is_test"),
    [("/v1/embeddings", PAID, True), ("/v1/embeddings", FREE, False), ("/v1/quote", PAID, False)],
    ids=["a test key", "a price of zero", "a quote"],
)
def test_three_free_calls_in_a_row_of_a_key_that_may_make_one_at_once(
    product: Product, path: str, model: str, is_test: bool
) -> None:
    account = product.database.an_account(1_000_000)
    key = product.wait_until_known(product.database.a_key(account, limits=ONE_AT_ONCE, is_test=is_test))

    async def call() -> Reply:
        return await send(product.serves[0].port, request_bytes(path, key, {"model": model, "input": "a text"}))

    async def settled() -> Reply:
        # A hold is freed off the answer's path: a moment after it.
        for _ in range(39):
            reply = await call()
            if reply.status != 429:
                return reply
            await asyncio.sleep(0.05)
        return await call()

    async def three() -> list[Reply]:
        return [await settled() for _ in range(3)]

    assert [reply.status for reply in asyncio.run(three())] == [200, 200, 200]
    assert product.account(key)["balance"] == "0.001"
