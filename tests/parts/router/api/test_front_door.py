"""The whole edge on real parts: real Postgres and Redis, an upstream behind its real wire, requests over sockets."""

import asyncio
import io
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import orjson
import pytest
import structlog
from cryptography.fernet import Fernet
from jsonschema import Draft202012Validator

from billing.values import Limits
from gigarouter import telemetry
from gigarouter.settings import Settings
from gigarouter.wiring import process
from providers.protocol import Attempt, Vectors
from router.api.app import Audience, create_app, operations_for
from router.api.documents import document
from router.api.exchange import never_gone
from router.api.operation import Operations, OperationSpec, Who, operation_routes
from router.context import RouterContext
from router.errors import ClientGone, TooManyTokens
from router.pipeline import embed
from router.values import RawCall
from store.embedded import Embedded
from store.ids import RequestId, new_id
from tests.builders.database import DatabaseBuilder
from tests.builders.settings import settings_of
from tests.harness.edge_server import listening
from tests.harness.fake_upstream import Upstream
from tests.harness.served_api import ready

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[4]
CONTRACT = json.loads((ROOT / "tests" / "contract" / "openai.openapi.json").read_text())
MODEL = "tests/front-door"
CANARY = "canary-4711"
SECRET_KEY = Fernet.generate_key().decode()


class Front:
    """A door, keys to it, and what was logged behind it."""

    def __init__(
        self, context: RouterContext, client: httpx.AsyncClient, key: str, poor_key: str, log: io.BytesIO, meters: Any
    ) -> None:
        self.context = context
        self.client = client
        self.key = key
        self.poor_key = poor_key
        self.log = log
        self.meters = meters

    async def embed(self, body: Any, key: str | None = None, **headers: str) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.client.post(
            "/v1/embeddings",
            content=content,
            headers={"authorization": f"Bearer {key or self.key}"}
            | {n.replace("_", "-"): v for n, v in headers.items()},
        )

    async def get(self, path: str, key: str | None = None, **headers: str) -> httpx.Response:
        return await self.client.get(path, headers={"authorization": f"Bearer {key or self.key}"} | headers)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.getvalue().splitlines()]


broken = Operations("tests", who=Who.ANYONE)


@broken.get("/v1/broken", verb="break", summary="Fail")
async def _broken() -> None:
    raise RuntimeError(f"a library quotes {CANARY}")


@broken.get("/v1/typed", verb="type", summary="Take a day")
async def _typed(since: date) -> None:
    return None


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream().in_thread() as running:
        yield running


@pytest.fixture(scope="module")
def database(servers: Embedded, module_database_url: str) -> DatabaseBuilder:
    servers.redis.command("FLUSHALL")
    return DatabaseBuilder(module_database_url, SECRET_KEY)


@pytest.fixture(scope="module")
async def front(database: DatabaseBuilder, keys: tuple[str, str, Settings]) -> AsyncIterator[Front]:
    key, poor_key, settings = keys
    log = io.BytesIO()
    telemetry.configure("info", "json", log)
    async with process(settings, "serve") as context:
        await ready(context)
        meters = telemetry.Meters(context, telemetry.RequestLog("json", log))
        app = create_app(context, record=meters.record, metrics=meters.expose, further=[broken])
        async with (
            listening(app, []) as server,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", timeout=20) as client,
        ):
            yield Front(context, client, key, poor_key, log, meters)
    structlog.reset_defaults()


@pytest.fixture(scope="module")
def keys(database: DatabaseBuilder, servers: Embedded, upstream: Upstream) -> tuple[str, str, Settings]:
    """Made before the loop runs, because the builder runs loops of its own."""
    database.an_endpoint(database.a_model(MODEL, vocabulary=None), upstream.base_url)
    key = database.a_key(database.an_account(1_000_000_000))
    poor = database.a_key(database.an_account(0), limits=Limits(requests_per_minute=1_000))
    settings = settings_of(database.url, servers.redis_url, SECRET_KEY)
    return key, poor, settings


