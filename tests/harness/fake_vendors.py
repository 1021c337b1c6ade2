"""Embedding vendors' own wires on loopback, written down from their public API pages, strict about what arrives.

Each :class:`Wire` knows the request as the vendor documents it (a field or header more is a fault), answers honestly
in the vendor's shape with the vectors of ``fake_upstream.unit_vector``, and lists the vendor's documented errors.

Where each vendor documents it (written from extracts of these pages, 2026-11-24; compare them with the pages before you
rely on a detail):
- Cohere: https://docs.cohere.com/v2/reference/embed, https://docs.cohere.com/reference/errors
- Voyage: https://docs.voyageai.com/reference/embeddings-api, https://docs.voyageai.com/docs/error-codes
- Gemini: https://ai.google.dev/api/embeddings, https://ai.google.dev/gemini-api/docs/troubleshooting
- Bedrock: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-embed-text.html,
  …/model-parameters-embed.html, https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModel.html
- Jina: https://api.jina.ai/docs; Mistral: https://docs.mistral.ai/api/endpoint/embeddings;
  Together: https://docs.together.ai/reference/embeddings; DeepInfra:
  https://deepinfra.com/docs/advanced/embeddings
"""

import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct
from typing_extensions import override

from tests.harness.fake_upstream import Received, Reply, Upstream, tokens_of, unit_vector

KEY = "vendor-key-0123456789"
AWS_ID, AWS_SECRET, AWS_REGION = "AKIDEXAMPLE0000000000", "aws-secret-of-the-tests", "eu-west-1"
WIDTH = 8

Texts96 = Annotated[list[str], Meta(min_length=1, max_length=96)]
Dimension = Annotated[int, Meta(ge=1, le=4096)]


class Cohere(Struct, forbid_unknown_fields=True):
    """``max_tokens``, ``images`` and ``inputs`` exist as well; we send none of them."""

    model: str
    input_type: Literal["search_document", "search_query", "classification", "clustering"]
    texts: Texts96
    embedding_types: list[Literal["float"]] | None = None
    output_dimension: Dimension | None = None
    truncate: Literal["NONE", "START", "END"] = "END"


class BedrockCohere(Struct, forbid_unknown_fields=True):
    input_type: Literal["search_document", "search_query", "classification", "clustering"]
    texts: Texts96
    embedding_types: list[Literal["float"]] | None = None
    truncate: Literal["NONE", "START", "END"] = "NONE"


class Titan(Struct, forbid_unknown_fields=True, rename="camel"):
    input_text: str
    dimensions: Dimension | None = None
    normalize: bool = True
    embedding_types: list[Literal["float"]] | None = None


class Voyage(Struct, forbid_unknown_fields=True):
    input: Annotated[list[str], Meta(min_length=1, max_length=1000)]
    model: str
    input_type: Literal["query", "document"] | None = None
    truncation: bool = True
    output_dimension: Dimension | None = None
    output_dtype: Literal["float"] = "float"


class _Part(Struct, forbid_unknown_fields=True):
    text: str


class _Content(Struct, forbid_unknown_fields=True):
    parts: Annotated[list[_Part], Meta(min_length=1, max_length=1)]
    role: str | None = None


class _EmbedContent(Struct, forbid_unknown_fields=True, rename="camel"):
    model: str
    content: _Content
    task_type: Literal["RETRIEVAL_QUERY", "RETRIEVAL_DOCUMENT"] | None = None
    title: str | None = None
    output_dimensionality: Dimension | None = None


class Gemini(Struct, forbid_unknown_fields=True):
    requests: Annotated[list[_EmbedContent], Meta(min_length=1, max_length=100)]


class Jina(Struct, forbid_unknown_fields=True):
    model: str
    input: Annotated[list[str], Meta(min_length=1)]
    task: Literal["retrieval.query", "retrieval.passage"] | None = None
    dimensions: Dimension | None = None
    truncate: bool = False


class Mistral(Struct, forbid_unknown_fields=True):
    model: str
    input: Annotated[list[str], Meta(min_length=1)]
    encoding_format: Literal["float"] = "float"


class Together(Struct, forbid_unknown_fields=True):
    model: str
    input: Annotated[list[str], Meta(min_length=1)]


class DeepInfra(Struct, forbid_unknown_fields=True):
    model: str
    input: Annotated[list[str], Meta(min_length=1, max_length=1024)]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int, Meta(ge=8)] | None = None


class Spoken(Struct):
    """A request, as far as the answer depends on it."""

    texts: list[str]
    dimensions: int | None = None
    input_type: str | None = None


class Wire(Struct, frozen=True):
    """``vendor`` is litellm's name, ``base`` what stands before the path in a base URL; ``read`` checks a request.

    ``most`` is how many inputs a request may have.
    ``words`` are the vendor's for query and document; ``headers`` all that may arrive, beside those of every request.
    """

    vendor: str
    model: str
    base: str
    path: str
    read: Callable[[Received], Spoken]
    answer: Callable[[Spoken], tuple[object, dict[str, str]]]
    credential: str = KEY
    options: dict[str, object] = {}
    words: tuple[str, str] | None = None
    headers: frozenset[str] = frozenset({"authorization"})
    bills: bool = True
    per_text: bool = False
    kind: str = "litellm"
    most: int | None = None


