"""The same Idempotency-Key and body: one computation, one charge, one answer; another body is refused."""

import asyncio
from collections import Counter
from collections.abc import Iterator

import pytest

from store.embedded import Embedded
from tests.harness.fake_upstream import Reply as Scripted
from tests.harness.fake_upstream import Upstream
from tests.harness.processes import Product
from tests.harness.raw_http import Reply, request_bytes, send

PATH = "/v1/embeddings"
MODEL = "tests/once"
CHARGES = "SELECT count(*) FROM usage_events WHERE account_id = $1"
TAKE_OVER = """
    UPDATE idempotency SET request_id = gen_random_uuid(), lease_until = now() + interval '1 minute'
    WHERE account_id = $1 AND key = $2 RETURNING 1
"""


@pytest.fixture(scope="module")
def product(
    servers: Embedded, module_database_url: str, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Product]:
    servers.redis.command("FLUSHALL")
    product = Product(tmp_path_factory.mktemp("once"), module_database_url, servers.redis_url, serves=2)
    model = product.database.a_model(MODEL)
    product.database.an_endpoint(model, upstream.base_url)
    with product:
        yield product


class Customer:
    def __init__(self, product: Product) -> None:
        self.product = product
        self.account = product.database.an_account(1_000_000)
        self.key = product.wait_until_known(product.database.a_key(self.account))

    def request(self, text: str, key: str | None, by: str | None = None, **more: str) -> bytes:
        headers = {} if key is None else {"idempotency-key": key}
        more = {name.replace("_", "-"): value for name, value in more.items()}
        return request_bytes(PATH, by or self.key, {"model": MODEL, "input": text}, headers | more)

    def call(self, text: str, key: str | None, serve: int = 0) -> Reply:
        return asyncio.run(send(self.product.serves[serve].port, self.request(text, key)))

    @property
    def charges(self) -> int:
        return int(self.product.database.value(CHARGES, self.account))


def test_a_repeated_call_gets_the_stored_answer_and_costs_nothing(product: Product, upstream: Upstream) -> None:
    customer = Customer(product)
    first = customer.call("a text", "order-1")
    asked = len(upstream.calls)
    again = customer.call("a text", "order-1", serve=1)
    assert (first.status, again.status) == (200, 200)
    assert again.body == first.body
    assert again.headers["idempotency-replayed"] == "true"
    assert not [name for name in again.headers if name.startswith("x-ratelimit-")], "what was left then is not left now"
    # A customer who sums the costs of all answers comes to what was charged.
    assert (first.headers["x-gigarouter-cost"], again.headers["x-gigarouter-cost"]) == ("0.000000002", "0.00")
    assert len(upstream.calls) == asked
    assert customer.charges == 1


def test_another_body_under_the_same_key_is_refused(product: Product) -> None:
    customer = Customer(product)
    assert customer.call("a text", "order-2").status == 200
    refused = customer.call("another text", "order-2")
    assert (refused.status, refused.json["error"]["code"]) == (422, "idempotency_mismatch")
    assert customer.charges == 1


def test_the_same_body_by_another_api_key_or_in_another_lane_is_another_call(product: Product) -> None:
    customer = Customer(product)
    other = product.wait_until_known(product.database.a_key(customer.account))
    test = product.wait_until_known(product.database.a_key(customer.account, is_test=True))

    def call(name: str, **more: str) -> Reply:
        return asyncio.run(send(product.serves[0].port, customer.request("a text", name, **more)))

    # What a test key was answered with, deterministic stand-ins for vectors, is never given to a live key.
    assert call("order-3", by=test).status == 200
    answers = [call("order-3"), call("order-3", by=other)]
    assert customer.charges == 1, "the test key's, of nothing"
    assert call("order-4").status == 200
    answers += [call("order-4", by=other), call("order-4", by=test), call("order-4", x_tier="batch")]
    assert [(answer.status, answer.json["error"]["code"]) for answer in answers] == [(422, "idempotency_mismatch")] * 5
    assert call("order-4").headers["idempotency-replayed"] == "true"
    assert customer.charges == 2


def test_keys_of_two_accounts_are_two_keys(product: Product) -> None:
    one, two = Customer(product), Customer(product)
    assert one.call("a text", "shared").status == 200
    answer = two.call("a text", "shared")
    assert answer.status == 200
    assert "idempotency-replayed" not in answer.headers
    assert (one.charges, two.charges) == (1, 1)


def test_of_forty_at_once_one_runs_and_the_others_wait_or_replay(product: Product, upstream: Upstream) -> None:
    customer = Customer(product)
    request = customer.request("a text", "all at once")

    async def all_of_them() -> list[Reply]:
        ports = [serve.port for serve in product.serves]
        return await asyncio.gather(*(send(ports[n % 2], request) for n in range(40)))

    upstream.always = Scripted(delay_s=0.3)
    try:
        replies = asyncio.run(all_of_them())
    finally:
        upstream.always = Scripted()
    statuses = Counter(reply.status for reply in replies)
    assert statuses[200] >= 1
    assert statuses[200] + statuses[409] == 40
    assert all(reply.headers["retry-after"] for reply in replies if reply.status == 409)
    assert customer.charges == 1


def test_a_failed_call_may_be_repeated_under_its_key(product: Product, upstream: Upstream) -> None:
    customer = Customer(product)
    upstream.always = Scripted(status=500)
    try:
        assert customer.call("a text", "unlucky").status == 503
    finally:
        upstream.always = Scripted()
    assert customer.call("a text", "unlucky").status == 200
    assert customer.charges == 1


def test_a_run_whose_key_was_taken_over_cannot_charge_any_more(product: Product, upstream: Upstream) -> None:
    customer = Customer(product)
    upstream.always = Scripted(delay_s=1.0)

    async def overtaken() -> Reply:
        call = asyncio.ensure_future(send(product.serves[0].port, customer.request("a text", "frozen")))
        await asyncio.sleep(0.5)
        await asyncio.to_thread(product.database.value, TAKE_OVER, customer.account, "frozen")
        return await call

    try:
        reply = asyncio.run(overtaken())
    finally:
        upstream.always = Scripted()
    assert (reply.status, reply.json["error"]["code"]) == (503, "not_recorded")
    assert customer.charges == 0


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\there"])
def test_a_key_that_is_none_is_refused(product: Product, key: str) -> None:
    refused = Customer(product).call("a text", key)
    assert refused.status == 400
    assert refused.json["error"]["code"] == "idempotency_key_invalid"
