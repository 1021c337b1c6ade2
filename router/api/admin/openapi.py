"""Describes the nouns that are not declared by ``Operations`` yet, for :mod:`router.api.documents`."""

from functools import cache
from typing import Any

import msgspec

from router import errors
from router.api.admin import operations as admin_operations
from router.api.admin.operation import Told
from router.api.admin.unconverted import told_of
from router.api.error_envelope import ROWS
from router.api.openapi import ERROR
from router.api.operation import OperationRoute, operation_routes

Json = dict[str, Any]

_QUERY: dict[str, Json] = {
    "limit": {"schema": {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}},
    "cursor": {"schema": {"type": "string"}, "description": "The next_cursor of the page before."},
    "dry_run": {
        "schema": {"type": "string", "enum": ["0", "1"]},
        "description": "1: answer what would be, and write nothing.",
    },
}
_IDEMPOTENCY: Json = {
    "name": "Idempotency-Key",
    "in": "header",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    "description": "The same key and request give the stored outcome for 24 hours, with Idempotency-Replayed: true.",
}
_MATCH: Json = {
    "name": "If-Match",
    "in": "header",
    "schema": {"type": "string"},
    "description": "The ETag that was read. 409 version_conflict where it is another by now; an edit needs it.",
}


def document() -> Json:
    """The document as a value."""
    told = [(route, told_of(route)) for route in routes()]
    _, schemas = _components()
    paths: Json = {}
    for route, said in told:
        for method in sorted((route.methods or set()) - {"HEAD"}):
            path = route.path.replace(":path}", "}")
            paths.setdefault(path, {})[method.lower()] = _operation(route, method, said)
    return {
        "openapi": "3.1.0",
        "info": {"title": "gigarouter admin", "version": "1", "description": "For operators, by their own keys."},
        "security": [{"operator": []}],
        "paths": dict(sorted(paths.items())),
        "components": {
            "securitySchemes": {"operator": {"type": "http", "scheme": "bearer", "description": "gr_ops_…"}},
            "schemas": {"ErrorResponse": ERROR, **schemas},
            "responses": {},
        },
    }


def routes() -> list[OperationRoute]:
    """The operations that tell of themselves by hand."""
    return [route for noun in admin_operations for route in operation_routes(noun.routes) if told_of(route)]


def _operation(route: OperationRoute, method: str, told: Told | None) -> Json:
    roles = sorted(route.spec.roles)
    described = f"{route.description} For {' and '.join(roles)}." if roles else route.description
    status = str(told.status) if told else "200"
    operation: Json = {
        "operationId": route.operation_id,
        "summary": route.summary,
        "description": described,
        "tags": list(route.tags),
        "parameters": _parameters(route, method, told),
        "responses": {
            status: {"description": "The answer.", "content": _content(_answer(told))},
            **{str(row.status): {"$ref": f"#/components/responses/{row.status}"} for row in _told_errors().values()},
        },
    }
    if told is not None and told.body is not None:
        operation["requestBody"] = {"required": True, "content": _content(_ref(told.body))}
    return operation


def _parameters(route: OperationRoute, method: str, told: Told | None) -> list[Json]:
    found: list[Json] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in route.param_convertors
    ]
    writes = method != "GET" and (told is None or told.writes)
    names = (told.query if told else ()) + (("dry_run",) if writes else ())
    found += [{"name": name, "in": "query", **_QUERY.get(name, {"schema": {"type": "string"}})} for name in names]
    if writes:
        found.append(_IDEMPOTENCY)
        found.append({**_MATCH, "required": bool(told and told.match)})
    return found


def _answer(told: Told | None) -> Json:
    if told is None:
        return {"type": "object"}
    if not told.many:
        return _ref(told.answer)
    return {
        "type": "object",
        "required": ["object", "data", "has_more", "next_cursor"],
        "properties": {
            "object": {"type": "string", "enum": ["list"]},
            "data": {"type": "array", "items": _ref(told.answer)},
            "has_more": {"type": "boolean"},
            "next_cursor": {"type": ["string", "null"]},
        },
    }


def _ref(kind: type[msgspec.Struct]) -> Json:
    refs, _ = _components()
    return refs[kind]


@cache
def _components() -> tuple[dict[type[msgspec.Struct], Json], Json]:
    """Every form's reference, and the schemas; two forms of one name get longer ones."""
    said = [told for route in routes() if (told := told_of(route)) is not None]
    types = {kind for told in said for kind in (told.answer, told.body) if kind is not None}
    ordered = sorted(types, key=lambda kind: (kind.__name__, kind.__module__))
    refs, schemas = msgspec.json.schema_components(ordered, ref_template="#/components/schemas/{name}")
    by_kind = dict(zip(ordered, refs, strict=True))
    for answer in {told.answer for told in said}:
        # What is answered has all of its fields, those too that whoever makes the thing may leave out.
        schema = schemas[by_kind[answer]["$ref"].rpartition("/")[2]]
        schema["required"] = list(schema["properties"])
    return by_kind, schemas


def _content(schema: Json) -> Json:
    return {"application/json": {"schema": schema}}


def _told_errors() -> dict[type[errors.Refusal], Any]:
    """What an operation of the admin API can answer: no limits, credit or providers of calls."""
    calls = (
        errors.OutOfCredit,
        errors.LimitExceeded,
        errors.NoEndpoint,
        errors.AllAttemptsFailed,
        errors.UpstreamInvalid,
        errors.DeadlinePassed,
        errors.ClientGone,
        errors.NotRecorded,
    )
    return {error: row for error, row in ROWS.items() if not issubclass(error, calls)}
