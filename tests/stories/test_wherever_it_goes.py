"""The same call gets the same answer wherever it goes: what endpoints can and cannot do never shows to a customer."""

import asyncio
import itertools
import json
import math
import time
from collections.abc import Iterator
from typing import Any

import pytest
from typing_extensions import override

from store.embedded import Embedded
from store.ids import AccountId, ModelId
from tests.harness.fake_upstream import Received, Upstream, unit_vector
from tests.harness.fake_upstream import Reply as Scripted
from tests.harness.processes import Product
from tests.harness.raw_http import Reply, request_bytes, send

PATH = "/v1/embeddings"
WIDTH = 8
_names = itertools.count()


class CutsOnly(Upstream):
    """Shortens as it is asked to, and does not normalize again."""

    @override
    def _bytes(self, received: Received, reply: Scripted) -> bytes:
        asked = received.json
        texts = asked["input"] if isinstance(asked["input"], list) else [asked["input"]]
        width = asked.get("dimensions", WIDTH)
        assert isinstance(width, int)
        data = [
            {"object": "embedding", "index": index, "embedding": unit_vector(str(text), WIDTH)[:width]}
            for index, text in enumerate(texts)
        ]
        body = json.dumps({"object": "list", "data": data, "model": "m", "usage": {"prompt_tokens": 1}}).encode()
        return super()._bytes(received, Scripted(body=body))


class TakesNoWidth(Upstream):
    """As vLLM answers for a model that nobody declared Matryoshka to it."""

    @override
    def _bytes(self, received: Received, reply: Scripted) -> bytes:
        if "dimensions" in received.json:
            reply = Scripted(status=400, body=b'{"message":"Model does not support matryoshka representation"}')
        return super()._bytes(received, reply)


class Shopfront:
    """The product, to which each test adds models."""

    def __init__(self, product: Product) -> None:
        self.product = product
        self.database = product.database

    def a_model(self, **facts: object) -> ModelId:
        """``facts`` are columns of its catalogue entry, in SQL."""
        model = self.database.a_model(f"tests/wherever-{next(_names)}", dimensions=WIDTH, vocabulary=100)
        if facts:
            changes = ", ".join(f"{column} = {value}" for column, value in facts.items())
            self.database.rows(f"UPDATE models SET {changes} WHERE id = $1", model)
        return model

    def a_customer(self) -> tuple[AccountId, str]:
        account = self.database.an_account(10_000_000)
        return account, self.product.wait_until_known(self.database.a_key(account))

    def call(self, key: str, model: ModelId, path: str = PATH, **body: object) -> Reply:
        request = request_bytes(path, key, {"model": model, "input": "a text"} | body)
        return asyncio.run(send(self.product.serves[0].port, request))

    def known(self, key: str, model: ModelId) -> None:
        until = time.monotonic() + 30
        while (reply := self.call(key, model)).status != 200:
            assert time.monotonic() < until, reply.json
            time.sleep(0.05)


@pytest.fixture(scope="module")
def shopfront(
    servers: Embedded, module_database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shopfront]:
    servers.redis.command("FLUSHALL")
    folder = tmp_path_factory.mktemp("wherever")
    with Product(folder, module_database_url, servers.redis_url, jobs=False) as running:
        yield Shopfront(running)


@pytest.mark.parametrize("kind", [CutsOnly, TakesNoWidth, Upstream])
def test_a_shortened_vector_is_the_same_whoever_serves_it(shopfront: Shopfront, kind: type[Upstream]) -> None:
    with kind(WIDTH).in_thread() as upstream:
        model = shopfront.a_model(trained_dimensions="ARRAY[2, 4]")
        shopfront.database.an_endpoint(model, upstream.base_url, name=model.replace("tests/", ""))
        _, key = shopfront.a_customer()
        shopfront.known(key, model)
        reply = shopfront.call(key, model, dimensions=4)
        assert reply.status == 200, reply.json
        vector = reply.json["data"][0]["embedding"]
        cut = unit_vector("a text", WIDTH)[:4]
        assert vector == pytest.approx([value / math.hypot(*cut) for value in cut], abs=1e-6)
        assert not any("dimensions" in call.json for call in upstream.calls)


def test_a_width_that_a_model_was_not_trained_for_is_refused_where_no_other_may_be_asked(shopfront: Shopfront) -> None:
    with Upstream(WIDTH).in_thread() as upstream:
        model = shopfront.a_model(trained_dimensions="ARRAY[2, 4]", only_trained_dimensions="true")
        shopfront.database.an_endpoint(model, upstream.base_url, name=model.replace("tests/", ""))
        _, key = shopfront.a_customer()
        shopfront.known(key, model)
        assert shopfront.call(key, model, dimensions=4).status == 200
        refused = shopfront.call(key, model, dimensions=3)
    assert (refused.status, refused.json["error"]["param"]) == (400, "dimensions")
    assert "2, 4, 8" in refused.json["error"]["message"]


