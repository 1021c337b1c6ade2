# ruff: noqa: SIM905 - a table of names reads better as words than as quoted strings
"""What a customer sends beside the call itself reaches no upstream; what is ours reaches no one but its upstream."""

import asyncio
import hashlib
import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from billing.values import Limits
from router.changes.transaction import UnitOfWork
from router.registry.specs import EndpointSpec, ProviderSpec
from store.embedded import Embedded
from store.ids import ModelId
from tests.builders.database import add_endpoint, add_model, make_live
from tests.harness.fake_upstream import Received, Upstream
from tests.harness.fake_upstream import Reply as Scripted
from tests.harness.fake_vendors import KEY, Vendor
from tests.harness.processes import Product
from tests.harness.raw_http import Reply, request_bytes, send

PATH = "/v1/embeddings"
CANARY = "canary-7f3a"
UPSTREAM_KEY = "sk-upstream-5d2c9e"
TEXT = f"a text with {CANARY}-text in it"
KINDS = ("openai", "worker", "cohere", "voyage", "gemini", "mistral", "titan")
PLAIN = {"host", "user-agent", "accept-encoding", "content-type", "content-length"}
# All that an upstream ever gets: header names, then the fields of the body at its top.
SENT: dict[str, tuple[set[str], set[str]]] = {
    "openai": (PLAIN | {"accept", "authorization"}, {"model", "input", "encoding_format"}),
    "worker": (PLAIN, {"request_id", "texts", "token_ids", "prefix", "truncate", "lane"}),
    "cohere": (PLAIN | {"accept", "authorization"}, {"model", "texts", "input_type", "truncate"}),
    "voyage": (PLAIN | {"accept", "authorization"}, {"model", "input", "truncation"}),
    "gemini": (PLAIN | {"accept", "x-goog-api-key"}, {"requests"}),
    "mistral": (PLAIN | {"accept", "authorization"}, {"model", "input"}),
    "titan": (PLAIN | {"accept", "authorization", "x-amz-date"}, {"inputText"}),
}
HOSTILE_HEADERS = {
    "cookie": f"session={CANARY}",
    "x-forwarded-for": f"10.0.0.1, {CANARY}",
    "x-forwarded-host": f"{CANARY}.example",
    "x-real-ip": CANARY,
    "forwarded": f"for={CANARY}",
    "openai-organization": CANARY,
    "openai-project": CANARY,
    "openai-beta": CANARY,
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "tracestate": f"x={CANARY}",
    "baggage": f"x={CANARY}",
    "api-key": CANARY,
    "x-api-key": CANARY,
    "x-goog-api-key": CANARY,
    "proxy-authorization": CANARY,
    "x-amz-security-token": CANARY,
    "x-litellm-api-key": CANARY,
    "x-litellm-tags": CANARY,
    "x-stainless-raw-response": CANARY,
    "referer": f"https://{CANARY}.example",
    "origin": f"https://{CANARY}.example",
    "user-agent": CANARY,
    "accept-language": CANARY,
    "x-anything-else": CANARY,
}
# What peers took from a body: where to send the call, as whom, and what to answer.
HOSTILE_FIELDS = """
api_base base_url api_key api_version api_type organization extra_headers extra_body extra_query
custom_llm_provider litellm_params model_list user_config mock_response metadata tags num_retries max_retries fallbacks
timeout caching cache client aws_access_key_id aws_region_name aws_bedrock_runtime_endpoint vertex_credentials
success_callback callbacks stream inputs texts proxies truncate
""".split()


