"""``GET /openapi.json``: the customer API as OpenAPI 3.1, made from the values that the operations really use.

``docs/openapi.json`` is this document as a file (``python -m router.api.openapi``); a test compares the two, and the
operations with the access table.
"""

import json
import sys
from functools import cache
from typing import Any

import msgspec
import orjson
from fastapi import Response

from router import errors
from router.api.error_envelope import ROWS, Row
from router.api.operation import Operations, Who
from router.api.public.account import AccountOut
from router.api.public.models import ModelList, ModelOut
from router.api.public.quote import QuoteOut
from router.api.public.votes import VoteIn, VoteOut
from router.explain.views import RequestOut
from router.request.body import MAX_INPUTS, MAX_TOKENS
from router.request.preferences import NAME_CHARACTERS_MAX, NAMES_MAX

operations = Operations("documents", tag="Probes", who=Who.ANYONE)

Json = dict[str, Any]

# Told to nobody, or to operators alone.
_NOT_CUSTOMERS = frozenset(
    {
        errors.ClientGone,
        errors.PreconditionRequired,
        errors.RoleInsufficient,
        errors.VersionConflict,
        errors.LaunchIncomplete,
    }
)

_INPUT: Json = {
    "oneOf": [
        {"type": "string", "minLength": 1, "title": "one text"},
        {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1, "maxItems": MAX_INPUTS},
        {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1, "title": "token ids of one input"},
        {
            "type": "array",
            "items": {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1},
            "minItems": 1,
            "maxItems": MAX_INPUTS,
        },
    ],
    "description": f"What to embed: at most {MAX_INPUTS} inputs and {MAX_TOKENS} tokens in one request. Token ids are "
    "those of the model's own tokenizer.",
}

_NAMES: Json = {
    "type": "array",
    "items": {"type": "string", "minLength": 1, "maxLength": NAME_CHARACTERS_MAX},
    "maxItems": NAMES_MAX,
}

_PREFERENCES: Json = {
    "type": "object",
    "additionalProperties": False,
    "description": "What the call asks of its route. Who does not meet it is left out.",
    "properties": {
        "order": _NAMES | {"description": "Providers to try first, in this order."},
        "only": _NAMES | {"minItems": 1, "description": "No other providers than these."},
        "ignore": _NAMES | {"description": "Not these providers."},
        "sort": {"type": "string", "enum": ["price", "latency", "throughput"]},
        "max_price": {
            "type": ["string", "number", "object"],
            "description": 'USD per 1M tokens, as in "0.02", 0.02 or {"prompt": "0.02"}.',
        },
        "allow_fallbacks": {
            "type": "boolean",
            "default": True,
            "description": "false: with order no other providers, without it the first choice alone.",
        },
        "data_collection": {"type": "string", "enum": ["allow", "deny"], "default": "allow"},
        "zero_retention": {"type": "boolean", "default": False},
        "quantizations": _NAMES | {"minItems": 1, "description": "Classes of numerics, as in bf16."},
        "regions": _NAMES | {"minItems": 1, "description": "Where the call may be processed."},
        "space": {"type": "string", "description": "The vector space that is expected; 400 if the model's is another."},
        "hedge": {"type": "boolean", "default": False, "description": "A second attempt beside a slow first one."},
    },
}

_REQUEST: Json = {
    "type": "object",
    "additionalProperties": False,
    "required": ["model", "input"],
    "properties": {
        "model": {"type": "string", "description": "Id of a model, as GET /v1/models lists them."},
        "input": _INPUT,
        "encoding_format": {
            "type": "string",
            "enum": ["float", "base64"],
            "default": "float",
            "description": "base64 is little-endian float32.",
        },
        "dimensions": {
            "type": "integer",
            "minimum": 1,
            "description": "Fewer dimensions, on models that were trained for it: truncated, then renormalized.",
        },
        "input_type": {
            "type": "string",
            "enum": ["query", "document"],
            "description": "Puts the model's own prompt for queries or documents before each input.",
        },
        "user": {"type": "string", "description": "Taken for compatibility; not stored."},
        "provider": _PREFERENCES,
    },
}

_EMBEDDING: Json = {
    "type": "object",
    "required": ["object", "index", "embedding"],
    "properties": {
        "object": {"type": "string", "enum": ["embedding"]},
        "index": {"type": "integer"},
        "embedding": {"oneOf": [{"type": "array", "items": {"type": "number"}}, {"type": "string"}]},
    },
}

_RESPONSE: Json = {
    "type": "object",
    "required": ["object", "data", "model", "usage"],
    "properties": {
        "object": {"type": "string", "enum": ["list"]},
        "data": {"type": "array", "items": _EMBEDDING},
        "model": {"type": "string"},
        "usage": {
            "type": "object",
            "required": ["prompt_tokens", "total_tokens"],
            "properties": {"prompt_tokens": {"type": "integer"}, "total_tokens": {"type": "integer"}},
        },
    },
}

ERROR: Json = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code", "request_id"],
            "properties": {
                "message": {"type": "string", "description": "What is wrong and what to do."},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": "string"},
                "request_id": {"type": "string"},
                "details": {"type": "object"},
            },
        }
    },
}


@operations.get("/openapi.json", verb="show", name="openapi", summary="This document")
async def openapi() -> Response:
    """The API as OpenAPI 3.1."""
    return Response(_document_bytes(), media_type="application/json")


