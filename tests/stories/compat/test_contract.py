"""Answers validate against OpenAI's own schema; what we add is additive."""

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from tests.harness.customer_program import DIMENSIONS, Compat
from tests.harness.fake_upstream import as_base64, unit_vector

CONTRACT = json.loads((Path(__file__).parents[2] / "contract" / "openai.openapi.json").read_text())


def _validate(name: str, value: object) -> None:
    schema = {"$ref": f"#/components/schemas/{name}", "components": CONTRACT["components"]}
    Draft202012Validator(schema).validate(value)


@pytest.fixture
def client(compat: Compat) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {compat.key}"}
    with httpx.Client(base_url=compat.base_url, headers=headers, timeout=20) as client:
        yield client


@pytest.mark.parametrize("given", ["hello", ["b", "a"], ["x"] * 64])
def test_float_answers_are_openais(compat: Compat, client: httpx.Client, given: str | list[str]) -> None:
    answer = client.post("/embeddings", json={"model": compat.model, "input": given}).raise_for_status()
    body = answer.json()
    _validate("CreateEmbeddingResponse", body)
    texts = [given] if isinstance(given, str) else given
    assert [item["index"] for item in body["data"]] == list(range(len(texts)))
    vectors = [item["embedding"] for item in body["data"]]
    assert vectors == [pytest.approx(unit_vector(text, DIMENSIONS), abs=1e-6) for text in texts]
    assert body["usage"]["total_tokens"] == body["usage"]["prompt_tokens"] > 0
    assert answer.headers["x-request-id"].startswith("req_")
    assert int(answer.headers["x-ratelimit-remaining-requests"]) < int(answer.headers["x-ratelimit-limit-requests"])


def test_base64_is_little_endian_float32(compat: Compat, client: httpx.Client) -> None:
    asked = {"model": compat.model, "input": "hello", "encoding_format": "base64"}
    body = client.post("/embeddings", json=asked).raise_for_status().json()
    assert body["data"][0]["embedding"] == as_base64(unit_vector("hello", DIMENSIONS))


def test_models_are_openais_with_our_facts_beside(compat: Compat, client: httpx.Client) -> None:
    listed = client.get("/models").raise_for_status().json()
    _validate("ListModelsResponse", listed)
    one = client.get(f"/models/{compat.model}").raise_for_status().json()
    _validate("Model", one)
    found = next(model for model in listed["data"] if model["id"] == compat.model)
    assert {name: one[name] for name in found} == found, "one model has all that the list has, and more"
    assert one["dimensions"] == DIMENSIONS
    for extra in ("pricing", "space", "license", "status"):
        assert one[extra], f"a model tells its {extra}"


def test_the_account_tells_balance_holds_and_limits(compat: Compat, client: httpx.Client) -> None:
    account: dict[str, Any] = client.get("/account").raise_for_status().json()
    assert account["id"].startswith("acct_")
    assert Decimal(account["balance"]) > 0
    assert Decimal(account["held"]) + Decimal(account["available"]) == Decimal(account["balance"])
    assert account["key"]["limits"]["requests_per_minute"] > 0


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "/embeddings", {"model": "nobody/nothing", "input": "x"}, 404, "model_not_found"),
        ("POST", "/embeddings", {"input": "x"}, 400, "invalid_request"),
        ("POST", "/embeddings", {"model": "@", "input": []}, 400, "input_empty"),
        ("POST", "/embeddings", {"model": "@", "input": "x", "nonsense": 1}, 400, "unknown_parameter"),
        ("GET", "/embeddings", None, 405, "method_not_allowed"),
        ("GET", "/models/nobody/nothing", None, 404, "model_not_found"),
        ("GET", "/nothing", None, 404, "not_found"),
    ],
)
def test_every_refusal_is_openais_envelope(
    compat: Compat, client: httpx.Client, method: str, path: str, body: Any, status: int, code: str
) -> None:
    if body and body.get("model") == "@":
        body = body | {"model": compat.model}
    answer = client.request(method, path, json=body)
    assert answer.status_code == status
    _validate("ErrorResponse", answer.json())
    assert answer.json()["error"]["code"] == code
    assert answer.headers["x-request-id"].startswith("req_")
