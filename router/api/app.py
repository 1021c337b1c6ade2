"""Builds the ASGI application: the hot operation straight, every other through FastAPI, the guard around both."""

from collections.abc import Callable, Collection, Iterable, Sequence
from enum import StrEnum

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import BaseRoute

from router.api import azure, faults
from router.api.access import check_access
from router.api.admin import operations as admin_operations
from router.api.admin.context import AdminContext, admin_context
from router.api.admin.dry_runs import DryRan, Proposed
from router.api.admin.request import proposed, replayed
from router.api.documents import admin_document_operations
from router.api.documents import operations as document_operations
from router.api.error_envelope import error_response
from router.api.exchange import EXCHANGE, Exchange, Receive, Scope, Send
from router.api.in_process import IDENTIFY
from router.api.methods import call_operation
from router.api.metrics import operations as metrics_operations
from router.api.oauth_form import is_form, oauth_error
from router.api.operation import OperationRoute, Operations, operation_routes
from router.api.paths import Paths
from router.api.public import operations as customer_operations
from router.api.public.embeddings import PATH, embeddings
from router.api.public.embeddings_declaration import operations as embeddings_declaration
from router.api.public.health import operations as probe_operations
from router.api.public.requests import remember
from router.api.read_limit import READS_PER_MINUTE, ReadLimit
from router.api.server.cors import CorsPolicy
from router.api.server.guard import Guard
from router.changes.audit import Actor
from router.changes.idempotency import ReplayedOutcome
from router.context import RouterContext
from router.errors import IdempotencyResultGone, InvalidRequest, Refusal, Unexpected
from router.networks import Network

CALLS_MAX = 2_000
# Operators and scrapers are few.
INSIDE_CALLS_MAX = 200
# By the identity of the noun's routes, which stand beside: no other object gets it.
_behind: dict[int, tuple[APIRouter, list[OperationRoute]]] = {}


class Audience(StrEnum):
    """Who reaches a port, and so which operations it has; every other path is one that there is not."""

    CUSTOMERS = "customers"
    # Those whom the network lets in: operators and scrapers.
    INSIDE = "inside"
    EVERYONE = "everyone"


def create_app(
    context: RouterContext,
    audience: Audience = Audience.EVERYONE,
    *,
    record: Callable[[Exchange], None],
    metrics: Callable[[], bytes],
    further: Iterable[Operations] = (),
    calls_max: int | None = None,
    cors_origins: Collection[str] = (),
    reads_per_minute: int = READS_PER_MINUTE,
    web_url: str | None = None,
    proxies: Sequence[Network] | None = None,
) -> Guard:
    """The ASGI application of one port of a process that serves, with ``further`` operations.

    Pages of ``cors_origins`` may call the customers' operations from a browser; a key may read ``reads_per_minute``
    times beside its calls. ``web_url``: where ``/`` sends browsers, to the pages. ``proxies`` as
    :func:`router.networks.client_address` has them.
    """
    has_calls = audience is not Audience.INSIDE
    nouns = operations_for(audience, further)
    rest = fastapi_app(nouns)
    rest.state.reads = ReadLimit(reads_per_minute)
    if has_calls:
        rest.state.paths = Paths([*nouns, embeddings_declaration.routes])
    rest.state.context, rest.state.admin, rest.state.metrics = context, admin_context(context), metrics
    rest.state.web_url = web_url

    def over(exchange: Exchange) -> None:
        record(exchange)
        remember(exchange, context.receipts)

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await rest(scope, receive, send)
        elif has_calls and scope["method"] == "POST" and (scope["path"] == PATH or azure.is_call(scope[EXCHANGE])):
            await embeddings(scope[EXCHANGE], context, send)
        else:
            await call_operation(rest, azure.as_ours(scope), receive, send)

    if calls_max is None:
        calls_max = CALLS_MAX if has_calls else INSIDE_CALLS_MAX
    cors = CorsPolicy.of(cors_origins if has_calls else ())
    return Guard(
        dispatch,
        body_bytes_max=context.body_bytes_max,
        calls_max=calls_max,
        record=over,
        clock=context.db.clock,
        cors=cors,
        proxies=proxies,
    )


def create_local_app(context: AdminContext, actor: Actor) -> Guard:
    """The admin API in process, for ``actor`` on the machine, who needs no key and has every role.

    It takes ASGI calls and listens nowhere: whoever can build its context reaches the database as it is.
    """

    def identify(exchange: Exchange) -> None:
        exchange.actor = actor

    nouns = [*admin_operations, admin_document_operations.routes]
    return _in_process(nouns, context, None, lambda scope: identify)


