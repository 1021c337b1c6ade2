"""What an operator's request is answered: a thing with its ETag, or a page of things with a cursor to the next."""

import base64
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any, ClassVar, TypeVar
from urllib.parse import urlencode

import msgspec
from fastapi import Request, Response

from router.errors import InvalidRequest

T = TypeVar("T")

PAGE, PAGE_MAX = 20, 100
JSON = "application/json"
# What the admin API says is for the one who asked.
NO_STORE = {"cache-control": "no-store"}

_encode = msgspec.json.Encoder().encode


class Resource(msgspec.Struct, frozen=True):
    """A thing as the admin API shows it. Its version is its content, without what changes by itself."""

    volatile: ClassVar[frozenset[str]] = frozenset()


class Page(msgspec.Struct, frozen=True):
    """Part of a list; ``next_cursor`` asks for the rest."""

    data: list[Any]
    has_more: bool = False
    next_cursor: str | None = None
    object: str = "list"


class Slice(msgspec.Struct, frozen=True):
    """Which part of a list is asked for: at most ``limit`` things after the one whose sort key is ``after``."""

    limit: int
    after: str | None


def etag(shown: Resource) -> str:
    """A strong entity tag: the same for the same content, in every process."""
    facts = msgspec.to_builtins(shown)
    kept = {name: value for name, value in facts.items() if name not in shown.volatile}
    return f'"{sha256(msgspec.json.encode(kept, order="sorted")).hexdigest()[:32]}"'


def one(shown: msgspec.Struct, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """One thing, with its ETag."""
    tag = {"etag": etag(shown)} if isinstance(shown, Resource) else {}
    return Response(_encode(shown), status, {**NO_STORE, **tag, **(headers or {})}, JSON)


def slice_of(query: dict[str, str]) -> Slice:
    """``limit`` and ``cursor`` of a query. Raises ``InvalidRequest``."""
    text = query.get("limit", str(PAGE))
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= PAGE_MAX):
        raise InvalidRequest(f"'limit' is between 1 and {PAGE_MAX}.", param="limit")
    cursor = query.get("cursor")
    return Slice(int(text), None if cursor is None else _opened(cursor))


def listed(rows: Sequence[T], part: Slice, key: Callable[[T], str]) -> list[T]:
    """Of a short list that is in memory, the part that is asked for and one more, in the order of ``key``."""
    ordered = sorted(rows, key=key)
    return [row for row in ordered if part.after is None or key(row) > part.after][: part.limit + 1]


def page(
    request: Request, rows: Sequence[T], part: Slice, key: Callable[[T], str], show: Callable[[T], msgspec.Struct]
) -> Response:
    """A page from up to one row more than asked for: that there is one tells that there is more."""
    has_more = len(rows) > part.limit
    rows = rows[: part.limit]
    cursor = _closed(key(rows[-1])) if has_more else None
    headers = dict(NO_STORE)
    if cursor is not None:
        query = {**dict(request.query_params), "cursor": cursor}
        headers["link"] = f'<{request.scope["path"]}?{urlencode(query)}>; rel="next"'
    return Response(_encode(Page([show(row) for row in rows], has_more, cursor)), 200, headers, JSON)


def _closed(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


def _opened(cursor: str) -> str:
    try:
        key = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except ValueError:
        key = "\0"
    if "\0" in key or not key:
        raise InvalidRequest("'cursor' is the next_cursor of the page before.", param="cursor")
    return key
