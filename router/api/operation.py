"""Declares an operation of the API once: noun, verb, path, roles; all else reads it from the route.

:class:`Operations` is the declaration of one noun. A handler's types say the rest: its body and query are models of
:mod:`router.api.forms`, its answer is the return type, and the request that it takes says whether it writes::

    operations = Operations("endpoints", f"{V1}/endpoints", tag="Endpoints")

    @operations.post("", verb="create", summary="Register an endpoint", roles=OPS, status=201)
    async def create(admin: Write, body: EndpointCreate) -> EndpointOut:
        '''Register an endpoint, as a draft without traffic.'''
        async def command(work: UnitOfWork) -> EndpointOut: ...
        return await admin.change(command)

The route carries an :class:`OperationSpec` as ``route.spec``. Access (:mod:`router.api.access`), OpenAPI
(:mod:`router.api.documents`, which adds it as ``x-gigarouter``), the command line and the tests walk the routes and
read it: there is no second list.
"""

import inspect
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Any, ClassVar, Required, Self, TypedDict, TypeVar, Unpack, cast, get_args, get_origin, get_type_hints

import msgspec
from fastapi import APIRouter, Depends, Request, params
from fastapi.datastructures import Default
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import request_params_to_args
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel, ValidationError
from starlette.datastructures import QueryParams
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute
from typing_extensions import override

from router.api.exchange import EXCHANGE, Exchange
from router.api.faults import Fault, faults_of, json_fault, query_faults, refusal
from router.api.forms import Answer, Nothing
from router.api.late_route import LateRoute
from router.api.oauth_form import is_form, json_of_form
from router.api.typed_request import TypedRequest
from router.errors import BodyTooLarge
from router.identity.members import Role
from router.identity.scopes import Scope

Handler = TypeVar("Handler", bound=Callable[..., Awaitable[Any]])

V1 = "/admin/v1"
JSON, CSV, OCTETS = "application/json", "text/csv", "application/octet-stream"
# Pydantic reads a body in one go, at worst some 30 ms for so many bytes (a list of nulls where text is wanted). What an
# operator sends is small, and the hot path has a decoder of its own.
BODY_BYTES_MAX = 256 * 1024


class Who(StrEnum):
    """Who an operation is for."""

    ANYONE = "anyone"
    KEY = "key"
    # A management key or a member, by scope; no API key, which is for calls.
    MANAGER = "manager"
    # A person, for themselves: in a session, or by a management key that acts for a member.
    PERSON = "person"
    # Anyone; a key that is sent must be right, and the answer is that key's.
    VISITOR = "visitor"
    # Operators by their own keys; which of their roles is in the operation's spec.
    OPERATOR = "operator"
    # Callers in our own network that no proxy stands before: a scraper of metrics.
    NEARBY = "nearby"


ALL = frozenset({Role.OPS, Role.FINANCE_ADMIN})
OPS = frozenset({Role.OPS})
# Money: what customers pay, what they are given, and the leave to charge for weights that are not free to sell.
MONEY = frozenset({Role.FINANCE_ADMIN})
NOBODY: frozenset[Role] = frozenset()
NO_SCOPES: frozenset[Scope] = frozenset()


class OperationSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What an operation is, apart from its types. ``noun`` and ``verb`` name its command of ``gigarouter admin``.

    ``scopes``: what concerns an account; one of them is enough for a management key or a member. An API key needs none.
    ``edits``: needs If-Match. ``writes``: takes Idempotency-Key and ``?dry_run=1``. ``shows_once``: its answer has a
    secret that no other answer has. ``local``: why it is only on the machine, in process; empty: it is not. ``media``:
    the types in which it can answer, the usual one first. ``body_bytes_max``: the largest body that it takes.
    ``takes_form``: OAuth clients send a form instead of JSON, and get errors in their form.
    """

    noun: str
    verb: str
    method: str
    path: str
    who: Who
    roles: frozenset[Role]
    scopes: frozenset[Scope] = NO_SCOPES
    edits: bool = False
    writes: bool = False
    shows_once: bool = False
    local: str = ""
    media: tuple[str, ...] = (JSON,)
    body_bytes_max: int = BODY_BYTES_MAX
    takes_form: bool = False

    @property
    def name(self) -> tuple[str, str]:
        """Method and path as they are declared."""
        return self.method, self.path

    def path_of(self, values: Mapping[str, str]) -> str:
        """The path with the values of its places."""
        path = self.path
        for name, value in values.items():
            path = path.replace(f"{{{name}:path}}", value).replace(f"{{{name}}}", value)
        return path


class Declaration(TypedDict, total=False):
    """What a declaration says beside method, path and types; the handler's docstring is the description.

    ``roles`` are the operators who may; ``scope`` is what a management key or a member needs, one of several; ``name``
    is OpenAPI's operationId where it is not the verb and the noun; ``who`` where it is not as the noun's other
    operations; ``answer`` is what it answers where the handler writes the bytes itself, ``media`` its types where they
    are not JSON alone. ``openapi`` is what no type of the handler says: it reads that part of the request itself.
    """

    verb: Required[str]
    summary: Required[str]
    roles: frozenset[Role]
    scope: Scope | frozenset[Scope]
    name: str
    status: int
    shows_once: bool
    local: str
    who: Who
    answer: type[Answer]
    media: tuple[str, ...]
    body_bytes_max: int
    takes_form: bool
    openapi: dict[str, Any]


class OperationRequest:
    """What a handler takes to work with: its class says what the operation does (:mod:`router.api.admin.request`)."""

    writes: ClassVar[bool] = False
    edits: ClassVar[bool] = False


class OperationRoute(LateRoute):
    """A route with its spec."""

    spec: OperationSpec

    @override
    def behind(self, check: params.Depends) -> Self:
        """The same operation with a dependency before all others."""
        route = super().behind(check)
        route.spec = self.spec
        return route

    @override
    def get_route_handler(self) -> Callable[[Request], Any]:
        """FastAPI's own, given a :class:`TypedRequest`."""
        handle = super().get_route_handler()

        async def handle_typed(request: Request) -> Response:
            if self.spec.takes_form and is_form(request.scope):
                exchange: Exchange = request.scope[EXCHANGE]
                names = body_model(self).model_fields
                exchange.body = json_of_form(bytes(exchange.body), names)
            return await handle(TypedRequest(request))

        return handle_typed


