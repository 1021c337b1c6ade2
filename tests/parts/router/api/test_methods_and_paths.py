"""HEAD wherever there is GET, OPTIONS everywhere; a wrong path says which was meant and what the base URL should be."""

import re
from typing import Any

import orjson
import pytest

from router.api.app import all_operations
from router.api.operation import operation_routes
from router.api.paths import Paths
from router.api.public.embeddings_declaration import operations as embeddings_declaration
from router.errors import MethodNotAllowed
from tests.harness.served_api import ServedApi

pytestmark = pytest.mark.anyio

DEPLOYMENT = "/openai/deployments/org/model/embeddings"
V1 = "http://127.0.0.1:8080/v1"


async def test_head_is_get_without_its_body(api: ServedApi) -> None:
    paths = {"/health": None, "/openapi.json": None, "/v1/models": api.key, "/v1/account": api.key}
    paths |= {f"/v1/models/{api.model}": api.key, "/admin/v1/accounts": api.operator, "/metrics": None}
    for path, key in paths.items():
        headers = [] if key is None else [f"authorization: Bearer {key}".encode()]
        get, head = await api.raw("GET", path, *headers), await api.raw("HEAD", path, *headers)
        assert (get.status, head.status, head.body) == (200, 200, b""), path
        changing = {"x-request-id", "openai-processing-ms", "date"}
        assert _without(head.headers, changing) == _without(get.headers, changing), path


