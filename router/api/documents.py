"""Serves the API's two OpenAPI documents: ``/openapi.json`` for customers, ``/admin/openapi.json`` for operators.

Each operation for operators carries its spec as ``x-gigarouter`` (noun, verb, roles, edits, writes, shows_once, local,
media), so that a client that knows the document alone has every command, and a reference's schema has ``x-reference``,
the noun whose ids and names it takes.

``docs/openapi.json`` is the customers' document as a file (``python -m router.api.documents``); a test compares the
two, and the operations with the application's.
"""

import json
import sys
from functools import cache

import orjson
from fastapi import Response

from router import errors
from router.api.admin import operations as admin_operations
from router.api.admin.provider_options import describe_options
from router.api.metrics import operations as metrics
from router.api.openapi import Json, describe, error_responses
from router.api.operation import OperationRoute, Operations, Who, operation_routes
from router.api.public import operations as customer_operations
from router.api.public.embeddings_declaration import REQUEST
from router.api.public.embeddings_declaration import operations as embeddings
from router.api.public.health import operations as probes
from router.request.body_schema import body_schema

operations = Operations("documents", tag="Probes", who=Who.ANYONE)
admin_document_operations = Operations("documents", tag="Probes", who=Who.ANYONE)

# Met by nobody who reads an answer, or by operators alone.
_NOT_OF_CUSTOMERS = (
    errors.ClientGone,
    errors.PreconditionRequired,
    errors.RoleInsufficient,
    errors.VersionConflict,
    errors.LaunchIncomplete,
)
# What only calls meet: limits, credit, providers.
_OF_CALLS = (
    errors.AboveTokenLimit,
    errors.AboveProviderQuota,
    errors.OutOfCredit,
    errors.LimitExceeded,
    errors.NoEndpoint,
    errors.AllAttemptsFailed,
    errors.UpstreamInvalid,
    errors.DeadlinePassed,
    errors.ClientGone,
    errors.NotRecorded,
)


@operations.get("/openapi.json", verb="show", name="openapi", summary="This document")
async def openapi() -> Response:
    """The API as OpenAPI 3.1."""
    return Response(_document_bytes(), media_type="application/json")


@admin_document_operations.get("/admin/openapi.json", verb="show-admin", name="admin_openapi", summary="This document")
async def admin_openapi() -> Response:
    """The admin API as OpenAPI 3.1."""
    return Response(_admin_document_bytes(), media_type="application/json")


@cache
def _document_bytes() -> bytes:
    return orjson.dumps(document())


@cache
def _admin_document_bytes() -> bytes:
    return orjson.dumps(admin_document())


def admin_routes() -> list[OperationRoute]:
    """All operations of the admin API."""
    return [route for noun in admin_operations for route in operation_routes(noun.routes)]


def document() -> Json:
    """The customers' document as a value."""
    nouns = (embeddings, *customer_operations, probes, operations)
    return describe(
        [route for noun in nouns for route in operation_routes(noun.routes.routes)],
        title="gigarouter",
        server="The customers' port.",
        description="Text embeddings of many models and providers behind one key, compatible with OpenAI's API. "
        "Each error that clients retry by themselves says whether the same call can pass then: never; wait, for the "
        "time in Retry-After; again, after the client's own pause; unsafe: it may, and only the same Idempotency-Key "
        "keeps it from being charged twice. Of all others no retry can.",
        security={
            "key": {"type": "http", "scheme": "bearer"},
            "x_api_key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            "management_key": {
                "type": "http",
                "scheme": "bearer",
                "description": "gr_mgmt_…, which administers an account by its scopes and calls no model.",
            },
            "api_key": {"type": "apiKey", "in": "header", "name": "api-key", "description": "As Azure's clients do."},
        },
        responses=error_responses(lambda error: error not in _NOT_OF_CUSTOMERS),
        schemas={REQUEST: body_schema()},
    )


def admin_document() -> Json:
    """The admin API's document as a value."""
    described = describe(
        [
            *admin_routes(),
            *(route for noun in (admin_document_operations, metrics) for route in operation_routes(noun.routes.routes)),
        ],
        title="gigarouter admin",
        description="For operators, by their own keys, on a port of its own that customers need not reach.",
        server="The inside port: GIGAROUTER_ADMIN_HOST and GIGAROUTER_ADMIN_PORT.",
        security={"operator": {"type": "http", "scheme": "bearer", "description": "gr_ops_…"}},
        responses=error_responses(lambda error: not issubclass(error, _OF_CALLS)),
    )
    describe_options(described["components"]["schemas"])
    return described


if __name__ == "__main__":
    sys.stdout.write(json.dumps(document(), indent=1, ensure_ascii=False) + "\n")
