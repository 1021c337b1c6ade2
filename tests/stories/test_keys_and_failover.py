"""What a key may do: its cap, its limits, its test twin; and what a second endpoint of the same space is for."""

import asyncio
import time
from collections.abc import Iterator

import asyncpg
import pytest

from billing.money import NanoUSD
from billing.values import Cap, CapPeriod, Limits
from catalog.values import Use
from store.embedded import Embedded
from store.ids import AccountId
from tests.builders.database import NON_COMMERCIAL
from tests.harness.fake_upstream import Reply as Scripted
from tests.harness.fake_upstream import Upstream
from tests.harness.processes import Product
from tests.harness.raw_http import Reply, request_bytes, send

PATH = "/v1/embeddings"
# The others are for tests that leave something behind: an endpoint that rests, a license that forbids.
MODEL, FAILING, TURNING = "tests/two", "tests/failing", "tests/turning"
BODY = {"model": MODEL, "input": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]}
COST_NANO = 10
OTHER_SPACE = (
    "UPDATE endpoints SET space = 'another' WHERE id = (SELECT max(id::text)::uuid FROM endpoints) RETURNING 1"
)


@pytest.fixture(scope="module")
def first() -> Iterator[Upstream]:
    with Upstream().in_thread() as running:
        yield running


@pytest.fixture(scope="module")
def second() -> Iterator[Upstream]:
    with Upstream().in_thread() as running:
        yield running


@pytest.fixture(scope="module")
def product(
    servers: Embedded,
    module_database_url: str,
    first: Upstream,
    second: Upstream,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Product]:
    servers.redis.command("FLUSHALL")
    product = Product(tmp_path_factory.mktemp("two"), module_database_url, servers.redis_url)
    model = product.database.a_model(MODEL, vocabulary=100)
    product.database.an_endpoint(model, first.base_url, name="first", priority=1)
    product.database.an_endpoint(model, second.base_url, name="second")
    failing = product.database.a_model(FAILING, vocabulary=100)
    product.database.an_endpoint(failing, first.base_url, name="failing", priority=1)
    product.database.an_endpoint(failing, second.base_url, name="steady")
    product.database.an_endpoint(product.database.a_model(TURNING, vocabulary=100), first.base_url, name="turning")
    with product:
        yield product


def call(product: Product, key: str, body: object = BODY) -> Reply:
    return asyncio.run(send(product.serves[0].port, request_bytes(PATH, key, body)))


def usage(product: Product, account: AccountId) -> list[int]:
    rows = product.database.rows("SELECT charged_nano FROM usage_events WHERE account_id = $1", account)
    return [row["charged_nano"] for row in rows]


def test_a_key_stops_at_its_cap_and_says_so(product: Product) -> None:
    account = product.database.an_account(1_000_000)
    cap = Cap(NanoUSD(3 * COST_NANO), CapPeriod.MONTH)
    key = product.wait_until_known(product.database.a_key(account, cap=cap))
    replies = [call(product, key) for _ in range(4)]
    assert [reply.status for reply in replies] == [200, 200, 200, 403]
    error = replies[-1].json["error"]
    assert error["code"] == "key_budget_exhausted"
    assert error["details"]["spent_usd"] == "0.00000003"
    assert usage(product, account) == [COST_NANO] * 3


def test_a_limit_answers_429_with_a_wait_that_works(product: Product) -> None:
    account = product.database.an_account(1_000_000)
    limits = Limits(requests_per_minute=60, tokens_per_minute=100_000, concurrency=100)
    key = product.wait_until_known(product.database.a_key(account, limits=limits))

    async def burst() -> list[Reply]:
        request = request_bytes(PATH, key, BODY)
        return await asyncio.gather(*(send(product.serves[0].port, request) for _ in range(62)))

    replies = asyncio.run(burst())
    refused = [reply for reply in replies if reply.status == 429]
    assert refused
    assert len(replies) - len(refused) >= 60
    assert refused[0].json["error"]["code"] == "rate_limited_requests"
    assert 1 <= int(refused[0].headers["retry-after"]) <= 2
    assert refused[0].headers["x-ratelimit-limit-requests"] == "60"