class Operations:
    """The operations of one noun. ``one`` is the noun's singular, ``path`` stands before each operation's own."""

    def __init__(
        self, noun: str, path: str = "", *, tag: str = "", one: str | None = None, who: Who = Who.OPERATOR
    ) -> None:
        self.noun = noun
        self.one = one or noun.removesuffix("s")
        self.tag = tag or noun.capitalize()
        self.who = who
        body = [Depends(check_request)]
        strict = {Who.OPERATOR: body, Who.MANAGER: body, Who.PERSON: body, Who.VISITOR: [Depends(check_query)]}.get(
            who, []
        )
        self.routes = APIRouter(prefix=path, route_class=OperationRoute, dependencies=strict)

    def get(self, path: str, **declared: Unpack[Declaration]) -> Callable[[Handler], Handler]:
        """Declares a GET."""
        return self._declare("GET", path, declared)

    def post(self, path: str, **declared: Unpack[Declaration]) -> Callable[[Handler], Handler]:
        """Declares a POST."""
        return self._declare("POST", path, declared)

    def patch(self, path: str, **declared: Unpack[Declaration]) -> Callable[[Handler], Handler]:
        """Declares a PATCH."""
        return self._declare("PATCH", path, declared)

    def delete(self, path: str, **declared: Unpack[Declaration]) -> Callable[[Handler], Handler]:
        """Declares a DELETE."""
        return self._declare("DELETE", path, declared)

    def _declare(self, method: str, path: str, declared: Declaration) -> Callable[[Handler], Handler]:
        verb, roles, local = declared["verb"], declared.get("roles", NOBODY), declared.get("local", "")
        who = declared.get("who", self.who)
        scope = declared.get("scope", NO_SCOPES)
        scopes = frozenset({scope}) if isinstance(scope, Scope) else scope
        assert (who is Who.OPERATOR) == bool(roles or local), f"who may {verb} {self.noun}? this is a bug"
        assert who is Who.KEY or (who in (Who.MANAGER, Who.PERSON)) == bool(scopes), (
            f"who may {verb} {self.noun}? this is a bug"
        )

        def register(handler: Handler) -> Handler:
            hints = get_type_hints(handler)
            answer = hints.get("return")
            is_response = inspect.isclass(answer) and issubclass(answer, Response)
            requests = [one for one in hints.values() if inspect.isclass(one) and issubclass(one, OperationRequest)]
            self.routes.add_api_route(
                path,
                handler,
                methods=[method],
                operation_id=declared.get("name", self._operation_id(verb)),
                summary=declared["summary"],
                status_code=declared.get("status", 200),
                tags=[self.tag],
                response_model=declared.get("answer", Default(None)),
                response_class=cast("type[Response]", answer)
                if is_response and "answer" not in declared
                else JSONResponse,
                openapi_extra=declared.get("openapi"),
            )
            route = self.routes.routes[-1]
            assert isinstance(route, OperationRoute), "APIRouter makes routes of its route_class; this is a bug"
            route.spec = OperationSpec(
                noun=self.noun,
                verb=verb,
                method=method,
                path=route.path,
                who=who,
                roles=roles,
                scopes=scopes,
                edits=any(one.edits for one in requests),
                writes=any(one.writes for one in requests),
                shows_once=declared.get("shows_once", False),
                local=local,
                media=declared.get("media", (JSON,)),
                body_bytes_max=declared.get("body_bytes_max", BODY_BYTES_MAX),
                takes_form=declared.get("takes_form", False),
            )
            return handler

        return register

    def _operation_id(self, verb: str) -> str:
        match verb:
            case "list":
                return f"list_{self.noun}"
            case "show":
                return f"retrieve_{self.one}"
            case _:
                return f"{verb}_{self.one}".replace("-", "_")


def operation_routes(routes: Iterable[BaseRoute]) -> Iterator[OperationRoute]:
    """Every declared operation among ``routes``, those of included routers too."""
    for context in iter_route_contexts(list(routes)):
        if isinstance(context.original_route, OperationRoute):
            yield context.original_route


async def check_request(request: Request) -> None:
    """The dependency of every operation for operators, after access: refuses what no type of the operation reads.

    That is a query parameter that is not declared, one that is no list and given twice, NUL characters, and a body that
    is no JSON or where none is taken; what the operation's types refuse is told with it. Raises ``UnknownParameter``,
    ``InvalidRequest``, ``NotFound`` for an id in the path that cannot be one, ``BodyTooLarge``.
    """
    exchange: Exchange = request.scope[EXCHANGE]
    route: OperationRoute = request.scope["route"]
    body = bytes(exchange.body) or b"{}"
    if len(body) > route.spec.body_bytes_max:
        raise BodyTooLarge(f"The body is larger than {route.spec.body_bytes_max} bytes.")
    faults = _query_faults(request, route)
    unreadable = json_fault(body)
    if unreadable is not None:
        faults.append(unreadable)
    if rb"\u0000" in body:
        faults.append(Fault(None, "Text cannot contain the NUL character."))
    refused: list[dict[str, Any]] = []
    if exchange.method != "GET" and route.body_field is None and unreadable is None:
        refused = _body_errors(Nothing, body)
    if faults or refused:
        if route.body_field is not None and unreadable is None:
            refused = _body_errors(_model(route.body_field.field_info.annotation), body)
        raise refusal([*refused, *_value_errors(route.dependant, request)], faults)


