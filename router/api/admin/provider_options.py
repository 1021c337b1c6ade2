"""Describes the options of each kind of provider to OpenAPI, as a union by ``kind``, and to the command line's help."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from providers.options import OPTIONS, option_lines, option_schemas
from providers.protocol import ProviderKind

Handler = TypeVar("Handler", bound=Callable[..., Awaitable[Any]])
Json = dict[str, Any]

COMPONENTS: Final = "#/components/schemas/"


def describe_options(schemas: Json) -> None:
    """Add each kind's options to the document's components, and say in providers' forms that the kind decides."""
    schemas |= option_schemas(COMPONENTS)
    for kind in ProviderKind:
        properties = {"kind": {"const": kind.value}, "options": {"$ref": COMPONENTS + OPTIONS[kind].__name__}}
        schemas[_of_kind(kind)] = {
            "type": "object",
            "description": f"A provider of kind {kind}.",
            "required": ["kind"],
            "properties": properties,
        }
    mapping = {kind.value: COMPONENTS + _of_kind(kind) for kind in ProviderKind}
    for form in ("ProviderCreate", "ProviderOut"):
        schemas[form]["oneOf"] = [{"$ref": reference} for reference in mapping.values()]
        schemas[form]["discriminator"] = {"propertyName": "kind", "mapping": mapping}
    references = [{"$ref": COMPONENTS + struct.__name__} for struct in OPTIONS.values()]
    # An edit does not name the kind: its options are those of the kind that the provider has.
    schemas["ProviderEdit"]["properties"]["options"]["anyOf"] = references


def tells_options(handler: Handler) -> Handler:
    """Add every option, with its type and what it does, to the operation's description."""
    handler.__doc__ = "\n\n".join([handler.__doc__ or "", "Options by kind:", *option_lines()])
    return handler


def _of_kind(kind: ProviderKind) -> str:
    return OPTIONS[kind].__name__.replace("Options", "Provider")
