"""An answer without usage: our own count is billed where there is one, else a guess in the customer's favor."""

import asyncio
import json
import urllib.request
from collections.abc import Iterator

import pytest

from store.embedded import Embedded
from tests.harness.fake_upstream import Reply as Scripted
from tests.harness.fake_upstream import Upstream, embeddings_answer
from tests.harness.processes import Product
from tests.harness.raw_http import Reply, request_bytes, send

ALONE, SPLIT, COUNTED = "tests/alone", "tests/split", "tests/counted"
# 16 bytes, which the honest upstream counts as four tokens.
TEXT = "sixteen letters."


@pytest.fixture(scope="module")
def product(
    servers: Embedded, module_database_url: str, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Product]:
    servers.redis.command("FLUSHALL")
    product = Product(tmp_path_factory.mktemp("billed"), module_database_url, servers.redis_url, jobs=False)
    database = product.database
    database.an_endpoint(database.a_model(ALONE, vocabulary=100), upstream.base_url, name="silent")
    database.an_endpoint(database.a_model(SPLIT), upstream.base_url, name="silent-at-times", max_batch=2)
    counted = database.a_model(COUNTED)
    database.an_endpoint(counted, upstream.base_url, name="first")
    database.an_endpoint(counted, upstream.worker_url, kind="worker", name="worker", priority=200)
    with product:
        yield product


@pytest.fixture
def key(product: Product) -> str:
    return product.wait_until_known(product.database.a_key(product.database.an_account(1_000_000_000)))


def silent(inputs: object, model: str) -> Scripted:
    """The honest answer, but for its usage."""
    answer = embeddings_answer({"model": model, "input": inputs, "encoding_format": "base64"}, 8)
    del answer["usage"]
    return Scripted(status=200, headers={"content-type": "application/json"}, body=json.dumps(answer).encode())


def call(product: Product, key: str, model: str, given: object) -> Reply:
    reply = asyncio.run(
        send(product.serves[0].port, request_bytes("/v1/embeddings", key, {"model": model, "input": given}))
    )
    assert reply.status == 200, reply.body
    return reply


def untold(product: Product, provider: str) -> float:
    with urllib.request.urlopen(product.serves[0].admin_url + "/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    start = f'gigarouter_provider_usage_untold_total{{provider="{provider}"}} '
    return sum(float(line.removeprefix(start)) for line in lines if line.startswith(start))


def test_text_that_nobody_counts_is_billed_at_a_quarter_of_its_bytes(
    product: Product, key: str, upstream: Upstream
) -> None:
    upstream.script.append(silent([TEXT, TEXT], ALONE))
    reply = call(product, key, ALONE, [TEXT, TEXT])
    assert (reply.json["usage"]["total_tokens"], reply.headers["x-gigarouter-cost"]) == (8, "0.000000008")
    upstream.script.append(silent("x", ALONE))
    assert call(product, key, ALONE, "x").json["usage"]["total_tokens"] == 1
    # Token ids are counted by looking at them.
    upstream.script.append(silent([[1, 2, 3]], ALONE))
    assert call(product, key, ALONE, [[1, 2, 3]]).json["usage"]["total_tokens"] == 3
    assert untold(product, "silent") == 3
    latest = "SELECT provider_tokens FROM usage_events WHERE model_id = $1 ORDER BY occurred_at DESC LIMIT 3"
    recorded = product.database.rows(latest, ALONE)
    assert [row[0] for row in recorded] == [None] * 3


def test_only_the_parts_without_usage_are_guessed(product: Product, key: str, upstream: Upstream) -> None:
    upstream.script.append(silent([TEXT, TEXT], SPLIT))
    assert call(product, key, SPLIT, [TEXT] * 4).json["usage"]["total_tokens"] == 16
    assert untold(product, "silent-at-times") == 1


def test_a_worker_of_the_route_counts_once_what_another_answered_without_usage(
    product: Product, key: str, upstream: Upstream
) -> None:
    upstream.script.append(silent([TEXT], COUNTED))
    asked = len(upstream.calls)
    reply = call(product, key, COUNTED, [TEXT])
    assert reply.headers["x-gigarouter-provider"] == "first"
    # With the two special tokens that only the model's own tokenizer knows of.
    assert reply.json["usage"]["total_tokens"] == 6
    assert [one.path for one in upstream.calls[asked:]] == ["/v1/embeddings", "/count"]
    # A usual answer is counted as well, and billed as it says: it differs by special tokens.
    assert call(product, key, COUNTED, [TEXT]).json["usage"]["total_tokens"] == 4
    assert [one.path for one in upstream.calls[asked + 2 :]] == ["/v1/embeddings", "/count"]


def miscounted(product: Product, provider: str) -> float:
    with urllib.request.urlopen(product.serves[0].admin_url + "/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    start = f'gigarouter_provider_usage_miscounted_total{{provider="{provider}"}} '
    return sum(float(line.removeprefix(start)) for line in lines if line.startswith(start))


@pytest.mark.parametrize(("factor", "billed"), [(3, 102), (0.5, 102), (1.04, 104)])
def test_a_usage_that_a_worker_of_the_route_knows_to_be_wrong_is_not_billed_and_alarms(
    product: Product, key: str, upstream: Upstream, factor: float, billed: int
) -> None:
    text = TEXT * 25
    answer = embeddings_answer({"model": COUNTED, "input": [text], "encoding_format": "base64"}, 8)
    answer["usage"] = {"prompt_tokens": round(100 * factor), "total_tokens": round(100 * factor)}
    before = miscounted(product, "first")
    upstream.script.append(Scripted(body=json.dumps(answer).encode()))
    assert call(product, key, COUNTED, [text]).json["usage"]["total_tokens"] == billed
    assert miscounted(product, "first") - before == (billed == 102)
    # Without a worker nobody knows, and the validated usage holds.
    upstream.script.append(Scripted(body=json.dumps(answer).encode()))
    assert call(product, key, ALONE, [text]).json["usage"]["total_tokens"] == round(100 * factor)
