# ruff: noqa: E501 - a table of errors reads better with a line each
"""Every vendor's own wire, spoken by our kinds: right vectors, the tokens it bills, its words, its failures."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from typing import Unpack

import numpy as np
import pytest

from providers.outcomes import (
    BadAnswer,
    Broken,
    CallerFault,
    CredentialRefused,
    Failure,
    ModelMissing,
    Overloaded,
    Throttled,
    TimedOut,
)
from providers.protocol import Attempt, FloatMatrix, Provider
from tests.builders.providers import a_provider
from tests.builders.values import AttemptFields, an_attempt
from tests.harness.fake_upstream import Reply, unit_vector
from tests.harness.fake_vendors import WIDTH, WIRES, Vendor, google
from tests.harness.litellm_loading import loaded

TEXTS = ["one text", "another, longer text", "ein dritter: größer, 数据"]
# Beginnings that litellm, or a vendor's library, takes for something else than text.
REFERENCES = [
    "files/abc123",
    "https://generativelanguage.googleapis.com/v1beta/files/abc123",
    "gs://our-bucket/secret.pdf",
    "data:image/png;base64,aGVsbG8=",
    "s3://our-bucket/secret.txt",
    "os.environ/OPENAI_API_KEY",
    '"input-0-of-gigarouter"',
    "input-1-of-gigarouter",
]
SPEAK_INPUT_TYPES = [name for name, wire in WIRES.items() if wire.words]


@pytest.fixture(scope="module", autouse=True)
def litellm() -> Iterator[None]:
    with loaded():
        yield


@contextlib.asynccontextmanager
async def a_vendor(name: str, **options: object) -> AsyncIterator[tuple[Vendor, Provider]]:
    async with Vendor(name) as vendor:
        wire = vendor.wire
        speaks = {**({"vendor": wire.vendor} if wire.vendor else {}), **wire.options, **options}
        async with a_provider(wire.kind, vendor.vendor_url, credential=wire.credential, options=speaks) as provider:
            yield vendor, provider


def an_attempt_at(vendor: Vendor, texts: list[str] = TEXTS, **fields: Unpack[AttemptFields]) -> Attempt:
    fields.setdefault("upstream_model", vendor.wire.model)
    fields.setdefault("asks_base64", False)
    return an_attempt(*texts, **fields)


def expected(texts: list[str]) -> FloatMatrix:
    return np.array([unit_vector(text, WIDTH) for text in texts], dtype=np.float32)


@pytest.mark.parametrize("name", WIRES)
def test_vectors_come_back_in_order_with_the_tokens_that_the_vendor_bills(name: str) -> None:
    async def scenario() -> None:
        async with a_vendor(name) as (vendor, provider):
            vectors = await provider.embed(an_attempt_at(vendor), 30.0)
            assert not vendor.faults
            assert np.array_equal(vectors.matrix, expected(TEXTS))
            assert vectors.tokens == 15
            assert len(vendor.calls) == (len(TEXTS) if vendor.wire.per_text else 1)

    asyncio.run(scenario())


@pytest.mark.parametrize("name", WIRES)
def test_no_vendor_is_asked_for_a_width(name: str) -> None:
    async def scenario() -> None:
        async with a_vendor(name) as (vendor, provider):
            await provider.embed(an_attempt_at(vendor, dimensions=16), 30.0)
            assert not vendor.faults
            assert {spoken.dimensions for spoken in vendor.heard} == {None}

    asyncio.run(scenario())


@pytest.mark.parametrize("name", SPEAK_INPUT_TYPES)
def test_query_and_document_are_said_in_the_vendors_words(name: str) -> None:
    async def scenario() -> None:
        async with a_vendor(name) as (vendor, provider):
            for ours in ("query", "document"):
                await provider.embed(an_attempt_at(vendor, input_type=ours), 30.0)
            assert not vendor.faults
            assert tuple(spoken.input_type for spoken in vendor.heard) == vendor.wire.words

    asyncio.run(scenario())


@pytest.mark.parametrize("name", WIRES)
@pytest.mark.parametrize("text", REFERENCES)
def test_a_text_is_a_text_whatever_it_looks_like(name: str, text: str) -> None:
    """litellm fetched ``files/…`` with the operator's key, and sent ``data:`` to Cohere as a picture."""

    async def scenario() -> None:
        async with a_vendor(name) as (vendor, provider):
            signed = vendor.wire.vendor == "bedrock" and text.startswith(("data:", "s3://"))
            with pytest.raises(CallerFault, match="begins like the address") if signed else contextlib.nullcontext():
                vectors = await provider.embed(an_attempt_at(vendor, ["x", text]), 30.0)
                assert np.array_equal(vectors.matrix, expected(["x", text]))
            assert not vendor.faults
            assert bool(vendor.calls) != signed

    asyncio.run(scenario())


