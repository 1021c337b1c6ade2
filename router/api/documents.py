"""``GET /admin/openapi.json``: the admin API as OpenAPI 3.1, by FastAPI's own generator from the operations' types.

Each operation carries its spec as ``x-gigarouter`` (noun, verb, roles, edits, writes, shows_once, local, media), so
that a client that knows the document alone has every command, and a reference's schema has ``x-reference``, the noun
whose ids and names it takes.
"""

from collections.abc import Iterable
from functools import cache
from typing import Any

import orjson
from fastapi import Response
from fastapi.openapi.utils import get_openapi

from router import errors
from router.api.admin import openapi as unconverted
from router.api.admin import operations as admin_operations
from router.api.admin.unconverted import told_of
from router.api.error_envelope import ROWS
from router.api.openapi import ERROR, error_responses
from router.api.operation import JSON, OperationRoute, Operations, OperationSpec, Who, operation_routes

operations = Operations("documents", tag="Probes", who=Who.ANYONE)

Json = dict[str, Any]

# What only calls meet: limits, credit, providers.
_OF_CALLS = (
    errors.OutOfCredit,
    errors.LimitExceeded,
    errors.NoEndpoint,
    errors.AllAttemptsFailed,
    errors.UpstreamInvalid,
    errors.DeadlinePassed,
    errors.ClientGone,
    errors.NotRecorded,
)


@operations.get("/admin/openapi.json", verb="show-admin", name="admin_openapi", summary="This document")
async def openapi() -> Response:
    """The admin API as OpenAPI 3.1."""
    return Response(_document_bytes(), media_type="application/json")


@cache
def _document_bytes() -> bytes:
    return orjson.dumps(admin_document())


def admin_routes() -> list[OperationRoute]:
    """All operations of the admin API."""
    return [route for noun in admin_operations for route in operation_routes(noun.routes)]


def admin_document() -> Json:
    """The admin API's document as a value."""
    told = {error: row for error, row in ROWS.items() if not issubclass(error, _OF_CALLS)}
    old = unconverted.document()
    whole = describe(
        (*(route for route in admin_routes() if told_of(route) is None), *operation_routes(operations.routes.routes)),
        title="gigarouter admin",
        description="For operators, by their own keys.",
        security={"operator": {"type": "http", "scheme": "bearer", "description": "gr_ops_…"}},
        responses=error_responses(told),
    )
    for path, methods in old["paths"].items():
        whole["paths"].setdefault(path, {}).update(methods)
    whole["paths"] = dict(sorted(whole["paths"].items()))
    whole["components"]["schemas"] = old["components"]["schemas"] | whole["components"]["schemas"]
    return whole


def describe(
    routes: Iterable[OperationRoute], *, title: str, description: str, security: Json, responses: Json
) -> Json:
    """The document of some operations, each of which may answer every one of ``responses`` (by status)."""
    listed = list(routes)
    document = get_openapi(title=title, version="1", description=description, routes=listed)
    schemas: Json = document.setdefault("components", {}).setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas["ErrorResponse"] = ERROR
    document["components"] |= {"responses": responses, "securitySchemes": security}
    document["security"] = [{name: []} for name in security]
    for route in listed:
        operation = document["paths"][route.path_format][route.spec.method.lower()]
        _complete(operation, route.spec, route.status_code or 200, responses)
        if route.body_field is not None:
            # A body's reader hides from FastAPI that its model is among the components already.
            name = getattr(route.body_field.field_info.annotation, "__name__", "")
            assert name in schemas, f"{name} is not described; this is a bug"
            operation["requestBody"]["content"]["application/json"]["schema"] = {"$ref": f"#/components/schemas/{name}"}
    return document


def _complete(operation: Json, spec: OperationSpec, status: int, responses: Json) -> None:
    """Adds what FastAPI cannot know: errors, roles, that an edit needs If-Match, answers that are no JSON."""
    operation["responses"] |= {status: {"$ref": f"#/components/responses/{status}"} for status in responses}
    if spec.who is Who.ANYONE:
        operation["security"] = []
    if spec.roles:
        operation["description"] = f"{operation['description']} For {' and '.join(sorted(spec.roles))}."
    if spec.local:
        operation["description"] += " On the machine alone."
    for parameter in operation.get("parameters", ()):
        if parameter["name"] == "If-Match":
            parameter["required"] = spec.edits
    if spec.media != (JSON,):
        content = {media: {"schema": {"type": "string"}} for media in spec.media if media != JSON}
        answered = operation["responses"][str(status)]
        answered["content"] = (answered["content"] if JSON in spec.media else {}) | content
    operation["x-gigarouter"] = {
        "noun": spec.noun,
        "verb": spec.verb,
        "roles": sorted(spec.roles),
        "edits": spec.edits,
        "writes": spec.writes,
        "shows_once": spec.shows_once,
        "local": spec.local,
        "media": list(spec.media),
    }
