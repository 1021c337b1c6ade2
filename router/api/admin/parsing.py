"""What an operator's request says, read strictly: its query, its body, the ids in both. Nothing given is repeated."""

import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

import msgspec
from fastapi import Request
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.money import NanoUSD, from_usd
from catalog.errors import CatalogError
from router.api.admin.context import AdminContext
from router.api.admin.request import refusal_of
from router.api.exchange import EXCHANGE, Exchange
from router.changes.transaction import store_unavailable
from router.errors import InvalidRequest, NotFound, UnknownParameter
from router.identity.operators import Operator
from router.request.body import printable_excerpt
from store.ids import PREFIXES, parse

T = TypeVar("T")

V1 = "/admin/v1"
NUL = "\0"

_UNKNOWN = re.compile(r"unknown field `(.*?)`", re.DOTALL)
_MISSING = re.compile(r"missing required field `(.*?)`")
_AT = re.compile(r"- at `\$\.?([^`]*)`")
_EXPECTED = re.compile(r"Expected `([^`]+)`")


def exchange_of(request: Request) -> Exchange:
    """What the edge knows of the request."""
    exchange: Exchange = request.scope[EXCHANGE]
    return exchange


def context_of(request: Request) -> AdminContext:
    """The collaborators of administration."""
    context: AdminContext = request.app.state.admin
    return context


def operator_of(request: Request) -> Operator:
    """Who asks."""
    operator = exchange_of(request).operator
    assert operator is not None, "an operation for operators was reached without one; this is a bug"
    return operator


def query_of(request: Request, *known: str) -> dict[str, str]:
    """The query's parameters. Raises ``UnknownParameter``, ``InvalidRequest`` for one that is given twice."""
    given: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name not in known:
            raise UnknownParameter(
                f"Unrecognized query parameter: {printable_excerpt(name)}.", param=printable_excerpt(name)
            )
        if name in given or NUL in value:
            raise InvalidRequest(f"'{name}' is given once, as text.", param=name)
        given[name] = value
    return given


def body_of(request: Request, form: type[T]) -> T:
    """The body by its form; an empty one is ``{}``. Raises ``UnknownParameter``, ``InvalidRequest``."""
    body = exchange_of(request).body
    if rb"\u0000" in body:
        raise InvalidRequest("Text cannot contain the NUL character.")
    try:
        return msgspec.json.decode(body or b"{}", type=form)
    except msgspec.ValidationError as problem:
        raise _problem(str(problem), form) from None
    except (msgspec.DecodeError, RecursionError):
        raise InvalidRequest("The body is not a JSON object. GET /admin/openapi.json describes it.") from None


def _problem(said: str, form: type[Any]) -> InvalidRequest:
    place = _AT.search(said)
    at = printable_excerpt(place[1]) if place else ""
    if unknown := _UNKNOWN.search(said):
        name = printable_excerpt(unknown[1])
        return UnknownParameter(f"Unrecognized request argument supplied: {name}", param=name)
    if missing := _MISSING.search(said):
        return InvalidRequest(f"'{missing[1]}' is missing.", param=missing[1])
    expected = _EXPECTED.search(said)
    how = f"It is {expected[1]}." if expected else _choices(form, at)
    return InvalidRequest(f"'{at or 'body'}' is invalid. {how}", param=at or None)


def _choices(form: type[Any], field: str) -> str:
    """The values that a field of a closed set may have."""
    kinds = [one.type for one in getattr(msgspec.inspect.type_info(form), "fields", ()) if one.name == field]
    kinds += [kind for union in kinds for kind in getattr(union, "types", ())]
    names = [str(member.value) for kind in kinds for member in getattr(kind, "cls", ()) if hasattr(member, "value")]
    return f"It is one of {', '.join(names)}." if names else "GET /admin/openapi.json says what it may be."


def id_of(kind: object, text: str, param: str) -> UUID:
    """An id in a path. Raises ``NotFound``: there is nothing under another kind's id."""
    try:
        if not text.startswith(f"{PREFIXES[kind]}_"):
            raise ValueError(text)
        return parse(kind, text)
    except ValueError:
        raise NotFound(f"There is no such {param}: its id is {PREFIXES[kind]}_….", param=param) from None


def given_id(kind: object, text: str, param: str) -> UUID:
    """An id in a body or a query. Raises ``InvalidRequest``."""
    try:
        return id_of(kind, text, param)
    except NotFound:
        raise InvalidRequest(f"'{param}' is an id such as {PREFIXES[kind]}_….", param=param) from None


def usd_of(text: str, param: str) -> NanoUSD:
    """An amount in USD as decimal text. Raises ``InvalidRequest``."""
    try:
        return from_usd(text)
    except ValueError:
        raise InvalidRequest(
            f"'{param}' is an amount in USD as text with at most nine decimals, such as \"25.00\".", param=param
        ) from None


def rfc3339(at: datetime | None) -> str | None:
    """An instant as it is answered: UTC, to the microsecond where it has them."""
    if at is None:
        return None
    text = at.astimezone(UTC).isoformat(timespec="microseconds" if at.microsecond else "seconds")
    return text.replace("+00:00", "Z")


def flag(text: str | None, param: str) -> bool:
    """``1`` or ``true``, ``0`` or ``false``. Raises ``InvalidRequest``."""
    if text in (None, "0", "false"):
        return False
    if text in ("1", "true"):
        return True
    raise InvalidRequest(f"'{param}' is 1 or 0.", param=param)


async def read(request: Request, question: Callable[[AsyncConnection], Awaitable[T]]) -> T:
    """Ask the database. Raises what the question raises, and ``StoreUnavailable``."""
    try:
        async with context_of(request).db.transaction() as connection:
            return await question(connection)
    except CatalogError as refused:
        raise refusal_of(refused) from refused
    except DBAPIError as fault:
        if not fault.connection_invalidated:
            raise
        raise store_unavailable(fault) from fault
    except (OSError, TimeoutError) as fault:
        raise store_unavailable(fault) from fault