def detail(text: str) -> bytes:
    return json.dumps({"detail": text}).encode()


def message(text: str, **more: object) -> bytes:
    return json.dumps({"message": text, **more}).encode()


def openai(code: str | None, kind: str = "invalid_request_error") -> bytes:
    return json.dumps({"error": {"message": "words", "type": kind, "param": None, "code": code}}).encode()


def aws(error: str) -> dict[str, str]:
    return {"x-amzn-errortype": f"{error}:http://internal.amazon.com/coral/com.amazon.bedrock/"}


INFO, RETRY = "type.googleapis.com/google.rpc.ErrorInfo", "type.googleapis.com/google.rpc.RetryInfo"
TITAN_LONG = message("400 Bad Request: Too many input tokens. Max input tokens: 8192, request input token count: 9001")
BEDROCK_MODEL = message("The provided model identifier is invalid.")
COHERE_LONG = message("too many tokens: size limit exceeded by 100 tokens. Try using shorter or fewer inputs.", id="0")
GOOGLE_LONG = (
    b'{"error": {"code": 400, "message": "The input token count (9000) exceeds the maximum number of tokens allowed '
    b'(2048).", "status": "INVALID_ARGUMENT"}}'
)
LONG = "longer than the model takes"

ERRORS: list[tuple[str, int, bytes, dict[str, str], type[Failure], float | str | None]] = [
    ("cohere", 400, message("invalid request: total number of texts must be at most 96", id="0"), {}, CallerFault, None),
    ("cohere", 400, COHERE_LONG, {}, CallerFault, LONG),
    ("cohere", 401, message("invalid api token", id="0"), {}, CredentialRefused, None),
    ("cohere", 402, message("Your billing limit was reached"), {}, CredentialRefused, None),
    ("cohere", 403, message("Please reach out to support"), {}, Broken, None),
    ("cohere", 404, message("model 'embed-v9' not found", id="0"), {}, ModelMissing, None),
    ("cohere", 422, message("input_type is required", id="0"), {}, CallerFault, None),
    ("cohere", 429, message("You are using a Trial key"), {"retry-after": "5"}, Throttled, 5.0),
    ("cohere", 500, message("internal"), {}, Broken, None),
    ("cohere", 503, b"", {"retry-after": "3"}, Overloaded, 3.0),
    ("cohere", 504, b"", {}, TimedOut, None),
    ("voyage", 400, detail("The example at index 0 in your batch has too many tokens"), {}, CallerFault, LONG),
    ("voyage", 400, detail("The batch size limit is 1000"), {}, CallerFault, None),
    ("voyage", 401, detail("Provided API key is invalid."), {}, CredentialRefused, None),
    ("voyage", 403, detail("Forbidden"), {}, Broken, None),
    ("voyage", 429, detail("You have not yet added your payment method"), {}, Throttled, None),
    ("voyage", 500, detail("An unexpected error"), {}, Broken, None),
    ("voyage", 502, b"<html></html>", {}, Broken, None),
    ("gemini", 400, google(400, "INVALID_ARGUMENT", **{"@type": INFO, "reason": "API_KEY_INVALID"}), {}, CredentialRefused, None),
    ("gemini", 400, google(400, "FAILED_PRECONDITION"), {}, CredentialRefused, None),
    ("gemini", 400, google(400, "INVALID_ARGUMENT"), {}, CallerFault, None),
    ("gemini", 400, GOOGLE_LONG, {}, CallerFault, LONG),
    ("gemini", 403, google(403, "PERMISSION_DENIED"), {}, CredentialRefused, None),
    ("gemini", 404, google(404, "NOT_FOUND"), {}, ModelMissing, None),
    ("gemini", 429, google(429, "RESOURCE_EXHAUSTED", **{"@type": RETRY, "retryDelay": "17.5s"}), {}, Throttled, 17.5),
    ("gemini", 500, google(500, "INTERNAL"), {}, Broken, None),
    ("gemini", 503, google(503, "UNAVAILABLE"), {}, Broken, None),
    ("gemini", 504, google(504, "DEADLINE_EXCEEDED"), {}, TimedOut, None),
    ("titan", 400, TITAN_LONG, aws("ValidationException"), CallerFault, LONG),
    ("titan", 400, BEDROCK_MODEL, aws("ValidationException"), ModelMissing, None),
    ("titan", 400, message("Too many requests"), aws("ThrottlingException"), Throttled, None),
    ("titan", 400, message("quota"), aws("ServiceQuotaExceededException"), Throttled, None),
    ("titan", 403, message("The security token is invalid"), aws("UnrecognizedClientException"), CredentialRefused, None),
    ("titan", 400, b'{"__type": "com.amazon.coral.service#ExpiredTokenException"}', {}, CredentialRefused, None),
    ("titan", 404, message("no model"), aws("ResourceNotFoundException"), ModelMissing, None),
    ("titan", 408, message("timed out"), aws("ModelTimeoutException"), TimedOut, None),
    ("titan", 424, message("model failed"), aws("ModelErrorException"), Broken, None),
    ("titan", 429, message("slow down"), aws("ThrottlingException"), Throttled, None),
    ("titan", 500, message("internal"), aws("InternalServerException"), Broken, None),
    ("titan", 503, message("unavailable"), aws("ServiceUnavailableException"), Broken, None),
    ("bedrock-cohere", 400, message("Malformed input request"), aws("ValidationException"), CallerFault, None),
    ("bedrock-cohere", 403, message("no access"), aws("AccessDeniedException"), CredentialRefused, None),
    ("bedrock-cohere", 429, message("slow down"), aws("ThrottlingException"), Throttled, None),
    ("jina", 401, detail("Unauthorized"), {}, CredentialRefused, None),
    ("jina", 402, detail("Insufficient account balance"), {}, CredentialRefused, None),
    ("jina", 422, b'{"detail": [{"loc": ["body", "task"], "msg": "x", "type": "y"}]}', {}, CallerFault, None),
    ("jina", 429, detail("Rate limit exceeded"), {"retry-after": "2"}, Throttled, 2.0),
    ("mistral", 400, message("Invalid model: x", object="error", type="invalid_model", code="1500"), {}, ModelMissing, None),
    ("mistral", 401, message("Unauthorized"), {}, CredentialRefused, None),
    ("mistral", 422, b'{"detail": [{"type": "x", "loc": ["body"], "msg": "y"}]}', {}, CallerFault, None),
    ("mistral", 429, message("Requests rate limit exceeded"), {}, Throttled, None),
    ("together", 402, openai(None, "credit_limit"), {}, CredentialRefused, None),
    ("together", 404, openai("model_not_available"), {}, ModelMissing, None),
    ("together", 413, b"", {}, CallerFault, None),
    ("together", 429, openai(None, "rate_limit"), {"retry-after": "1"}, Throttled, 1.0),
    ("together", 529, openai(None, "overloaded"), {}, Overloaded, None),
    ("deepinfra", 402, b'{"detail": {"error": "inference prohibited, please add balance"}}', {}, CredentialRefused, None),
    ("deepinfra", 404, b'{"detail": {"error": "The model `x` was not found"}}', {}, ModelMissing, None),
    ("deepinfra", 429, b'{"detail": "Model busy, retry later"}', {}, Throttled, None),
]  # fmt: skip


