"""Makes an OpenAPI 3.1 document of declared operations: FastAPI's generator, and what it cannot know beside.

That is our errors, an operation's roles, and the components of bodies that handlers read themselves.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fastapi.openapi.utils import get_openapi

from router import errors
from router.api.error_envelope import ROWS, Retry, clients_retry
from router.api.operation import JSON, OperationRoute, OperationSpec, Who
from router.identity.scopes import text_of

Json = dict[str, Any]

# What an operation for API keys takes; the names are those of the customers' document.
API_KEYS: list[Json] = [{"key": []}, {"x_api_key": []}, {"api_key": []}]

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


def describe(
    routes: Iterable[OperationRoute],
    *,
    title: str,
    description: str,
    server: str,
    security: Json,
    responses: Json,
    schemas: Mapping[str, Json] | None = None,
) -> Json:
    """The document of some operations, each of which may answer every one of ``responses`` (by status).

    ``server`` says which port the paths are on: the one that served the document. ``schemas`` are components
    that ``Declaration.openapi`` refers to.
    """
    listed = list(routes)
    servers = [{"url": "/", "description": server}]
    document = get_openapi(title=title, version="1", description=description, servers=servers, routes=listed)
    components: Json = document.setdefault("components", {}).setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        components.pop(unused, None)
    components |= {"ErrorResponse": ERROR, **(schemas or {})}
    document["components"] |= {"responses": responses, "securitySchemes": security}
    document["security"] = [{name: []} for name in security]
    for route in listed:
        operation = document["paths"][route.path_format][route.spec.method.lower()]
        _complete(operation, route.spec, route.status_code or 200, responses)
        if route.body_field is not None:
            # A body's reader hides from FastAPI that its model is among the components already.
            name = getattr(route.body_field.field_info.annotation, "__name__", "")
            assert name in components, f"{name} is not described; this is a bug"
            content = operation["requestBody"]["content"]
            content["application/json"]["schema"] = {"$ref": f"#/components/schemas/{name}"}
            if route.spec.takes_form:
                content["application/x-www-form-urlencoded"] = content["application/json"]
    return document


def error_responses(is_met: Callable[[type[errors.Refusal]], bool]) -> Json:
    """One response per status, with every code that comes with it as an example, of the errors that are met."""
    codes: dict[int, dict[str, Json]] = {}
    retries: dict[int, set[Retry]] = {}
    for error, row in ROWS.items():
        if not is_met(error):
            continue
        summary = (error.__doc__ or "").split("\n", maxsplit=1)[0]
        way = f" Retry: {row.retry}." if clients_retry(row.status) else ""
        example = {"message": summary, "type": row.type, "param": None, "code": error.code, "request_id": "req_…"}
        codes.setdefault(row.status, {}).setdefault(
            error.code, {"summary": f"{summary}{way}", "value": {"error": example}}
        )
        retries.setdefault(row.status, set()).add(row.retry)
    return {
        str(status): {
            "description": " ".join(f"`{code}`: {example['summary']}" for code, example in examples.items()),
            "headers": _retry_headers(status, retries[status]),
            "content": {
                "application/json": {"schema": {"$ref": "#/components/schemas/ErrorResponse"}, "examples": examples}
            },
        }
        for status, examples in sorted(codes.items())
    }


def _retry_headers(status: int, retries: set[Retry]) -> Json:
    """The headers by which OpenAI's clients decide whether they send the call again, and when."""
    seconds, milliseconds = "Seconds until the same call can pass.", "The same in milliseconds, exactly."
    headers = {"Retry-After": {"description": seconds, "schema": {"type": "integer"}}}
    headers["retry-after-ms"] = {"description": milliseconds, "schema": {"type": "integer"}}
    if Retry.WAIT not in retries and status < 500:
        headers.clear()
    if clients_retry(status):
        headers["x-should-retry"] = {
            "description": "false where a client that changes nothing must not send the call again by itself: it would "
            "meet the same answer, could be charged twice, or has to wait for a minute or longer.",
            "schema": {"type": "string", "enum": ["false"]},
        }
    return headers


def _complete_scopes(operation: Json, spec: OperationSpec) -> None:
    """Adds what keys and members of an account need."""
    managers: list[Json] = [{"management_key": []}] if spec.scopes else []
    operation["security"] = [*(API_KEYS if spec.who is Who.KEY else []), *managers]
    if spec.scopes:
        by_key = "With an API key, or " if spec.who is Who.KEY else ""
        scopes = f"{by_key}with the scope {text_of(spec.scopes)}."
        operation["description"] = f"{operation['description']}\n\n{scopes[:1].upper()}{scopes[1:]}"
    for parameter in operation.get("parameters", ()):
        if parameter["name"] == "If-Match":
            parameter["required"] = spec.edits
    operation["x-gigarouter"] = {
        "noun": spec.noun,
        "verb": spec.verb,
        "scopes": sorted(spec.scopes),
        "api_keys": spec.who is Who.KEY,
    }


def _complete(operation: Json, spec: OperationSpec, status: int, responses: Json) -> None:
    """Adds what FastAPI cannot know: errors, roles, that an edit needs If-Match, answers that are no JSON."""
    if spec.media != (JSON,):
        answered = operation["responses"][str(status)]
        texts = {media: {"schema": {"type": "string"}} for media in spec.media if media != JSON}
        answered["content"] = (answered["content"] if JSON in spec.media else {}) | texts
    operation["responses"].pop("422", None)
    if spec.who in (Who.ANYONE, Who.NEARBY):
        operation["security"] = []
        return
    operation["responses"] |= {status: {"$ref": f"#/components/responses/{status}"} for status in responses}
    if spec.who is Who.VISITOR:
        operation["security"] = [{}, {"key": []}]
        return
    if spec.who in (Who.KEY, Who.MANAGER, Who.PERSON):
        _complete_scopes(operation, spec)
        return
    if spec.roles:
        operation["description"] = f"{operation['description']} For {' and '.join(sorted(spec.roles))}."
    if spec.local:
        operation["description"] += f" On the machine alone: {spec.local}."
    for parameter in operation.get("parameters", ()):
        if parameter["name"] == "If-Match":
            parameter["required"] = spec.edits
    operation["x-gigarouter"] = {
        "noun": spec.noun,
        "verb": spec.verb,
        "roles": sorted(spec.roles),
        "edits": spec.edits,
        "writes": spec.writes,
        "shows_once": spec.shows_once,
        "local": bool(spec.local),
        "media": list(spec.media),
    }
