"""Declares ``POST /v1/embeddings`` for OpenAPI alone: :mod:`router.api.public.embeddings` serves it, outside FastAPI.

What it takes is the schema of what the strict decoder reads (:mod:`router.request.body_schema`), under :data:`REQUEST`.
"""

from typing import Any, Final, Literal, NoReturn

from router.api import azure
from router.api.forms import Answer
from router.api.operation import Operations, Who
from router.api.public.embeddings import PATH

operations = Operations("embeddings", who=Who.KEY)

# The component that describes the body.
REQUEST: Final = "CreateEmbeddingRequest"
BODY: Final[dict[str, Any]] = {
    "required": True,
    "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{REQUEST}"}}},
}


def _header(name: str, description: str, **schema: object) -> dict[str, Any]:
    return {
        "name": name,
        "in": "header",
        "required": False,
        "schema": {"type": "string", **schema},
        "description": description,
    }


IDEMPOTENCY_KEY: Final = _header(
    "Idempotency-Key",
    "The same key and body give the stored outcome for 24 hours and are charged once: a replay has the header "
    "Idempotency-Replayed: true, and X-Gigarouter-Cost is 0.00.",
    minLength=1,
    maxLength=255,
)
TIER: Final = _header(
    "X-Tier",
    "batch pays the model's batch price, where it has one, and waits behind interactive calls.",
    enum=["interactive", "default", "batch"],
)
PREFER: Final = _header(
    "Prefer",
    "wait=N (RFC 7240) waits up to N seconds for a model that is warming up; without it the call is answered 503 "
    "model_warming with Retry-After.",
    examples=["wait=30"],
)

DEPLOYMENT: Final = {
    "name": "deployment",
    "in": "path",
    "required": True,
    "schema": {"type": "string"},
    "description": "The id of a model or an alias; its slashes may stand as they are.",
}
API_VERSION: Final = {
    "name": "api-version",
    "in": "query",
    "required": False,
    "schema": {"type": "string"},
    "description": "Taken, whatever it says.",
}


def _limit_header(description: str, **schema: object) -> dict[str, Any]:
    return {"description": description, "schema": schema or {"type": "integer"}}


_DURATION: Final = {"type": "string", "examples": ["8ms", "1.5s", "6m0s"]}
RATE_LIMITS: Final[dict[str, Any]] = {
    "x-ratelimit-limit-requests": _limit_header("The key's requests per minute."),
    "x-ratelimit-remaining-requests": _limit_header("What is left of them after this one."),
    "x-ratelimit-reset-requests": _limit_header("How long until all of them are left again.", **_DURATION),
    "x-ratelimit-limit-tokens": _limit_header("The key's tokens per minute."),
    "x-ratelimit-remaining-tokens": _limit_header(
        "What is left of them after the tokens that this answer is billed for; of calls in flight the most that they "
        "can be billed is taken as used."
    ),
    "x-ratelimit-reset-tokens": _limit_header("How long until all of them are left again.", **_DURATION),
}


class EmbeddingOut(Answer):
    """The vector of one input: numbers, or the base64 of little-endian float32."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class UsageOut(Answer):
    """The tokens that are charged."""

    prompt_tokens: int
    total_tokens: int


class CreateEmbeddingResponse(Answer):
    """The vectors, in the order of the inputs."""

    object: Literal["list"] = "list"
    data: list[EmbeddingOut]
    model: str
    usage: UsageOut


@operations.post(
    PATH,
    verb="create",
    summary="Create embeddings",
    openapi={
        "requestBody": BODY,
        "parameters": [IDEMPOTENCY_KEY, TIER, PREFER],
        "responses": {"200": {"headers": RATE_LIMITS}},
    },
)
async def create_embedding() -> CreateEmbeddingResponse:
    """Embed one text or many, or token ids; the answer is OpenAI's."""
    _never_called()


@operations.post(
    azure.PATH,
    verb="create-azure",
    name="create_azure_embedding",
    summary="Create embeddings, for Azure's clients",
    openapi={"requestBody": BODY, "parameters": [DEPLOYMENT, API_VERSION, IDEMPOTENCY_KEY, TIER, PREFER]},
)
async def create_azure_embedding() -> CreateEmbeddingResponse:
    """The same operation as POST /v1/embeddings; the deployment stands for the body's model, which may be left out."""
    _never_called()


def _never_called() -> NoReturn:
    raise AssertionError("the hot path is reached through FastAPI; this is a bug")
