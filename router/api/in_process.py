"""Calls declared operations in process, for a person whom a page has identified: the same function as over HTTP.

Validation, roles, audit, dry run, If-Match and Idempotency-Key are the operation's own, because it is the operation
that runs: this module writes an ASGI call for it and reads the answer. An operation is named by its operationId, of
which each is one in ``/v1`` and ``/admin/v1`` together.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Generic, TypeAlias, TypeVar
from urllib.parse import quote, urlencode

import msgspec
from fastapi import APIRouter
from starlette.routing import Match

from router.api.exchange import Exchange, Message, Receive, Scope, Send
from router.api.operation import OperationRoute, OperationSpec, operation_routes

T = TypeVar("T")
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
# Fills an exchange with who calls: an operator and actor, or a caller.
Identify: TypeAlias = Callable[[Exchange], None]

# Where a call's scope has its Identify. No server sets it: what comes over HTTP has no such key.
IDENTIFY = "gigarouter.identify"


class FieldFault(msgspec.Struct, frozen=True):
    """What is wrong with one field of the request, or with it as a whole, in a sentence."""

    param: str | None
    message: str


class OperationError(msgspec.Struct, frozen=True, kw_only=True):
    """The error of an answer, as the envelope has it."""

    message: str
    code: str | None = None
    param: str | None = None
    request_id: str = ""
    details: dict[str, Any] = {}


class _Envelope(msgspec.Struct, frozen=True):
    error: OperationError


class OperationRefused(Exception):
    """An operation answered with an error."""

    def __init__(self, status: int, error: OperationError, retry_after_s: int | None = None) -> None:
        super().__init__(error.message)
        self.status = status
        self.error = error
        self.retry_after_s = retry_after_s

    @property
    def faults(self) -> list[FieldFault]:
        """Everything that is wrong with the request, the first thing first."""
        listed = self.error.details.get("faults")
        if isinstance(listed, list):
            return msgspec.convert(listed, list[FieldFault])
        return [FieldFault(self.error.param, self.error.message)]


class Outcome(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """What an operation answered. ``status`` 202: it waits for a second person, and ``value`` is the proposal."""

    value: T
    status: int = 200
    etag: str | None = None
    needs_second_person: bool = False
    body: bytes = b""


class OperationCall(msgspec.Struct, frozen=True, kw_only=True):
    """One call: values of the path, query (a list's items are several pairs), body, and the headers that it takes."""

    path: Mapping[str, str] = {}
    query: tuple[tuple[str, str], ...] = ()
    body: Mapping[str, Any] | None = None
    dry_run: bool = False
    if_match: str | None = None
    idempotency_key: str | None = None
    accept: str = "application/json"


class InProcess:
    """Calls the operations of ``app``, which is made by :func:`router.api.app.create_pages_app` of ``nouns``."""

    def __init__(self, app: App, nouns: Iterable[APIRouter]) -> None:
        self._app = app
        routes = (route for noun in nouns for route in operation_routes(noun.routes))
        self._routes: dict[str, OperationRoute] = {str(route.operation_id): route for route in routes}

    @property
    def names(self) -> frozenset[str]:
        """The operationIds of all operations."""
        return frozenset(self._routes)

    def declared(self, name: str) -> OperationSpec:
        """What an operation is, by its operationId."""
        return self._routes[name].spec

    async def run(self, name: str, identify: Identify, call: OperationCall, answer: type[T]) -> Outcome[T]:
        """Run an operation and read its JSON as ``answer``, which may have fewer fields than it.

        Raises :class:`OperationRefused`, and ``KeyError`` for a name that no operation has, which is a bug.
        """
        status, headers, body = await self.fetch(name, identify, call)
        return Outcome(
            value=msgspec.json.decode(body, type=answer),
            status=status,
            etag=headers.get("etag"),
            needs_second_person=headers.get("x-gigarouter-second-person") == "true",
            body=body,
        )

    async def fetch(self, name: str, identify: Identify, call: OperationCall) -> tuple[int, dict[str, str], bytes]:
        """Run an operation; its status, headers and body as they are, for a file. Raises :class:`OperationRefused`."""
        received: list[Message] = []

        async def send(message: Message) -> None:
            received.append(message)

        route = self._routes[name]
        scope = _scope(route, identify, call)
        self._check_path(route, scope, call)
        await self._app(scope, _receive_of(call), send)
        start, *pieces = received
        headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in start["headers"]}
        body = b"".join(piece.get("body", b"") for piece in pieces)
        if start["status"] >= 400:
            retry = headers.get("retry-after")
            error = msgspec.json.decode(body, type=_Envelope).error
            raise OperationRefused(start["status"], error, None if retry is None else int(retry))
        return start["status"], headers, body

    def _check_path(self, route: OperationRoute, scope: Scope, call: OperationCall) -> None:
        """Refuse values with which the path would be another operation's: ``a/suspend`` is no account."""
        if not any("/" in value for value in call.path.values()):
            return
        matching = (one for one in self._routes.values() if one.matches(scope)[0] is Match.FULL)
        if next(matching, None) is not route:
            raise OperationRefused(404, OperationError(message="There is no such thing.", code="not_found"))


def _receive_of(call: OperationCall) -> Receive:
    body = b"" if call.body is None else msgspec.json.encode(call.body)

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


def _scope(route: OperationRoute, identify: Identify, call: OperationCall) -> Scope:
    path = route.spec.path_of(call.path)
    query = [*call.query, *([("dry_run", "1")] if call.dry_run else [])]
    headers = [(b"accept", call.accept.encode())]
    if call.if_match is not None:
        headers.append((b"if-match", call.if_match.encode("latin-1", "replace")))
    if call.idempotency_key is not None:
        headers.append((b"idempotency-key", call.idempotency_key.encode("latin-1", "replace")))
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": route.spec.method,
        "scheme": "http",
        "path": path,
        "raw_path": quote(path).encode(),
        "query_string": urlencode(query).encode(),
        "root_path": "",
        "headers": headers,
        "server": ("pages", 80),
        "client": None,
        IDENTIFY: identify,
    }