class World:
    """One serve, an upstream of every kind, and a customer."""

    def __init__(self, product: Product, upstreams: dict[str, Upstream]) -> None:
        self.product = product
        self.upstreams = upstreams
        self.key = product.wait_until_known(product.database.a_key(product.database.an_account(1_000_000)))

    def call(self, kind: str, path: str = PATH, headers: dict[str, str] | None = None, **body: object) -> Reply:
        content = {"model": f"tests/{kind}", "input": TEXT} | body
        request = request_bytes(path, self.key, content, headers)
        return asyncio.run(send(self.product.serves[0].port, request))

    @property
    def heard(self) -> str:
        """Everything that any upstream got of a call, since :meth:`forget`."""
        return "".join(str(call) for kind in self.upstreams for call in self.calls(kind))

    def calls(self, kind: str) -> list[Received]:
        """Without the questions that the product asks a worker about itself."""
        return [call for call in self.upstreams[kind].calls if call.method == "POST"]

    def forget(self) -> None:
        for upstream in self.upstreams.values():
            upstream.calls.clear()

    @property
    def told(self) -> str:
        """Everything that the product says of itself."""
        with urllib.request.urlopen(f"{self.product.serves[0].admin_url}/metrics", timeout=30) as answer:
            metrics: str = answer.read().decode()
        return str(self.product.serves[0].log.read_text()) + metrics


def failing(kind: str) -> str:
    """The name of the model whose endpoint, at the same upstream, is made to fail and rests afterwards."""
    return f"{kind}-failing"


def set_up_catalog(product: Product, upstreams: dict[str, Upstream]) -> None:
    async def add_models(work: UnitOfWork) -> None:
        for kind in upstreams:
            for name in (kind, failing(kind)):
                await make_live(work.connection, await add_model(work.connection, f"tests/{name}"))

    async def add_endpoints(work: UnitOfWork) -> None:
        cipher = product.database.cipher
        kinds = {name: kind for kind in upstreams for name in (kind, failing(kind))}
        for name, kind in kinds.items():
            model, upstream = ModelId(f"tests/{name}"), upstreams[kind]
            if isinstance(upstream, Vendor):
                wire = upstream.wire
                spec = ProviderSpec(upstream.vendor_url, options={"vendor": wire.vendor, **wire.options})
                endpoint = EndpointSpec(upstream_model=wire.model, asks_base64=False)
                await add_endpoint(work, cipher, model, name, "litellm", spec, endpoint, wire.credential)
            else:
                url = upstream.worker_url if kind == "worker" else upstream.base_url
                credential = None if kind == "worker" else UPSTREAM_KEY
                await add_endpoint(work, cipher, model, name, kind, ProviderSpec(url), EndpointSpec(model), credential)

    product.database.as_owner(add_models)
    product.database.as_app(add_endpoints)


