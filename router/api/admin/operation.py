"""What an operation tells of itself for ``/admin/openapi.json``: its body, its answer, its parameters."""

from typing import Any

import msgspec

# Said with each route, read by router.api.admin.openapi.
TOLD = "x-gigarouter"


class Told(msgspec.Struct, frozen=True):
    """Types of the body and the answer. ``many``: the answer is a page. ``match``: an edit, which needs If-Match.

    ``writes`` False: a POST that only asks.
    """

    answer: type[msgspec.Struct]
    body: type[msgspec.Struct] | None = None
    status: int = 200
    many: bool = False
    match: bool = False
    writes: bool = True
    query: tuple[str, ...] = ()


def lists(name: str, summary: str, tag: str, answer: type[msgspec.Struct], *filters: str) -> dict[str, Any]:
    """An operation that answers a page."""
    return _said(name, summary, tag, Told(answer, many=True, query=("limit", "cursor", *filters)))


def shows(name: str, summary: str, tag: str, answer: type[msgspec.Struct]) -> dict[str, Any]:
    """An operation that answers one thing."""
    return _said(name, summary, tag, Told(answer))


def makes(
    name: str, summary: str, tag: str, answer: type[msgspec.Struct], body: type[msgspec.Struct]
) -> dict[str, Any]:
    """An operation that makes something new."""
    return _said(name, summary, tag, Told(answer, body, 201))


def edits(
    name: str, summary: str, tag: str, answer: type[msgspec.Struct], body: type[msgspec.Struct]
) -> dict[str, Any]:
    """An operation that edits something."""
    return _said(name, summary, tag, Told(answer, body, match=True))


def asks(name: str, summary: str, tag: str, answer: type[msgspec.Struct], body: type[msgspec.Struct]) -> dict[str, Any]:
    """A question that needs a body; it writes nothing."""
    return _said(name, summary, tag, Told(answer, body, writes=False))


def acts(
    name: str, summary: str, tag: str, answer: type[msgspec.Struct], body: type[msgspec.Struct] | None = None
) -> dict[str, Any]:
    """An operation that does something to what is there."""
    return _said(name, summary, tag, Told(answer, body))


def _said(name: str, summary: str, tag: str, told: Told) -> dict[str, Any]:
    return {"operation_id": name, "summary": summary, "tags": [tag], "openapi_extra": {TOLD: told}}