def _a_call(front: Front, body: Any, client_gone: Callable[[], bool] = never_gone) -> RawCall:
    return RawCall(
        request_id=RequestId(new_id()),
        body=json.dumps(body).encode(),
        authorization=f"Bearer {front.key}",
        idempotency_key=None,
        now=datetime.now(UTC),
        deadline_at=asyncio.get_running_loop().time() + 10,
        client_gone=client_gone,
    )


def _valid(name: str, value: object) -> None:
    schema = {"$ref": f"#/components/schemas/{name}", "components": CONTRACT["components"]}
    Draft202012Validator(schema).validate(value)


async def test_a_call_is_answered_in_openais_shape_with_all_its_headers(front: Front) -> None:
    answer = await front.embed({"model": MODEL, "input": ["b", "a"]}, x_request_id="my-id-1")
    assert answer.status_code == 200
    _valid("CreateEmbeddingResponse", answer.json())
    headers = answer.headers
    assert re.fullmatch(r"req_[0-9a-f]{32}", headers["x-request-id"])
    assert headers["x-client-request-id"] == "my-id-1"
    assert headers["openai-model"] == MODEL
    assert int(headers["openai-processing-ms"]) >= 0
    assert float(headers["x-gigarouter-cost"]) > 0
    assert int(headers["x-ratelimit-remaining-requests"]) >= 0


async def test_a_client_that_is_gone_when_its_call_is_admitted_costs_nothing(front: Front, upstream: Upstream) -> None:
    asked = len(upstream.calls)
    call = _a_call(front, {"model": MODEL, "input": "nobody waits for this"}, client_gone=lambda: True)
    before = (await front.get("/v1/account")).json()
    with pytest.raises(ClientGone):
        await embed(call, front.context)
    await asyncio.sleep(0.1)
    after = (await front.get("/v1/account")).json()
    assert (after["balance"], after["held"]) == (before["balance"], "0.00")
    assert len(upstream.calls) == asked


