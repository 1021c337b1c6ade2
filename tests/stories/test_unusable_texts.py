"""Of many texts the answer names the one that makes a call fail; what asks for nothing is no fault."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from store.embedded import Embedded
from tests.harness.fake_upstream import Reply, Upstream, unit_vector
from tests.harness.processes import Product

MODEL, REFUSING = "tests/one", "tests/refusing"
COUNT, PLACE = 2_048, 1_234


@pytest.fixture(scope="module")
def strict() -> Iterator[Upstream]:
    with Upstream(8).in_thread() as running:
        yield running


@pytest.fixture(scope="module")
def product(
    servers: Embedded,
    module_database_url: str,
    upstream: Upstream,
    strict: Upstream,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Product]:
    """A model that takes texts and token ids, and one whose provider takes four at a time, in turn."""
    servers.redis.command("FLUSHALL")
    product = Product(tmp_path_factory.mktemp("unusable"), module_database_url, servers.redis_url, jobs=False)
    model = product.database.a_model(MODEL, vocabulary=100, max_input_tokens=50, prompts={"query": "find: "})
    product.database.an_endpoint(model, upstream.base_url)
    refusing = product.database.a_model(REFUSING)
    product.database.an_endpoint(refusing, strict.base_url, name="strict", max_batch=4, concurrency=1)
    with product:
        yield product


@pytest.fixture(scope="module")
def key(product: Product) -> str:
    return product.wait_until_known(product.database.a_key(product.database.an_account(10**12)))


def _post(product: Product, key: str, body: bytes, path: str = "/embeddings") -> httpx.Response:
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    return httpx.post(f"{product.url}{path}", content=body, headers=headers, timeout=30)


def _body(item: bytes, others: bytes, more: bytes = b"") -> bytes:
    """A body of the most inputs, all but one of which are fine."""
    inputs = b",".join([others] * PLACE + [item] + [others] * (COUNT - PLACE - 1))
    return b'{"model":"%b","input":[%b]%b}' % (MODEL.encode(), inputs, more)


TEXT, IDS = b'"fine"', b"[1,2]"


@pytest.mark.parametrize(
    ("item", "others", "more"),
    [
        (rb'"\ud83d"', TEXT, b""),
        (rb'"a\ud83db"', TEXT, b""),
        (rb'"a\ude00"', TEXT, b""),
        (rb'"\ud83d\ud83d\ude00"', TEXT, b""),
        (rb'"\\\ud83d\u0041"', TEXT, b""),
        (b'"a\xed\xa0\xbd"', TEXT, b""),
        (b'"caf\xe9"', TEXT, b""),
        (b'"two\nlines"', TEXT, b""),
        (b'"a\x00b"', TEXT, b""),
        (rb'"C:\dir"', TEXT, b""),
        (rb'"\u12"', TEXT, b""),
        (b'""', TEXT, b""),
        (b"1", TEXT, b""),
        (b"null", TEXT, b""),
        (b"true", TEXT, b""),
        (b'["fine"]', TEXT, b""),
        (b'{"text":"fine"}', TEXT, b""),
        (b"[1]", TEXT, b""),
        (b'"find: it"', TEXT, b',"input_type":"query"'),
        (b"[]", IDS, b""),
        (b"7", IDS, b""),
        (b"[1,-1]", IDS, b""),
        (b"[1,100]", IDS, b""),
        (b"[1,4294967296]", IDS, b""),
        (b"[1,1.5]", IDS, b""),
        (b'[1,"2"]', IDS, b""),
        (b"[1,null]", IDS, b""),
        (b"[" + b"1," * 50 + b"1]", IDS, b""),
        (b'"fine"', IDS, b""),
    ],
)
def test_one_unusable_input_of_2048_is_named(
    product: Product, key: str, item: bytes, others: bytes, more: bytes
) -> None:
    for path in ("/embeddings", "/quote"):
        answer = _post(product, key, _body(item, others, more), path)
        assert answer.status_code == 400, answer.text
        error = answer.json()["error"]
        assert f"input[{PLACE}]" in error["message"]
        assert (error["param"], error["details"]["index"]) == ("input", PLACE)


@pytest.mark.parametrize(
    ("item", "text"),
    [
        (rb'"\ud83d\ude00"', "\U0001f600"),
        (rb'"\\ud83d"', "\\ud83d"),
        (rb'"a\u0000b"', "a\0b"),
        (b'" "', " "),
        (rb'"\ufffd"', "\ufffd"),
        (rb'"\ufeffa"', "\ufeffa"),
        (b'"\x7f"', "\x7f"),
    ],
)
def test_what_is_odd_and_usable_is_embedded_as_it_is(product: Product, key: str, item: bytes, text: str) -> None:
    answer = _post(product, key, b'{"model":"%b","input":["fine",%b]}' % (MODEL.encode(), item))
    assert answer.status_code == 200, answer.text
    assert answer.json()["data"][1]["embedding"] == pytest.approx(unit_vector(text, 8), abs=1e-6)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "It is empty."),
        (b" \r\n", "It is empty."),
        (b"\xef\xbb\xbf", "It is empty."),
        (b'{"model": "m",\n "input": "a",}', "from byte 29 on (line 2, column 15)"),
        (b"{'model': 'm'}", "from byte 1 on (line 1, column 2)"),
        (b'{"model": "m", "input": "a", "dimensions": NaN}', "from byte 43 on"),
        (b'{"model": "m", "input": "a"}{}', "from byte 28 on"),
        (b'{"model": "m", "input": "a"', "It ends too early."),
        (b'{"model": "m", "input": ' + b"[" * 100_000, "."),
    ],
)
def test_a_body_that_is_no_json_says_from_where_on(product: Product, key: str, body: bytes, words: str) -> None:
    for path in ("/embeddings", "/quote"):
        answer = _post(product, key, body, path)
        assert answer.status_code == 400, answer.text
        assert words in answer.json()["error"]["message"]


@pytest.mark.parametrize("field", ["model", "user", "provider"])
def test_a_fault_in_another_field_names_that_field(product: Product, key: str, field: str) -> None:
    fields: dict[str, Any] = {"model": MODEL, "input": ["fine"], "user": "me", "provider": {"space": "s"}}
    fields[field] = {"space": "HERE"} if field == "provider" else "HERE"
    for fault in (rb"\ud83d", b"\n", b"\xff"):
        answer = _post(product, key, json.dumps(fields).encode().replace(b"HERE", fault))
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, field)


def test_a_byte_order_mark_is_taken_and_another_encoding_is_named(product: Product, key: str) -> None:
    text = json.dumps({"model": MODEL, "input": "héllo"}, ensure_ascii=False)
    for path in ("/embeddings", "/quote"):
        assert _post(product, key, text.encode("utf-8-sig"), path).status_code == 200
        for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32"):
            answer = _post(product, key, text.encode(encoding), path)
            assert answer.status_code == 400
            assert "UTF-8" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"whatever": None}, 200),
        ({"task": None, "truncate": None, "dimensions": None, "encoding_format": None, "user": None}, 200),
        ({"provider": {"whatever": None, "sort": None}}, 200),
        ({"models": None, "provider": None}, 200),
        ({"whatever": None, "other": 1}, 400),
        ({"provider": {"whatever": None, "other": 1}}, 400),
        ({"whatever": {"a": None}}, 400),
        ({"whatever": False}, 400),
    ],
)
def test_an_unknown_field_that_is_null_asks_for_nothing(
    product: Product, key: str, fields: dict[str, Any], status: int
) -> None:
    answer = _post(product, key, json.dumps({"model": MODEL, "input": "hello", **fields}).encode())
    assert answer.status_code == status, answer.text
    if status == 400:
        assert answer.json()["error"]["code"] == "unknown_parameter"
        assert "whatever" not in answer.json()["error"]["param"] or "other" not in str(fields)


@pytest.mark.parametrize(
    ("words", "index"),
    [
        ("Invalid 'input[2]': maximum input length is 8192 tokens.", 6),
        ("Request to model failed. The example at index 3 in your batch has too many tokens", 7),
        ("This model's maximum context length is 512 tokens, however you requested 600 tokens", 5),
        ("'input[9]' is none of these four", None),
        ("flagged", None),
    ],
)
def test_what_a_provider_refuses_is_named_as_the_caller_counts(
    product: Product, key: str, strict: Upstream, words: str, index: int | None
) -> None:
    body = json.dumps({"error": {"message": words, "type": "invalid_request_error", "code": None}}).encode()
    strict.script.extend([Reply(), Reply(status=400, body=body)])
    texts = ["the longest of all, but of those that are taken", "a", "b", "c", "d", "the longest here", "e", "f"]
    answer = _post(product, key, json.dumps({"model": REFUSING, "input": texts}).encode())
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["param"] == "input"
    assert error.get("details", {}).get("index") == index
    assert (f"input[{index}]" in error["message"]) == (index is not None)