async def check_query(request: Request) -> None:
    """Refuses what no type of an operation reads from its query, with what its types refuse.

    Raises as :func:`check_request` does, for an operation that takes no body.
    """
    route: OperationRoute = request.scope["route"]
    if faults := _query_faults(request, route):
        raise refusal(_value_errors(route.dependant, request), faults)


def _query_faults(request: Request, route: OperationRoute) -> list[Fault]:
    return query_faults(request.query_params.multi_items(), _query_parameters(route.dependant))


def _body_errors(form: type[BaseModel], body: bytes) -> list[dict[str, Any]]:
    try:
        form.model_validate(body)
    except ValidationError as problem:
        return [{**one, "loc": ("body", *one["loc"])} for one in problem.errors()]
    return []


def _value_errors(dependant: Dependant, request: Request) -> list[Any]:
    """What an operation's types refuse of path and query, as FastAPI is going to find it."""
    errors = request_params_to_args(dependant.path_params, request.path_params)[1]
    return errors + _query_errors(dependant, request.query_params)


def _query_errors(dependant: Dependant, query: QueryParams) -> list[Any]:
    errors = list(request_params_to_args(dependant.query_params, query)[1])
    return errors + [error for inner in dependant.dependencies for error in _query_errors(inner, query)]


def _query_parameters(dependant: Dependant) -> dict[str, bool]:
    """The query parameters of an operation, in its own signature and its dependencies', and whether each is a list."""
    found: dict[str, bool] = {}
    for field in dependant.query_params:
        kind = field.field_info.annotation
        if inspect.isclass(kind) and issubclass(kind, BaseModel):
            found |= {one.alias or name: get_origin(one.annotation) is tuple for name, one in kind.model_fields.items()}
        else:
            found[field.alias] = get_origin(kind) is tuple
    for dependency in dependant.dependencies:
        found |= _query_parameters(dependency)
    return found


def form_faults(route: OperationRoute, query: Mapping[str, str], body: bytes) -> list[Fault]:
    """What an operation's types refuse of a query and a body, without sending them; no body of one that takes none."""
    errors = _query_errors(route.dependant, QueryParams(query))
    if route.body_field is not None:
        errors += _body_errors(_model(route.body_field.field_info.annotation), body)
    return faults_of(errors)


def body_schema(route: OperationRoute) -> dict[str, Any] | None:
    """The JSON schema of an operation's body; None where it takes none."""
    return None if route.body_field is None else _schema(route.body_field.field_info.annotation)


def query_schemas(route: OperationRoute) -> Iterator[dict[str, Any]]:
    """The JSON schemas of what an operation reads from its query, its dependencies' too, as objects."""
    pending = [route.dependant]
    while pending:
        dependant = pending.pop()
        pending += dependant.dependencies
        for field in dependant.query_params:
            kind = field.field_info.annotation
            if inspect.isclass(kind) and issubclass(kind, BaseModel):
                yield _schema(kind)
            else:
                described = {"type": "string", "enum": ["0", "1"], "description": field.field_info.description}
                yield {"properties": {field.alias: described}}


def columns_of(route: OperationRoute) -> tuple[str, ...]:
    """Which fields of the things that it lists a table shows; all where their form does not say."""
    model = route.response_model
    data = model.model_fields.get("data") if inspect.isclass(model) and issubclass(model, BaseModel) else None
    things = () if data is None else get_args(data.annotation)
    return tuple(getattr(things[0], "columns", ())) if things else ()


def body_model(route: OperationRoute) -> type[BaseModel]:
    """The model of the body that an operation takes."""
    assert route.body_field is not None, "it takes a body; this is a bug"
    return _model(route.body_field.field_info.annotation)


def _schema(model: object) -> dict[str, Any]:
    return _model(model).model_json_schema()


def _model(model: object) -> type[BaseModel]:
    assert inspect.isclass(model), "a body is one model; this is a bug"
    assert issubclass(model, BaseModel), "a body is one model; this is a bug"
    return model