# What every request of ours may carry to anyone.
PLAIN_HEADERS = frozenset({"host", "user-agent", "accept", "accept-encoding", "content-type", "content-length"})


def bearer(call: Received) -> None:
    assert call.headers["authorization"] == f"Bearer {KEY}", "the credential"


def _read(schema: type[Struct], texts: str, dimensions: str = "", input_type: str = "") -> Callable[[Received], Spoken]:
    def read(call: Received) -> Spoken:
        bearer(call)
        body = msgspec.json.decode(call.body, type=schema)
        asked = getattr(body, dimensions) if dimensions else None
        assert getattr(body, "truncate", "NONE") in ("NONE", False), "it would cut what is too long"
        assert not getattr(body, "truncation", False), "it would cut what is too long"
        return Spoken(getattr(body, texts), asked, getattr(body, input_type) if input_type else None)

    return read


def _gemini(call: Received) -> Spoken:
    assert call.headers["x-goog-api-key"] == KEY, "the credential"
    requests = msgspec.json.decode(call.body, type=Gemini).requests
    assert {request.model for request in requests} == {"models/gemini-embedding-001"}
    texts = [request.content.parts[0].text for request in requests]
    return Spoken(texts, requests[0].output_dimensionality, requests[0].task_type)


def _titan(call: Received) -> Spoken:
    check_signature(call)
    body = msgspec.json.decode(call.body, type=Titan)
    assert body.normalize
    return Spoken([body.input_text], body.dimensions)


def _bedrock_cohere(call: Received) -> Spoken:
    check_signature(call)
    body = msgspec.json.decode(call.body, type=BedrockCohere)
    assert body.truncate == "NONE", "it would cut what is too long"
    return Spoken(body.texts, None, body.input_type)


def check_signature(call: Received) -> None:
    """AWS Signature Version 4 as its receiver checks it, computed anew over what arrived.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
    """
    scheme, _, rest = call.headers["authorization"].partition(" ")
    fields = dict(part.strip().split("=", 1) for part in rest.split(","))
    identity, date, region, service, end = fields["Credential"].split("/")
    assert (scheme, identity, end) == ("AWS4-HMAC-SHA256", AWS_ID, "aws4_request")
    assert (region, service) == (AWS_REGION, "bedrock")
    names = fields["SignedHeaders"].split(";")
    assert {"host", "x-amz-date"} <= set(names)
    headers = "".join(f"{name}:{call.headers[name]}\n" for name in names)
    # Services other than S3 encode the path once more for the signature.
    path = call.path.replace("%", "%25")
    payload = hashlib.sha256(call.body).hexdigest()
    canonical = f"POST\n{path}\n\n{headers}\n{';'.join(names)}\n{payload}"
    scope = f"{date}/{region}/{service}/{end}"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    to_sign = f"{scheme}\n{call.headers['x-amz-date']}\n{scope}\n{digest}"
    key = f"AWS4{AWS_SECRET}".encode()
    for part in (date, region, service, end):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
    assert signature == fields["Signature"], "the signature"


def _vectors(spoken: Spoken) -> list[list[float]]:
    return [unit_vector(text, spoken.dimensions or WIDTH) for text in spoken.texts]


def _tokens(spoken: Spoken) -> int:
    return sum(map(tokens_of, spoken.texts))


def _as_openai(*, both: bool = True) -> Callable[[Spoken], tuple[object, dict[str, str]]]:
    def answer(spoken: Spoken) -> tuple[object, dict[str, str]]:
        data = [{"object": "embedding", "embedding": v, "index": n} for n, v in enumerate(_vectors(spoken))]
        usage = {"total_tokens": _tokens(spoken)} | ({"prompt_tokens": _tokens(spoken)} if both else {})
        # In another order than asked: the index says where a vector belongs.
        return {"object": "list", "data": data[::-1], "model": "x", "usage": usage}, {}

    return answer


def _cohere_answer(spoken: Spoken) -> tuple[object, dict[str, str]]:
    meta = {"api_version": {"version": "2"}, "billed_units": {"input_tokens": float(_tokens(spoken))}}
    return {"id": "0", "embeddings": {"float": _vectors(spoken)}, "texts": spoken.texts, "meta": meta}, {}


def _bedrock_cohere_answer(spoken: Spoken) -> tuple[object, dict[str, str]]:
    body = {"id": "0", "response_type": "embeddings_floats", "embeddings": _vectors(spoken), "texts": spoken.texts}
    return body, {"X-Amzn-Bedrock-Input-Token-Count": str(_tokens(spoken))}


def _titan_answer(spoken: Spoken) -> tuple[object, dict[str, str]]:
    vector = _vectors(spoken)[0]
    return {
        "embedding": vector,
        "embeddingsByType": {"float": vector},
        "inputTextTokenCount": _tokens(spoken),
    }, {}