@pytest.mark.parametrize(("name", "status", "body", "headers", "kind", "said"), ERRORS)
def test_a_vendors_documented_error_is_ours_and_asked_once(
    name: str, status: int, body: bytes, headers: dict[str, str], kind: type[Failure], said: float | str | None
) -> None:
    async def scenario() -> None:
        async with a_vendor(name) as (vendor, provider):
            vendor.script.append(Reply(status=status, body=body, headers=headers))
            with pytest.raises(kind) as caught:
                await provider.embed(an_attempt_at(vendor), 10.0)
            assert type(caught.value) is kind
            assert len(vendor.calls) == 1
            assert caught.value.status == status
            if isinstance(said, str):
                assert said in caught.value.message
            else:
                assert caught.value.retry_after_s == said

    asyncio.run(scenario())


@pytest.mark.parametrize("name", WIRES)
def test_a_vendor_that_hangs_resets_or_stops_is_asked_once_and_costs_the_deadline(name: str) -> None:
    async def scenario() -> None:
        half = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{"
        async with a_vendor(name) as (vendor, provider):
            await provider.embed(an_attempt_at(vendor, ["x"]), 30.0)
            for reply, kind in (
                (Reply(delay_s=60), TimedOut),
                (Reply(raw=half, then_hang_s=60), TimedOut),
                (Reply(reset=True), Broken),
                (Reply(raw=half), Broken),
                (Reply(body=b"<html>200</html>"), Broken),
            ):
                calls = len(vendor.calls)
                vendor.script.append(reply)
                with pytest.raises(kind):
                    await provider.embed(an_attempt_at(vendor), 0.2 if kind is TimedOut else 10.0)
                assert len(vendor.calls) == calls + 1

    asyncio.run(scenario())


@pytest.mark.parametrize("usage", [-1, 1.5, "7", True, [7], 1e30])
@pytest.mark.parametrize("name", ["cohere", "titan", "gemini", "voyage"])
def test_an_absurd_usage_spoils_a_vendors_answer(name: str, usage: object) -> None:
    async def scenario() -> None:
        async with a_vendor(name) as (vendor, provider):
            await provider.embed(an_attempt_at(vendor, ["x"]), 30.0)
            body, _ = vendor.wire.answer(vendor.heard[0])
            assert isinstance(body, dict)
            places: dict[str, dict[str, object]] = {
                "cohere": {"meta": {"billed_units": {"input_tokens": usage}}},
                "titan": {"inputTextTokenCount": usage},
                "gemini": {"usageMetadata": {"promptTokenCount": usage}},
                "voyage": {"usage": {"total_tokens": usage}},
            }
            vendor.script.append(Reply(body=json.dumps(body | places[name]).encode()))
            with pytest.raises(BadAnswer):
                await provider.embed(an_attempt_at(vendor, ["x"]), 30.0)

    asyncio.run(scenario())


def test_a_guess_of_litellms_is_never_taken_for_what_a_vendor_bills() -> None:
    async def scenario() -> None:
        async with a_vendor("gemini") as (vendor, provider):
            vendor.script.append(Reply(body=json.dumps({"embeddings": [{"values": unit_vector("x", 8)}]}).encode()))
            assert (await provider.embed(an_attempt_at(vendor, ["x"]), 30.0)).tokens is None

    asyncio.run(scenario())