async def test_head_of_what_is_no_get_is_refused_without_a_body_and_the_connection_goes_on(api: ServedApi) -> None:
    async with api.server.peer() as peer:
        for path, status in (("/v1/embeddings", 405), ("/nothing", 404), ("/v1/account", 401), ("/v1/account/", 404)):
            await peer.send(f"HEAD {path} HTTP/1.1\r\nhost: a\r\n\r\n".encode())
            assert (await peer.answer(has_body=False)).status == status
        await peer.send(b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n")
        assert (await peer.answer()).status == 200


async def test_options_says_what_a_path_takes_and_needs_no_key(api: ServedApi) -> None:
    for path, allow in {
        "/v1/embeddings": "POST, OPTIONS",
        DEPLOYMENT: "POST, OPTIONS",
        "/v1/models": "GET, HEAD, OPTIONS",
        "/v1/models/org/name": "GET, HEAD, OPTIONS",
        "/openai/models": "GET, HEAD, OPTIONS",
        "/openai/models/org/name?api-version=1": "GET, HEAD, OPTIONS",
        "/v1/models/org/name/vote": "POST, DELETE, GET, HEAD, OPTIONS",
        "/admin/v1/accounts": "GET, POST, HEAD, OPTIONS",
        "*": "OPTIONS",
    }.items():
        answer = await api.raw("OPTIONS", path)
        assert (answer.status, answer.body) == (204, b""), path
        assert set(answer.headers["allow"].split(", ")) == set(allow.split(", ")), path
        assert "access-control-allow-origin" not in answer.headers
    assert (await api.raw("OPTIONS", "/v1/nothing")).status == 404


async def test_a_wrong_method_is_told_every_right_one(api: ServedApi) -> None:
    operator = b"authorization: Bearer " + api.operator.encode()
    for method, path, allow in (
        ("GET", "/v1/embeddings", {"POST", "OPTIONS"}),
        ("GET", DEPLOYMENT, {"POST", "OPTIONS"}),
        ("PUT", "/v1/models/org/name", {"GET", "HEAD", "OPTIONS"}),
        ("DELETE", "/admin/v1/accounts", {"GET", "HEAD", "POST", "OPTIONS"}),
        ("TRACE", "/health", {"GET", "HEAD", "OPTIONS"}),
        ("DELETE", "/openai/models", {"GET", "HEAD", "OPTIONS"}),
        ("PATCH", "/openai/models/org/name", {"GET", "HEAD", "OPTIONS"}),
        ("PUT", "/openai/models/org/name/vote", {"POST", "DELETE", "GET", "HEAD", "OPTIONS"}),
    ):
        answer = await api.raw(method, path, operator)
        assert (answer.status, answer.error["code"]) == (405, "method_not_allowed"), path
        assert set(answer.headers["allow"].split(", ")) == allow
        assert path in answer.error["message"]
        assert method in answer.error["message"]


@pytest.mark.parametrize(
    ("method", "path", "operation", "base_url"),
    [
        ("POST", "/v1/v1/embeddings", "POST /v1/embeddings", V1),
        ("POST", "/v1//embeddings", "POST /v1/embeddings", V1),
        ("POST", "//v1/embeddings", "POST /v1/embeddings", V1),
        ("POST", "/v1/embeddings/", "POST /v1/embeddings", V1),
        ("POST", "/embeddings", "POST /v1/embeddings", V1),
        ("POST", "/V1/EMBEDDINGS", "POST /v1/embeddings", V1),
        ("POST", "/v1/Embeddings", "POST /v1/embeddings", V1),
        ("POST", "/v1/embeddings/embeddings", "POST /v1/embeddings", V1),
        ("POST", "/v1/models/embeddings", "POST /v1/embeddings", V1),
        ("POST", "/v1/chat/completions/embeddings", "POST /v1/embeddings", V1),
        ("POST", "/openai/v1/embeddings", "POST /v1/embeddings", V1),
        ("POST", "/api/v1/embeddings", "POST /v1/embeddings", V1),
        ("POST", "/v1beta/openai/embeddings", "POST /v1/embeddings", V1),
        ("POST", "/v1/engines/text-embedding-3-small/embeddings", "POST /v1/embeddings", V1),
        ("POST", "/openai/deployments/embeddings", "POST /v1/embeddings", V1),
        ("POST", "/models/embeddings?api-version=2024-05-01-preview", "POST /v1/embeddings", V1),
        ("POST", "/v2/embeddings", "POST /v1/embeddings", V1),
        ("POST", "/v1/embeddings%20", "POST /v1/embeddings", V1),
        ("POST", "/v1/embeddings%0A", "POST /v1/embeddings", V1),
        ("POST", "/v1/embedding", "POST /v1/embeddings", V1),
        ("POST", "/api/embed", "POST /v1/embeddings", V1),
        ("POST", "/v1beta/models/gemini-embedding-001:embedContent", "POST /v1/embeddings", V1),
        ("POST", "/v1beta/models/gemini-embedding-001:batchEmbedContents", "POST /v1/embeddings", V1),
        ("POST", "/model/amazon.titan-embed-text-v2:0/invoke", "POST /v1/embeddings", V1),
        ("POST", "/invocations", "POST /v1/embeddings", V1),
        ("POST", "/api/v1/services/embeddings/text-embedding/text-embedding", "POST /v1/embeddings", V1),
        ("POST", "/v1/deployments/org/model/embeddings?api-version=1", f"POST {DEPLOYMENT}", "http://127.0.0.1:8080"),
        ("POST", "/deployments/org/model/embeddings", f"POST {DEPLOYMENT}", "http://127.0.0.1:8080"),
        ("GET", "/v1/v1/embeddings", "POST /v1/embeddings", V1),
        ("HEAD", "/models", "GET /v1/models", V1),
        ("GET", "/models", "GET /v1/models", V1),
        ("GET", "/v1/models/", "GET /v1/models", V1),
        ("GET", "/v1/v1/models/org/Name", "GET /v1/models/org/Name", V1),
        ("GET", "/v1/models/org/Name/", "GET /v1/models/org/Name", V1),
        ("GET", "/V1/Models/org/Name", "GET /v1/models/org/Name", V1),
        ("GET", "/account", "GET /v1/account", V1),
        ("POST", "/quote", "POST /v1/quote", V1),
        ("GET", "/v1/health", "GET /health", "http://127.0.0.1:8080"),
        ("GET", "/openapi.json/", "GET /openapi.json", "http://127.0.0.1:8080"),
        ("GET", "/v1/openapi.json", "GET /openapi.json", "http://127.0.0.1:8080"),
        ("POST", f"/v1{DEPLOYMENT}", f"POST {DEPLOYMENT}", "http://127.0.0.1:8080"),
        ("POST", f"/openai{DEPLOYMENT}", f"POST {DEPLOYMENT}", "http://127.0.0.1:8080"),
        ("POST", f"/{DEPLOYMENT}", f"POST {DEPLOYMENT}", "http://127.0.0.1:8080"),
        ("POST", f"{DEPLOYMENT}/", f"POST {DEPLOYMENT}", "http://127.0.0.1:8080"),
        ("POST", "/OpenAI/Deployments/org/model/embeddings", f"POST {DEPLOYMENT}", "http://127.0.0.1:8080"),
        ("GET", "/v1/admin/v1/accounts", "GET /admin/v1/accounts", "http://127.0.0.1:8080"),
        ("POST", "/admin/accounts", "POST /admin/v1/accounts", "http://127.0.0.1:8080"),
        ("GET", "/admin/v1/accounts/", "GET /admin/v1/accounts", "http://127.0.0.1:8080"),
    ],
)
async def test_a_wrong_path_says_which_was_called_and_what_the_base_url_should_be(
    api: ServedApi, method: str, path: str, operation: str, base_url: str
) -> None:
    error = await _not_found(api, method if method != "HEAD" else "GET", path)
    assert error["details"] == {"operation": operation, "base_url": base_url}
    assert path.partition("?")[0].partition("%")[0] in error["message"]
    assert operation in error["message"]
    assert base_url in error["message"] or "/v1/" not in operation


@pytest.mark.parametrize(
    ("method", "path", "words"),
    [
        ("POST", "/v1/chat/completions", "serves embeddings: POST /v1/embeddings"),
        ("POST", "/v1/rerank", "serves embeddings: POST /v1/embeddings"),
        ("GET", "/v1", "base URL"),
        ("GET", "/V1/", "base URL"),
        ("GET", "/docs", "GET /openapi.json lists"),
        ("GET", "/v1/%2e%2e/%2e%2e/etc/passwd", "GET /v1/../../etc/passwd"),
        ("GET", "/a%00b%E2%80%A8<script>", "GET /a?b?<script>"),
        ("POST", "/" + "a/" * 15_000 + "embeddings", "…"),
    ],
)
async def test_any_other_path_is_named_too_and_bounded(api: ServedApi, method: str, path: str, words: str) -> None:
    error = await _not_found(api, method, path)
    assert words in error["message"]
    assert len(error["message"]) < 400


async def test_a_key_in_a_path_is_not_repeated(api: ServedApi) -> None:
    for key in (api.key, api.operator, "sk-proj-0123456789"):
        assert key not in str(await _not_found(api, "POST", f"/v1/{key}/embeddings"))


@pytest.mark.parametrize(
    ("headers", "address"),
    [
        (["host: api.example.com"], "https://api.example.com"),
        (["host: api.example.com", "x-forwarded-proto: http"], "http://api.example.com"),
        (["host: 127.0.0.1:9000"], "http://127.0.0.1:9000"),
        (["host: 127.0.0.1:9000", "x-forwarded-proto: https"], "https://127.0.0.1:9000"),
        (["host: localhost"], "http://localhost"),
        (["host: [::1]:8080"], "http://[::1]:8080"),
        (["host: gpu7:8080"], "http://gpu7:8080"),
        (["host: gpu7:8443"], "https://gpu7:8443"),
    ],
)
async def test_the_address_is_the_one_that_the_client_used(api: ServedApi, headers: list[str], address: str) -> None:
    async with api.server.peer() as peer:
        await peer.send("\r\n".join(["POST /embeddings HTTP/1.1", *headers, "", ""]).encode())
        assert (await peer.answer()).error["details"]["base_url"] == f"{address}/v1"


def test_every_operation_is_found_behind_every_prefix_that_people_put_before_it() -> None:
    """Whatever will be declared later, too."""
    nouns = [*all_operations(), embeddings_declaration.routes]
    paths = Paths(nouns)
    for noun in nouns:
        for route in operation_routes(noun.routes):
            path = _filled(route.spec.path)
            assert route.spec.method in paths.methods(path), path
            wrongs = [f"/v1{path}", f"/api{path}", f"/{path}", f"{path}/", path.upper().replace("X", "x")]
            for wrong in (w for w in wrongs if path != "/" and not paths.methods(w)):
                scope = {"method": route.spec.method, "path": wrong, "headers": []}
                refusal = paths.refusal(scope)
                assert refusal.details.get("operation") == f"{route.spec.method} {path}", wrong


def test_no_path_that_is_served_denies_that_it_is_there() -> None:
    """Under every prefix that is taken: a wrong method is 405 and never 404."""
    nouns = [*all_operations(), embeddings_declaration.routes]
    paths = Paths(nouns)
    served = {_filled(route.spec.path) for noun in nouns for route in operation_routes(noun.routes)}
    served |= {path.replace("/v1/", "/openai/", 1) for path in served if path.startswith("/v1/models")}
    assert {"/openai/models", "/openai/models/x", "/openai/deployments/x/embeddings"} <= served
    for path in served:
        for method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "QUERY"} - set(paths.methods(path)):
            refusal = paths.refusal({"method": method, "path": path, "headers": []})
            assert isinstance(refusal, MethodNotAllowed), (method, path)
            assert dict(refusal.headers)[b"allow"].decode() == ", ".join(paths.methods(path))


def _filled(template: str) -> str:
    return re.sub(r"\{[^}]+\}", "x", template)


def _without(headers: dict[str, str], names: set[str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name not in names}


async def _not_found(api: ServedApi, method: str, path: str) -> dict[str, Any]:
    async with api.server.peer() as peer:
        await peer.send(f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1:8080\r\ncontent-length: 0\r\n\r\n".encode())
        answer = await peer.answer()
    assert (answer.status, answer.error["code"]) == (404, "not_found"), orjson.loads(answer.body)
    return answer.error