@pytest.fixture(scope="module")
def world(servers: Embedded, module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    servers.redis.command("FLUSHALL")
    upstreams = {kind: Upstream() if kind in ("openai", "worker") else Vendor(kind) for kind in KINDS}
    settings = {"log_level": "debug"}
    folder = tmp_path_factory.mktemp("leaks")
    product = Product(folder, module_database_url, servers.redis_url, jobs=False, settings=settings)
    running = [upstream.in_thread() for upstream in upstreams.values()]
    for upstream in running:
        upstream.__enter__()
    try:
        set_up_catalog(product, upstreams)
        with product:
            yield World(product, upstreams)
    finally:
        for upstream in running:
            upstream.__exit__(None, None, None)


@pytest.mark.parametrize("kind", KINDS)
def test_an_upstream_gets_the_listed_headers_and_fields_and_nothing_else(kind: str, world: World) -> None:
    world.forget()
    path = f"{PATH}?model={CANARY}&user={CANARY}&{CANARY}=1"
    ours = {"idempotency-key": f"{CANARY}-{kind}", "prefer": "wait=1"}
    preferences = {"only": [kind], "allow_fallbacks": False}
    reply = world.call(kind, path, HOSTILE_HEADERS | ours, user=f"{CANARY}-user", provider=preferences)
    assert reply.status == 200, reply.body
    (call,) = world.calls(kind)
    headers, fields = SENT[kind]
    assert set(call.headers) == headers
    decode = msgspec.msgpack.decode if kind == "worker" else msgspec.json.decode
    assert set(decode(call.body)) == fields
    assert call.headers["user-agent"] == "gigarouter"
    heard = world.heard.replace(f"{CANARY}-text", "")
    assert CANARY not in heard
    assert world.key not in heard
    assert "0af7651916cd43dd8448eb211c80319c" not in heard
    if kind == "openai":
        assert call.headers["authorization"] == f"Bearer {UPSTREAM_KEY}"


@pytest.mark.parametrize("field", HOSTILE_FIELDS)
def test_a_field_that_is_not_ours_is_refused_before_anyone_is_asked(field: str, world: World) -> None:
    world.forget()
    for kind in ("openai", "cohere"):
        fields: dict[str, Any] = {field: f"http://127.0.0.1:{world.upstreams['voyage'].port}/{CANARY}"}
        refused = world.call(kind, **fields)
        assert (refused.status, refused.json["error"]["param"]) == (400, field)
        assert CANARY.encode() not in refused.body
    assert world.heard == ""


def test_cve_2024_6587_a_client_cannot_have_our_credential_sent_to_an_address_of_its_own(world: World) -> None:
    """LiteLLM took ``api_base`` from the body and sent the operator's key there."""
    world.forget()
    with Upstream().in_thread() as thief:
        for kind in KINDS:
            for name in ("api_base", "base_url", "aws_bedrock_runtime_endpoint"):
                fields: dict[str, Any] = {name: thief.base_url}
                assert world.call(kind, **fields).status == 400
            headers = {"x-api-base": thief.base_url, "host": f"127.0.0.1:{thief.port}", "x-original-url": "/admin"}
            world.call(kind, f"{PATH}?api_base={thief.base_url}", {k: v for k, v in headers.items() if k != "host"})
        assert not thief.connections


def test_litellm_pull_20432_our_own_key_is_not_forwarded_upstream(world: World) -> None:
    """LiteLLM forwarded the header in which its customers put their key to Anthropic."""
    world.forget()
    for kind in KINDS:
        for header in ("x-api-key", "api-key", "x-goog-api-key", "x-litellm-api-key", "x-gigarouter-key"):
            assert world.call(kind, headers={header: world.key}).status == 200
    assert world.key not in world.heard


def test_litellm_27884_a_limits_answer_shows_neither_a_key_nor_its_hash(world: World) -> None:
    database = world.product.database
    limits = Limits(requests_per_minute=1, tokens_per_minute=1_000_000, concurrency=10)
    key = world.product.wait_until_known(database.a_key(database.an_account(1_000_000), limits=limits))
    request = request_bytes(PATH, key, {"model": "tests/openai", "input": "x"})
    replies = [asyncio.run(send(world.product.serves[0].port, request)) for _ in range(4)]
    refused = [reply for reply in replies if reply.status == 429]
    assert refused
    secret = key.split("_")[3]
    for reply in replies:
        said = str(reply)
        assert key not in said
        for text in (key, secret):
            assert hashlib.sha256(text.encode()).hexdigest() not in said


def test_litellm_pull_22188_credentials_stay_out_of_logs_metrics_and_errors(world: World) -> None:
    """LiteLLM wrote credentials into traces; vendors quote them in their errors."""
    quoted = {"message": f"invalid key {UPSTREAM_KEY} {KEY} for {TEXT}", "type": UPSTREAM_KEY, "code": KEY}
    for status in (400, 500, 503, 429):
        for kind in KINDS:
            upstream = world.upstreams[kind]
            # Always: a worker is also asked how busy it is.
            upstream.always = Scripted(status=status, body=json.dumps({"error": quoted, **quoted}).encode())
            reply = world.call(failing(kind))
            upstream.always = Scripted()
            assert reply.status in (400, 502, 503, 504)
            for secret in (UPSTREAM_KEY, KEY, "aws-secret-of-the-tests", CANARY, world.key):
                assert secret.encode() not in reply.body
    told = world.told
    assert "provider_unavailable" in told
    for secret in (UPSTREAM_KEY, KEY, "aws-secret-of-the-tests", CANARY, world.key):
        assert secret not in told