def document() -> Json:
    """The OpenAPI document."""
    _, schemas = msgspec.json.schema_components(
        [ModelList, ModelOut, AccountOut, RequestOut, QuoteOut, VoteIn, VoteOut],
        ref_template="#/components/schemas/{name}",
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "gigarouter",
            "version": "1",
            "description": "Text embeddings of many models and providers behind one key, compatible with OpenAI's API.",
        },
        "security": [{"key": []}],
        "paths": _paths(),
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": {
                "CreateEmbeddingRequest": _REQUEST,
                "CreateEmbeddingResponse": _RESPONSE,
                "ErrorResponse": ERROR,
                **schemas,
            },
            "responses": error_responses(_public()),
        },
    }


@cache
def _document_bytes() -> bytes:
    return orjson.dumps(document())


def _paths() -> Json:
    embed = _operation("create_embedding", "Create embeddings", "Embeddings", "CreateEmbeddingResponse")
    embed["requestBody"] = {"required": True, "content": _content("CreateEmbeddingRequest")}
    embed["parameters"] = [
        {
            "name": "Idempotency-Key",
            "in": "header",
            "schema": {"type": "string", "minLength": 1, "maxLength": 255},
            "description": "The same key and body give the stored outcome for 24 hours and are charged once: a replay "
            "has the header Idempotency-Replayed: true, and X-Gigarouter-Cost is 0.00.",
        },
        {
            "name": "X-Tier",
            "in": "header",
            "schema": {"type": "string", "enum": ["interactive", "default", "batch"]},
            "description": "batch pays the model's batch price, where it has one, and waits behind interactive calls.",
        },
        {
            "name": "Prefer",
            "in": "header",
            "schema": {"type": "string", "examples": ["wait=30"]},
            "description": "wait=N (RFC 7240) waits up to N seconds for a model that is warming up; without it the "
            "call is answered 503 model_warming with Retry-After.",
        },
    ]
    quote = _operation("create_quote", "Price before running", "Embeddings", "QuoteOut")
    quote["requestBody"] = embed["requestBody"]
    quote["parameters"] = [one for one in embed["parameters"] if one["name"] == "X-Tier"]
    request = _operation("retrieve_request", "Explain a request", "Requests", "RequestOut")
    request["parameters"] = [{"name": "request_id", "in": "path", "required": True, "schema": {"type": "string"}}]
    one = _operation("retrieve_model", "Retrieve a model", "Models", "ModelOut")
    one["parameters"] = [{"name": "model_id", "in": "path", "required": True, "schema": {"type": "string"}}]
    vote = _operation("vote_for_model", "Vote for an announced model", "Models", "VoteOut")
    vote["requestBody"] = {"required": False, "content": _content("VoteIn")}
    withdraw = _operation("withdraw_vote", "Take a vote back", "Models", "VoteOut")
    vote["parameters"] = withdraw["parameters"] = one["parameters"]
    return {
        "/v1/embeddings": {"post": embed},
        "/v1/quote": {"post": quote},
        "/v1/requests/{request_id}": {"get": request},
        "/v1/models": {"get": _operation("list_models", "List models", "Models", "ModelList")},
        "/v1/models/{model_id}": {"get": one},
        "/v1/models/{model_id}/vote": {"post": vote, "delete": withdraw},
        "/v1/account": {"get": _operation("retrieve_account", "Balance, holds and limits", "Account", "AccountOut")},
        "/openapi.json": {"get": _probe("openapi", "This document")},
        "/health": {"get": _probe("health", "Liveness")},
        "/ready": {"get": _probe("ready", "Readiness")},
        "/metrics": {"get": _probe("metrics", "Prometheus metrics, for callers in our own network")},
    }


def _operation(name: str, summary: str, tag: str, schema: str) -> Json:
    refusals = {str(row.status): {"$ref": f"#/components/responses/{row.status}"} for row in _public().values()}
    return {
        "operationId": name,
        "summary": summary,
        "tags": [tag],
        "responses": {"200": {"description": "The answer.", "content": _content(schema)}, **refusals},
    }


def _probe(name: str, summary: str) -> Json:
    return {
        "operationId": name,
        "summary": summary,
        "tags": ["Probes"],
        "security": [],
        "responses": {"200": {"description": "The answer."}},
    }


def _content(schema: str) -> Json:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def _public() -> dict[type[errors.Refusal], Row]:
    return {error: row for error, row in ROWS.items() if error not in _NOT_CUSTOMERS}


def error_responses(told: dict[type[errors.Refusal], Row]) -> Json:
    """One response per status, with every code that comes with it as an example."""
    codes: dict[int, dict[str, Json]] = {}
    for error, row in told.items():
        said = (error.__doc__ or "").split("\n", maxsplit=1)[0]
        example = {"message": said, "type": row.type, "param": None, "code": error.code, "request_id": "req_…"}
        codes.setdefault(row.status, {}).setdefault(error.code, {"summary": said, "value": {"error": example}})
    return {
        str(status): {
            "description": " ".join(f"`{code}`: {example['summary']}" for code, example in examples.items()),
            "content": {
                "application/json": {"schema": {"$ref": "#/components/schemas/ErrorResponse"}, "examples": examples}
            },
        }
        for status, examples in sorted(codes.items())
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(document(), indent=1, ensure_ascii=False) + "\n")
