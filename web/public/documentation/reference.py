"""Renders the API reference from the OpenAPI document that ``/openapi.json`` serves: there is no second description."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, ClassVar

import msgspec

from router.api.documents import document
from web.answers import Crumb, Page
from web.faults import NotFound
from web.public.documentation.index import DOCS
from web.request import PageRequest

DEPTH_MAX = 3


class Field(msgspec.Struct, frozen=True):
    """A parameter, or a field of a body or an answer; ``name`` has its path in the body."""

    name: str
    type: str
    about: str = ""
    is_required: bool = False
    place: str = ""


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One operation."""

    id: str
    tag: str
    method: str
    path: str
    summary: str
    about: str = ""
    parameters: tuple[Field, ...] = ()
    body: tuple[Field, ...] = ()
    answer: tuple[Field, ...] = ()
    statuses: tuple[str, ...] = ()


class Tag(msgspec.Struct, frozen=True):
    """Operations about one thing."""

    name: str
    operations: tuple[Operation, ...]


class ReferencePage(Page, frozen=True, kw_only=True):
    """The list of all operations."""

    template: ClassVar[str] = "public/documentation/reference.html"

    tags: tuple[Tag, ...]


class OperationPage(Page, frozen=True, kw_only=True):
    """One operation with its fields."""

    template: ClassVar[str] = "public/documentation/operation.html"

    operation: Operation


async def show(request: PageRequest) -> ReferencePage:
    """All operations."""
    del request
    known = operations()
    names = dict.fromkeys(one.tag for one in known.values())
    return ReferencePage(
        title="API reference",
        description="Every operation of the API.",
        canonical="/docs/api",
        crumbs=(DOCS, Crumb("API reference")),
        tags=tuple(Tag(name, tuple(one for one in known.values() if one.tag == name)) for name in names),
    )


async def show_operation(request: PageRequest) -> OperationPage:
    """One operation. Raises ``NotFound``."""
    operation = operations().get(request.values["operation"])
    if operation is None:
        raise NotFound
    return OperationPage(
        title=operation.summary,
        description=operation.about,
        canonical=f"/docs/api/{operation.id}",
        crumbs=(DOCS, Crumb("API reference", "/docs/api"), Crumb(operation.summary)),
        operation=operation,
    )


@cache
def operations() -> Mapping[str, Operation]:
    """All operations by their ids."""
    described = document()
    schemas: Mapping[str, Any] = described["components"]["schemas"]
    found = {}
    for path, methods in described["paths"].items():
        for method, facts in methods.items():
            operation = _operation(path, method, facts, schemas)
            found[operation.id] = operation
    return found


def _operation(path: str, method: str, facts: Mapping[str, Any], schemas: Mapping[str, Any]) -> Operation:
    good: Mapping[str, Any] = next(
        (answer for status, answer in facts["responses"].items() if status.startswith("2")), {}
    )
    return Operation(
        id=facts["operationId"],
        tag=facts["tags"][0],
        method=method.upper(),
        path=path,
        summary=facts["summary"],
        about=facts.get("description", ""),
        parameters=tuple(
            Field(
                one["name"],
                type_of(one.get("schema", {}), schemas),
                one.get("description", ""),
                one.get("required", False),
                one["in"],
            )
            for one in facts.get("parameters", ())
        ),
        body=tuple(_fields(_schema(facts.get("requestBody", {})), schemas)),
        answer=tuple(_fields(_schema(good), schemas)),
        statuses=tuple(facts["responses"]),
    )


def _schema(holder: Mapping[str, Any]) -> Mapping[str, Any]:
    content: Mapping[str, Any] = holder.get("content", {})
    schema: Mapping[str, Any] = content.get("application/json", {}).get("schema", {})
    return schema


def _fields(schema: Mapping[str, Any], schemas: Mapping[str, Any], before: str = "", depth: int = 0) -> Iterator[Field]:
    """The fields of an object, those of objects in it below them."""
    known = _resolved(schema, schemas)
    required = known.get("required", ())
    for name, inner in known.get("properties", {}).items():
        text = inner.get("description") or _resolved(inner, schemas).get("description", "")
        yield Field(before + name, type_of(inner, schemas), text, name in required)
        if depth < DEPTH_MAX:
            within = _resolved(inner, schemas)
            if within.get("type") == "array":
                yield from _fields(within.get("items", {}), schemas, f"{before}{name}[].", depth + 1)
            else:
                yield from _fields(inner, schemas, f"{before}{name}.", depth + 1)


def _resolved(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema behind a reference; of alternatives the first that is no null."""
    if "$ref" in schema:
        return _resolved(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    for choice in (*schema.get("anyOf", ()), *schema.get("allOf", ()), *schema.get("oneOf", ())):
        if choice.get("type") != "null":
            return _resolved(choice, schemas)
    return schema


def type_of(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    """A schema's type in words: ``text or null``, ``list of whole number``, ``one of a, b``."""
    if "$ref" in schema:
        return type_of(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    choices = [*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())]
    if choices:
        return " or ".join(dict.fromkeys(type_of(one, schemas) for one in choices))
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    if "const" in schema:
        return str(schema["const"])
    kind = schema.get("type", "anything")
    if kind == "array":
        return f"list of {type_of(schema.get('items', {}), schemas)}"
    return WORDS.get(kind, str(kind))


WORDS = {"string": "text", "integer": "whole number", "boolean": "true or false", "null": "null"}