IDS: dict[str, Any] = {"input": [[1, 2, 3]], "input_type": "query"}
PROMPTS = """'{"query": "Find: "}'"""


def test_token_ids_that_want_the_prompt_go_only_where_it_can_be_put_before_them(shopfront: Shopfront) -> None:
    with Upstream(WIDTH).in_thread() as plain, Upstream(WIDTH).in_thread() as worker:
        model = shopfront.a_model(prompts=PROMPTS)
        name = model.replace("tests/", "")
        shopfront.database.an_endpoint(model, plain.base_url, name=f"{name}-plain", priority=1)
        shopfront.database.an_endpoint(model, worker.worker_url, kind="worker", name=f"{name}-worker", priority=2)
        _, key = shopfront.a_customer()
        shopfront.known(key, model)
        for _ in range(8):
            reply = shopfront.call(key, model, **IDS)
            assert (reply.status, reply.headers["x-gigarouter-provider"]) == (200, f"{name}-worker"), reply.json
        quoted = shopfront.call(key, model, "/v1/quote", **IDS)
        assert [one["provider"] for one in quoted.json["serving"]] == [f"{name}-worker"]
        # Text, and ids of which nobody said what they are, go anywhere.
        assert len(shopfront.call(key, model, "/v1/quote", input_type="query").json["serving"]) == 2
        assert len(shopfront.call(key, model, "/v1/quote", input=[[1, 2, 3]]).json["serving"]) == 2


def test_where_nobody_can_put_the_prompt_before_token_ids_the_call_and_its_quote_say_so(shopfront: Shopfront) -> None:
    with Upstream(WIDTH).in_thread() as plain:
        model = shopfront.a_model(prompts=PROMPTS)
        shopfront.database.an_endpoint(model, plain.base_url, name=model.replace("tests/", ""))
        _, key = shopfront.a_customer()
        shopfront.known(key, model)
        asked = len(plain.calls)
        refused = shopfront.call(key, model, **IDS)
        error = refused.json["error"]
        assert (refused.status, error["code"], error["param"]) == (400, "token_array_unsupported", "input")
        quoted = shopfront.call(key, model, "/v1/quote", **IDS)
        assert quoted.json["refused"]["code"] == "token_array_unsupported"
        assert len(plain.calls) == asked


def test_an_error_tells_of_a_provider_what_its_receipt_tells_and_no_more(shopfront: Shopfront) -> None:
    with Upstream(WIDTH).in_thread() as upstream:
        model = shopfront.a_model()
        name = model.replace("tests/", "")
        shopfront.database.an_endpoint(model, upstream.base_url, name=name)
        _, key = shopfront.a_customer()
        shopfront.known(key, model)
        upstream.always = Scripted(status=401, body=b'{"error": "canary"}')
        failed, left = shopfront.call(key, model), shopfront.call(key, model)
    assert failed.json["error"]["details"]["attempts"] == [{"provider": name, "outcome": "out_of_service"}]
    (told,) = left.json["error"]["details"]["left_out"]
    assert (told["code"], told["reason"]) == ("quarantined", "it is quarantined")
    # Who was admitted is told what is left of its limits, whatever came of it.
    assert failed.headers["x-ratelimit-limit-requests"] == "1000000"
    assert "x-ratelimit-limit-requests" not in left.headers
    for reply in (failed, left):
        assert reply.status == 503
        assert not any(word in reply.body for word in (b"redential", b"canary", b"Refused"))


def test_a_test_key_tries_an_integration_with_the_preferences_that_it_will_have(shopfront: Shopfront) -> None:
    model = shopfront.a_model()
    account, _ = shopfront.a_customer()
    key = shopfront.product.wait_until_known(shopfront.database.a_key(account, is_test=True))
    wanted = {"only": ["deepinfra"], "data_collection": "deny", "zero_retention": True, "regions": ["eu"]}
    kept: list[dict[str, object]] = [
        wanted,
        {"quantizations": ["bf16"], "allow_fallbacks": False},
        {"order": ["a"], "sort": "price"},
    ]
    for provider in kept:
        reply = shopfront.call(key, model, provider=provider)
        assert (reply.status, reply.headers["x-gigarouter-provider"]) == (200, "sandbox"), reply.json
    # What a live key would be told of a mistake, a test key is told too.
    mistakes: list[dict[str, object]] = [{"regions": []}, {"sort": "best"}, {"nobody": 1}, {"space": "another"}]
    for mistake in mistakes:
        refused = shopfront.call(key, model, provider=mistake)
        assert refused.status == 400
        assert refused.json["error"]["param"].startswith("provider.")