def create_pages_app(context: RouterContext, admin: AdminContext) -> Guard:
    """Every operation in process, for whom each call's scope names under :data:`router.api.in_process.IDENTIFY`.

    It listens nowhere, either: the pages call it for the person who reads them, with that person's roles.
    """
    return _in_process(operations_for(Audience.EVERYONE), admin, context, lambda scope: scope[IDENTIFY])


def _in_process(
    nouns: list[APIRouter],
    admin: AdminContext,
    context: RouterContext | None,
    identity: Callable[[Scope], Callable[[Exchange], None]],
) -> Guard:
    rest = fastapi_app(nouns)
    rest.state.admin, rest.state.context, rest.state.web_url = admin, context, None
    rest.state.reads = ReadLimit(READS_PER_MINUTE)

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            identity(scope)(scope[EXCHANGE])
            await call_operation(rest, scope, receive, send)
        else:
            await rest(scope, receive, send)

    largest = max(route.spec.body_bytes_max for noun in nouns for route in operation_routes(noun.routes))
    return Guard(dispatch, body_bytes_max=largest, calls_max=CALLS_MAX, record=lambda _: None, clock=admin.db.clock)


def all_operations(further: Iterable[Operations] = ()) -> list[APIRouter]:
    """Every operation but the hot one."""
    return operations_for(Audience.EVERYONE, further)


def operations_for(audience: Audience, further: Iterable[Operations] = ()) -> list[APIRouter]:
    """The operations of one port but the hot one. Probes are on each: every port is asked whether it answers."""
    customers = (*customer_operations, document_operations) if audience is not Audience.INSIDE else ()
    inside = (admin_document_operations, metrics_operations) if audience is not Audience.CUSTOMERS else ()
    nouns = [noun.routes for noun in (*customers, *inside, probe_operations, *further)]
    return [*nouns, *(admin_operations if inside else ())]


def fastapi_app(nouns: Iterable[APIRouter]) -> FastAPI:
    """FastAPI with our access, our envelope and nothing of its own beside; its state is the caller's to fill."""
    app = FastAPI(
        title="gigarouter",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    listed = list(nouns)
    for routes in listed:
        app.router.routes.extend(_behind_access(routes))
    app.state.paths = Paths(listed)
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(HTTPException, _not_matched)
    app.add_exception_handler(RequestValidationError, _not_valid)
    app.add_exception_handler(ReplayedOutcome, _replayed)
    app.add_exception_handler(Proposed, _proposed)
    app.add_exception_handler(DryRan, _proposed)
    app.add_exception_handler(Exception, _unexpected)
    return app


def _behind_access(noun: APIRouter) -> Sequence[BaseRoute]:
    """The routes of one noun, none of them without access: one set for all applications of a process."""
    if id(noun) not in _behind:
        check = Depends(check_access)
        _behind[id(noun)] = (noun, [route.behind(check) for route in operation_routes(noun.routes)])
    return _behind[id(noun)][1]


def _respond(request: Request, refusal: Refusal) -> Response:
    exchange: Exchange = request.scope[EXCHANGE]
    exchange.refusal = refusal
    answer = error_response(refusal, exchange.request_id)
    route = request.scope.get("route")
    if isinstance(route, OperationRoute) and route.spec.takes_form and is_form(request.scope):
        answer = oauth_error(refusal, answer, exchange.request_id)
    response = Response(b"".join(answer.body), status_code=answer.status)
    response.raw_headers = list(answer.headers)
    return response


async def _refused(request: Request, refusal: Exception) -> Response:
    assert isinstance(refusal, Refusal)
    return _respond(request, refusal)


async def _replayed(request: Request, before: Exception) -> Response:
    assert isinstance(before, ReplayedOutcome)
    try:
        return replayed(before.outcome, request.app.state.admin.cipher)
    except IdempotencyResultGone as gone:
        return _respond(request, gone)


async def _proposed(request: Request, proposal: Exception) -> Response:
    assert isinstance(proposal, Proposed | DryRan)
    return proposed(proposal.outcome)


async def _not_matched(request: Request, problem: Exception) -> Response:
    assert isinstance(problem, HTTPException)
    if problem.status_code in (404, 405):
        paths: Paths = request.app.state.paths
        exchange: Exchange = request.scope[EXCHANGE]
        return _respond(request, paths.refusal({**request.scope, "method": exchange.method, "path": exchange.path}))
    return _respond(request, InvalidRequest("The request cannot be read. GET /openapi.json describes what is taken."))


async def _not_valid(request: Request, problem: Exception) -> Response:
    """Name the fields, never their values: FastAPI's own answer repeats the input, secrets included."""
    assert isinstance(problem, RequestValidationError)
    return _respond(request, faults.refusal(problem.errors()))


async def _unexpected(request: Request, fault: Exception) -> Response:
    """Only the answer: the exception goes on to the guard, which logs it."""
    return _respond(
        request,
        Unexpected("Something went wrong on our side. If it happens again, tell us the request id."),
    )
