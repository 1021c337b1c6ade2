"""All of HTTP on one page: the hot operation straight, everything else through FastAPI, the guard around both."""

from collections.abc import Callable, Iterable

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from router.api.access import NOT_FOUND, check_access
from router.api.admin import operations as admin_operations
from router.api.admin.openapi import operations as admin_openapi_operations
from router.api.error_envelope import error_response
from router.api.exchange import EXCHANGE, Exchange, Receive, Scope, Send
from router.api.openapi import operations as openapi_operations
from router.api.public.account import operations as account_operations
from router.api.public.embeddings import PATH, embeddings
from router.api.public.health import operations as probe_operations
from router.api.public.models import operations as model_operations
from router.api.public.quote import operations as quote_operations
from router.api.public.requests import operations as request_operations
from router.api.public.requests import remember
from router.api.public.votes import operations as vote_operations
from router.api.server.guard import Guard
from router.context import RouterContext
from router.errors import InvalidRequest, MethodNotAllowed, OperationNotFound, Refusal, Unexpected

CALLS_MAX = 2_000


def create_app(
    context: RouterContext,
    *,
    record: Callable[[Exchange], None],
    metrics: Callable[[], bytes],
    further: Iterable[APIRouter] = (),
    calls_max: int = CALLS_MAX,
) -> Guard:
    """The ASGI application. ``further`` operations need their rows in :data:`router.api.access.ACCESS` too."""
    rest = _rest(context, metrics, further)

    def over(exchange: Exchange) -> None:
        record(exchange)
        remember(exchange, context.receipts)

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == PATH:
            await embeddings(scope[EXCHANGE], context, send)
        else:
            await rest(scope, receive, send)

    return Guard(dispatch, body_bytes_max=context.body_bytes_max, calls_max=calls_max, record=over)


def _rest(context: RouterContext, metrics: Callable[[], bytes], further: Iterable[APIRouter]) -> FastAPI:
    app = FastAPI(
        title="gigarouter",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        dependencies=[Depends(check_access)],
    )
    app.state.context = context
    app.state.metrics = metrics
    customers = (vote_operations, model_operations, account_operations, request_operations, quote_operations)
    told = (probe_operations, openapi_operations, admin_openapi_operations)
    for operations in (*customers, *admin_operations, *told, *further):
        app.include_router(operations)
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(HTTPException, _not_matched)
    app.add_exception_handler(RequestValidationError, _not_valid)
    app.add_exception_handler(Exception, _unexpected)
    return app


def _respond(request: Request, refusal: Refusal) -> Response:
    exchange: Exchange = request.scope[EXCHANGE]
    exchange.refusal = refusal
    answer = error_response(refusal, exchange.request_id)
    response = Response(b"".join(answer.body), status_code=answer.status)
    response.raw_headers = list(answer.headers)
    return response


async def _refused(request: Request, refusal: Exception) -> Response:
    assert isinstance(refusal, Refusal)
    return _respond(request, refusal)


async def _not_matched(request: Request, problem: Exception) -> Response:
    assert isinstance(problem, HTTPException)
    if problem.status_code == 404:
        return _respond(request, OperationNotFound(NOT_FOUND))
    if problem.status_code == 405:
        allow = (problem.headers or {}).get("Allow", "GET")
        return _respond(
            request, MethodNotAllowed(f"This path takes {allow}.", headers=[(b"allow", allow.encode("latin-1"))])
        )
    return _respond(request, InvalidRequest("The request cannot be read. GET /openapi.json describes what is taken."))


async def _not_valid(request: Request, problem: Exception) -> Response:
    """Name the field, never its value: FastAPI's own answer repeats the input, secrets included."""
    assert isinstance(problem, RequestValidationError)
    first = problem.errors()[0] if problem.errors() else {"loc": (), "msg": ""}
    names = [part for part in first["loc"] if isinstance(part, str)][-1:]
    param = names[0] if names else None
    said = f"'{param}' is invalid: {first['msg']}." if param else "The request is invalid."
    return _respond(request, InvalidRequest(said, param=param))


async def _unexpected(request: Request, fault: Exception) -> Response:
    """Only the answer: the exception goes on to the guard, which logs it."""
    return _respond(
        request,
        Unexpected("Something went wrong on our side. If it happens again, tell us the request id."),
    )