class Counting:
    """A provider with the model's tokenizer, that is asked how many tokens a text has."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        self.counts = 0

    def __getitem__(self, provider_id: object) -> "Counting":
        return self

    async def count(self, attempt: Attempt, deadline_s: float) -> int | None:
        self.counts += 1
        return self.tokens

    async def embed(self, attempt: Attempt, deadline_s: float) -> Vectors:
        return Vectors(np.eye(1, 8, dtype=np.float32), self.tokens, exact=True)


@pytest.mark.parametrize(
    ("characters", "tokens", "counts"), [(1000, 250, 0), (400_000, 300_000, 1), (400_000, 300_001, 1)]
)
async def test_a_text_that_may_have_too_many_tokens_is_counted_before_it_is_sent(
    front: Front, characters: int, tokens: int, counts: int
) -> None:
    provider = Counting(tokens)
    context = msgspec.structs.replace(front.context, providers=provider)
    call = _a_call(front, {"model": MODEL, "input": "x" * characters})
    if tokens > 300_000:
        with pytest.raises(TooManyTokens, match="Requested 300001 tokens, max 300000 tokens per request"):
            await embed(call, context)
    else:
        assert (await embed(call, context)).status == 200
    assert provider.counts == counts


async def test_a_large_answer_is_chunked_and_whole(front: Front) -> None:
    answer = await front.embed({"model": MODEL, "input": [str(n) for n in range(2048)]})
    assert [item["index"] for item in answer.json()["data"]] == list(range(2048))


async def test_any_content_type_is_taken_because_the_decoder_decides(front: Front) -> None:
    body = {"model": MODEL, "input": "x"}
    for content_type in ("application/json; charset=utf-8", "application/x-www-form-urlencoded", "text/plain"):
        assert (await front.embed(body, content_type=content_type)).status_code == 200


async def test_a_key_may_come_as_x_api_key_but_not_in_the_url_nor_twice(front: Front) -> None:
    body = json.dumps({"model": MODEL, "input": "x"})
    assert (
        await front.client.post("/v1/embeddings", content=body, headers={"x-api-key": front.key})
    ).status_code == 200
    for query in (f"?api_key={front.key}", f"?x={front.key}", "?key=abc", "?a=1&API-KEY=x", "?access_token=x"):
        answer = await front.client.post(f"/v1/embeddings{query}", content=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "key_in_url")
        assert front.key not in answer.text
    both = [("authorization", f"Bearer {front.key}")] * 2
    assert (await front.client.post("/v1/embeddings", content=body, headers=both)).status_code == 401


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/embeddings", 405, "method_not_allowed"),
        ("PUT", "/v1/embeddings", 405, "method_not_allowed"),
        ("POST", "/v1/models", 405, "method_not_allowed"),
        ("DELETE", "/v1/account", 405, "method_not_allowed"),
        ("POST", "/v1/embeddings/", 404, "not_found"),
        ("POST", "/V1/EMBEDDINGS", 404, "not_found"),
        ("GET", "/docs", 404, "not_found"),
        ("GET", "/v1/%2e%2e/models", 404, "not_found"),
        ("GET", "/v1/models/nobody%2Fnothing", 404, "model_not_found"),
        ("OPTIONS", "/v1/nothing", 404, "not_found"),
    ],
)
async def test_every_wrong_path_and_verb_has_the_envelope(
    front: Front, method: str, path: str, status: int, code: str
) -> None:
    answer = await front.client.request(method, path, headers={"authorization": f"Bearer {front.key}"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    _valid("ErrorResponse", answer.json())
    assert answer.headers["x-request-id"] == answer.json()["error"]["request_id"]
    assert ("allow" in answer.headers) == (status == 405)


@pytest.mark.parametrize("host", ["x/admin?a=", "a#", "a/../", "evil:99999", "localhost@evil", "[::1]:x"])
async def test_the_host_header_opens_no_door(front: Front, host: str) -> None:
    """A host that is one means nothing to us; any other is no HTTP (RFC 9112 §3.2)."""
    headers = {"host": host, "authorization": "Bearer gr_live_x"}
    answer = await front.client.get("/v1/account", headers=headers)
    assert answer.status_code == (401 if host == "evil:99999" else 400)


def specs(audience: Audience = Audience.EVERYONE) -> list[OperationSpec]:
    return [route.spec for noun in operations_for(audience) for route in operation_routes(noun.routes)]


@pytest.mark.parametrize("path", [spec.path for spec in specs() if spec.who is Who.KEY and spec.method == "GET"])
@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Basic eDp5", "Bearer gr_live_x", "Bearer sk-x"])
async def test_what_is_for_keys_is_refused_without_one(front: Front, path: str, authorization: str | None) -> None:
    headers = {"authorization": authorization} if authorization is not None else {}
    answer = await front.client.get(path.replace("{model_id:path}", MODEL), headers=headers)
    assert answer.status_code == 401
    _valid("ErrorResponse", answer.json())


async def test_models_are_openais_with_price_width_space_license_and_status(front: Front) -> None:
    listed = (await front.get("/v1/models")).json()
    _valid("ListModelsResponse", listed)
    model = (await front.get(f"/v1/models/{MODEL}")).json()
    assert {name: model[name] for name in listed["data"][0]} in listed["data"]
    _valid("Model", model)
    assert model["pricing"]["per_million_tokens"] == "0.001"
    assert model["pricing"]["per_token"] == "0.000000001"
    assert (model["dimensions"], model["status"], model["license"]) == (8, "live", "Apache-2.0")
    assert model["space"] == f"tests:{MODEL}"


async def test_the_account_tells_balance_holds_and_limits(front: Front) -> None:
    answer = await front.get("/v1/account", front.poor_key)
    account = answer.json()
    assert (account["balance"], account["held"], account["available"]) == ("0.00", "0.00", "0.00")
    assert account["key"]["limits"]["requests_per_minute"] == 1_000
    assert answer.headers["cache-control"] == "no-store"


async def test_without_credit_the_answer_is_402_and_says_what_was_needed(front: Front) -> None:
    answer = await front.embed({"model": MODEL, "input": "x"}, front.poor_key)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["type"]) == (402, "credit_exhausted", "insufficient_quota")
    assert float(error["details"]["needed_usd"]) > 0
    assert "x-ratelimit-limit-requests" in answer.headers


async def test_a_fault_of_ours_is_500_in_the_envelope_and_its_words_are_nowhere(front: Front) -> None:
    answer = await front.client.get("/v1/broken")
    assert answer.status_code == 500
    _valid("ErrorResponse", answer.json())
    assert answer.headers["x-should-retry"] == "false"
    assert CANARY not in answer.text
    logged = [line for line in front.lines() if line["event"] == "unexpected"]
    assert logged[-1]["fault"] == "RuntimeError"
    assert any("_broken" in place for place in logged[-1]["place"])
    assert CANARY.encode() not in front.log.getvalue()


async def test_a_parameter_of_the_wrong_type_is_named_and_not_said_back(front: Front) -> None:
    answer = await front.client.get(f"/v1/typed?since={CANARY}")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "since")
    assert CANARY not in answer.text


async def test_the_log_tells_everything_of_a_call_but_no_secret_and_no_input(front: Front) -> None:
    answered = await front.embed({"model": MODEL, "input": f"{CANARY} text", "user": CANARY})
    refused = await front.embed({"model": MODEL, "input": [CANARY, 1]})
    front.meters._log.flush()
    lines = {line["request_id"]: line for line in front.lines() if line["event"] == "request"}
    line = lines[answered.headers["x-request-id"]]
    assert line["status"] == 200
    assert line["model"] == MODEL
    assert line["account"].startswith("acct_")
    assert line["key"].startswith("key_")
    assert line["endpoint"].startswith("ep_")
    assert line["charged_nano"] > 0
    assert line["tokens"] > 0
    assert line["ms"] > 0
    line = lines[refused.headers["x-request-id"]]
    assert (line["status"], line["code"], line["key_handle"]) == (400, "invalid_request", front.key[:16])
    assert CANARY.encode() not in front.log.getvalue()
    assert front.key[17:49].encode() not in front.log.getvalue()


async def test_metrics_count_calls_and_are_not_for_those_behind_a_proxy(front: Front) -> None:
    await front.embed({"model": MODEL, "input": "x"})
    text = (await front.client.get("/metrics")).text
    assert re.search(r'gigarouter_requests_total\{code="",operation="/v1/embeddings",status="200"\} [1-9]', text)
    assert re.search(rf'gigarouter_tokens_total\{{model="{MODEL}"\}} [1-9]', text)
    assert "gigarouter_event_loop_lag_seconds_bucket" in text
    assert "gigarouter_ready 1.0" in text
    assert "process_resident_memory_bytes" in text
    assert (await front.client.get("/metrics", headers={"x-forwarded-for": "1.2.3.4"})).status_code == 404


async def test_health_and_readiness(front: Front) -> None:
    assert (await front.client.get("/health")).json() == {"status": "ok"}
    assert (await front.client.get("/ready")).json() == {"status": "ready", "missing": []}


async def test_the_api_describes_itself_and_the_file_is_the_same(front: Front) -> None:
    served = (await front.client.get("/openapi.json")).json()
    operations = {
        (method.upper(), path.replace("{model_id}", "{model_id:path}"))
        for path, methods in served["paths"].items()
        for method in methods
    }
    customers = {spec.name for spec in specs(Audience.CUSTOMERS)}
    assert not [path for _, path in customers if path.startswith(("/admin", "/metrics"))]
    azures = ("POST", "/openai/deployments/{deployment}/embeddings")
    assert operations == customers | {("POST", "/v1/embeddings"), azures}
    assert served == orjson.loads((ROOT / "docs" / "openapi.json").read_bytes()), (
        "python -m router.api.documents > docs/openapi.json"
    )
    assert served == orjson.loads(orjson.dumps(document()))