def test_a_test_key_costs_nothing_and_always_says_the_same(product: Product, first: Upstream, second: Upstream) -> None:
    account = product.database.an_account(0)

    key = product.wait_until_known(product.database.a_key(account, is_test=True))
    asked = len(first.calls) + len(second.calls)
    one, two = call(product, key), call(product, key)
    assert (one.status, one.json["data"]) == (200, two.json["data"])
    assert len(one.json["data"][0]["embedding"]) == 8
    assert one.headers["x-gigarouter-cost"] == "0.00"
    assert len(first.calls) + len(second.calls) == asked
    assert usage(product, account) == [0, 0]


def test_a_call_says_who_may_serve_it(product: Product, first: Upstream, second: Upstream) -> None:
    key = product.wait_until_known(product.database.a_key(product.database.an_account(1_000_000)))

    def wanting(**provider: object) -> Reply:
        return call(product, key, BODY | {"provider": provider})

    assert call(product, key).headers["x-gigarouter-provider"] == "first"
    assert wanting(order=["second"]).headers["x-gigarouter-provider"] == "second"
    assert wanting(ignore=["first"], max_price=1).headers["x-gigarouter-provider"] == "second"
    asked = len(first.calls) + len(second.calls)
    nobody = wanting(only=["first"], regions=["eu"])
    assert (nobody.status, nobody.json["error"]["code"]) == (404, "preferences_unmet")
    assert "first: it is not known where it processes calls" in nobody.json["error"]["message"]
    assert [one["code"] for one in nobody.json["error"]["details"]["left_out"]] == ["region", "only"]
    dear = wanting(max_price="0.0009")
    assert (dear.status, dear.json["error"]["details"]["left_out"][0]["code"]) == (404, "price")
    elsewhere = wanting(space="another")
    assert (elsewhere.status, elsewhere.json["error"]["param"]) == (400, "provider.space")
    assert f"tests:{MODEL}" in elsewhere.json["error"]["message"]
    unknown = wanting(zdr=True)
    assert (unknown.status, unknown.json["error"]["param"]) == (400, "provider.zdr")
    assert len(first.calls) + len(second.calls) == asked


def test_a_failing_endpoint_costs_a_retry_and_not_the_call(product: Product, first: Upstream, second: Upstream) -> None:
    account = product.database.an_account(1_000_000)
    key = product.wait_until_known(product.database.a_key(account))
    first.always = Scripted(status=500)
    try:
        body = BODY | {"model": FAILING}
        reply = call(product, key, body)
        assert reply.status == 200
        assert (reply.headers["x-gigarouter-provider"], reply.headers["x-gigarouter-attempts"]) == ("steady", "2")
        # After five failures in a row it is left alone.
        for _ in range(6):
            assert call(product, key, body).status == 200
        asked = len(first.calls)
        assert call(product, key, body).headers["x-gigarouter-attempts"] == "1"
        assert len(first.calls) == asked
    finally:
        first.always = Scripted()
    assert set(usage(product, account)) == {COST_NANO}


def test_the_database_itself_refuses_an_endpoint_in_another_space(product: Product) -> None:
    with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="is not the one of the model"):
        product.database.value(OTHER_SPACE)


def test_a_license_that_turns_non_commercial_ends_the_sale_at_once(product: Product, first: Upstream) -> None:
    account = product.database.an_account(1_000_000)

    commercial = product.wait_until_known(product.database.a_key(account))
    hobby = product.wait_until_known(product.database.a_key(account, use=Use.NON_COMMERCIAL))
    body = BODY | {"model": TURNING}
    assert call(product, hobby, body).status == 200
    product.database.a_claim(TURNING, NON_COMMERCIAL)
    time.sleep(0.5)
    asked = len(first.calls)
    for key, term in ((commercial, "commercial_use"), (hobby, "charging")):
        refused = call(product, key, body)
        assert (refused.status, refused.json["error"]["code"]) == (403, "license_restricted")
        assert refused.json["error"]["details"]["term"] == term
    assert len(first.calls) == asked
    assert usage(product, account) == [COST_NANO]