def _gemini_answer(spoken: Spoken) -> tuple[object, dict[str, str]]:
    embeddings = [{"values": vector} for vector in _vectors(spoken)]
    return {"embeddings": embeddings, "usageMetadata": {"promptTokenCount": _tokens(spoken)}}, {}


_AWS = json.dumps({"aws_access_key_id": AWS_ID, "aws_secret_access_key": AWS_SECRET})
_AWS_HEADERS = frozenset({"authorization", "x-amz-date"})
_REGION: dict[str, object] = {"aws_region_name": AWS_REGION}
_SEARCH = ("search_query", "search_document")

WIRES: dict[str, Wire] = {
    "cohere": Wire(
        "cohere", "embed-v4.0", "/v2/embed", "/v2/embed", _read(Cohere, "texts", "output_dimension", "input_type"),
        _cohere_answer, words=_SEARCH, most=96,
    ),
    "voyage": Wire(
        "voyage", "voyage-3.5", "/v1", "/v1/embeddings", _read(Voyage, "input", "output_dimension", "input_type"),
        _as_openai(both=False), words=("query", "document"), most=1000,
    ),
    "gemini": Wire(
        "gemini", "gemini-embedding-001", "/v1beta", "/v1beta/models/gemini-embedding-001:batchEmbedContents", _gemini,
        _gemini_answer, words=("RETRIEVAL_QUERY", "RETRIEVAL_DOCUMENT"), headers=frozenset({"x-goog-api-key"}),
        most=100,
    ),
    "titan": Wire(
        "bedrock", "amazon.titan-embed-text-v2:0", "", "/model/amazon.titan-embed-text-v2%3A0/invoke", _titan,
        _titan_answer, _AWS, _REGION, headers=_AWS_HEADERS, per_text=True,
    ),
    "bedrock-cohere": Wire(
        "bedrock", "cohere.embed-multilingual-v3", "", "/model/cohere.embed-multilingual-v3/invoke", _bedrock_cohere,
        _bedrock_cohere_answer, _AWS, _REGION, words=_SEARCH, headers=_AWS_HEADERS, most=96,
    ),
    "jina": Wire(
        "jina_ai", "jina-embeddings-v3", "/v1", "/v1/embeddings", _read(Jina, "input", "dimensions", "task"),
        _as_openai(), words=("retrieval.query", "retrieval.passage"),
    ),
    "mistral": Wire("mistral", "mistral-embed", "/v1", "/v1/embeddings", _read(Mistral, "input"), _as_openai()),
    "together": Wire(
        "together_ai", "BAAI/bge-base-en-v1.5", "/v1", "/v1/embeddings", _read(Together, "input"), _as_openai()
    ),
    "deepinfra": Wire(
        "", "Qwen/Qwen3-Embedding-8B", "/v1/openai", "/v1/openai/embeddings", _read(DeepInfra, "input", "dimensions"),
        _as_openai(), kind="openai", most=1024,
    ),
    "voyage-direct": Wire(
        "", "voyage-3.5", "/v1", "/v1/embeddings", _read(Voyage, "input", "output_dimension", "input_type"),
        _as_openai(both=False), options={"always": {"truncation": False}},
        words=("query", "document"), kind="openai", most=1000,
    ),
}  # fmt: skip


class Vendor(Upstream):
    """A server of one wire. A request that the vendor would not take is a fault, kept in ``faults``."""

    def __init__(self, name: str) -> None:
        super().__init__(WIDTH)
        self.wire = WIRES[name]
        self.faults: list[str] = []
        self.heard: list[Spoken] = []

    @property
    def vendor_url(self) -> str:
        return self.worker_url + self.wire.base

    @override
    def _bytes(self, received: Received, reply: Reply) -> bytes:
        if reply.raw is None and reply.body is None and reply.status is None:
            reply = self._honest(received)
        return super()._bytes(received, reply)

    def _honest(self, received: Received) -> Reply:
        try:
            assert (received.method, received.path) == ("POST", self.wire.path), f"{received.method} {received.path}"
            extra = received.headers.keys() - PLAIN_HEADERS - self.wire.headers
            assert not extra, f"headers: {extra}"
            assert received.headers["content-type"].partition(";")[0] == "application/json"
            spoken = self.wire.read(received)
        except (AssertionError, KeyError, ValueError, msgspec.MsgspecError) as fault:
            self.faults.append(f"{type(fault).__name__}: {fault}")
            return Reply(status=400, body=json.dumps({"message": str(fault)}).encode())
        self.heard.append(spoken)
        body, headers = self.wire.answer(spoken)
        return Reply(body=json.dumps(body).encode(), headers=headers)


def google(code: int, status: str, **detail: Any) -> bytes:
    """Google's error body."""
    error = {"code": code, "message": "words", "status": status, "details": [detail] if detail else []}
    return json.dumps({"error": error}).encode()
