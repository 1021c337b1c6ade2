"""What an account can have stored under Idempotency-Keys is bounded, in bytes and rows; a 429 says until when."""

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from router.request.idempotency import delete_expired_outcomes
from store.embedded import Embedded
from store.postgres import Database
from tests.harness.fake_upstream import Upstream
from tests.harness.processes import Product
from tests.harness.raw_http import Reply, request_bytes, send

PATH, PAID, FREE = "/v1/embeddings", "tests/paid", "tests/free"
FREE_BYTES, PAID_BYTES = 64 * 1024, 128 * 1024
STORED = """
SELECT coalesce(sum(length(key) + length(headers) + length(body)), 0), count(*) FROM idempotency
WHERE account_id = $1 AND state = 'done'
"""
PASS = """
WITH outcomes AS (UPDATE idempotency SET expires_at = now() - interval '1 hour' WHERE account_id = $1)
UPDATE kept_outcomes SET gone_at = gone_at - interval '2 days' WHERE account_id = $1 RETURNING 1
"""


@pytest.fixture(scope="module")
def product(
    servers: Embedded, module_database_url: str, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Product]:
    servers.redis.command("FLUSHALL")
    settings = {"idempotency_free_bytes_max": str(FREE_BYTES), "idempotency_bytes_max": str(PAID_BYTES)}
    product = Product(
        tmp_path_factory.mktemp("stored"), module_database_url, servers.redis_url, jobs=False, settings=settings
    )
    for model, price in ((PAID, 1_000_000), (FREE, 0)):
        made = product.database.a_model(model, nano_per_mtok=price)
        product.database.an_endpoint(made, upstream.base_url, name=f"upstream-{price}")
    with product:
        yield product


class Customer:
    def __init__(self, product: Product) -> None:
        self.product = product
        database = product.database
        self.account = database.an_account(10**9)
        self.live = product.wait_until_known(database.a_key(self.account))
        self.test = product.wait_until_known(database.a_key(self.account, is_test=True))

    def calls(self, by: str, names: list[str | None], model: str = PAID, inputs: int = 1, **fields: Any) -> list[Reply]:
        """Calls at once, ten at a time."""
        body = {"model": model, "input": ["a text"] * inputs, **fields}

        async def all_of_them() -> list[Reply]:
            gate = asyncio.Semaphore(10)

            async def one(name: str | None) -> Reply:
                headers = {} if name is None else {"idempotency-key": name}
                async with gate:
                    return await send(self.product.serves[0].port, request_bytes(PATH, by, body, headers))

            return await asyncio.gather(*(one(name) for name in names))

        return asyncio.run(all_of_them())

    def call(self, by: str, name: str | None, model: str = PAID, **more: Any) -> Reply:
        return self.calls(by, [name], model, **more)[0]

    @property
    def stored(self) -> tuple[int, int]:
        size, rows = self.product.database.rows(STORED, self.account)[0]
        return int(size), int(rows)


@pytest.mark.parametrize("inputs", [1, 64])
@pytest.mark.parametrize("kind", ["a test key", "a price of zero"])
def test_what_costs_nothing_fills_its_own_small_room_and_no_more(product: Product, kind: str, inputs: int) -> None:
    customer = Customer(product)
    by, model = (customer.test, PAID) if kind == "a test key" else (customer.live, FREE)
    names: list[str | None] = [f"n{n}" for n in range(100)]
    replies = customer.calls(by, names, model, inputs)
    statuses = [reply.status for reply in replies]
    assert set(statuses) == {200, 429}
    size, rows = customer.stored
    # Ten ran at once when it became full.
    assert rows == statuses.count(200) <= FREE_BYTES // 1024 + 10
    assert size <= FREE_BYTES + 10 * 4096

    full = next(reply for reply in replies if reply.status == 429)
    error = full.json["error"]
    assert (error["code"], error["param"]) == ("idempotency_full", "Idempotency-Key")
    assert 22 * 3600 < int(full.headers["retry-after"]) <= 25 * 3600
    assert full.headers["x-should-retry"] == "false", "no client waits for hours by itself"
    assert f"{datetime.now(UTC):%Y-}" in error["message"]
    # What was answered is answered again, what is not stored is served, and what is paid for has a room of its own.
    done = next(name for name, status in zip(names, statuses, strict=True) if status == 200)
    assert customer.call(by, done, model, inputs=inputs).headers["idempotency-replayed"] == "true"
    assert customer.call(by, None, model, inputs=inputs).status == 200
    assert customer.call(customer.live, "paid").status == 200
    assert customer.stored[1] == rows + 1

    assert product.database.rows(PASS, customer.account)
    assert customer.call(by, "next day", model).status == 200
    db = Database(product.database_url)

    async def forget() -> None:
        await delete_expired_outcomes(db)
        await db.close()

    asyncio.run(forget())
    assert customer.stored[1] == 1
    kept = product.database.rows("SELECT outcomes FROM kept_outcomes WHERE account_id = $1", customer.account)
    assert [row["outcomes"] for row in kept] == [1]


def test_what_is_paid_for_is_bounded_too_and_another_account_is_not_concerned(product: Product) -> None:
    customer, other = Customer(product), Customer(product)
    replies = customer.calls(customer.live, [f"n{n}" for n in range(180)])
    served = sum(reply.status == 200 for reply in replies)
    assert 100 <= served <= PAID_BYTES // 1024 + 10
    refused = customer.call(customer.live, "one more")
    assert (refused.status, refused.json["error"]["code"]) == (429, "idempotency_full")
    charged = product.database.value("SELECT count(*) FROM usage_events WHERE account_id = $1", customer.account)
    assert charged == served, "a call that was refused for want of room was not made"
    assert customer.call(customer.test, "free").status == 200
    assert other.call(other.live, "n0").status == 200


@pytest.mark.parametrize("fields", [{}, {"encoding_format": "base64"}])
def test_vectors_are_stored_small_and_answered_byte_for_byte(product: Product, fields: dict[str, str]) -> None:
    customer = Customer(product)
    first, again = (customer.call(customer.live, "same", inputs=200, **fields) for _ in range(2))
    assert first.body == again.body
    assert len(json.loads(first.body)["data"]) == 200
    assert again.headers["content-length"] == first.headers["content-length"] == str(len(first.body))
    width = 8
    assert customer.stored[0] < 200 * width * 4 + 2_000 < len(first.body)
