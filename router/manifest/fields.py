"""Pure. Derives the manifest's fields from the structs that the commands take, so that a new field is written once.

A field has the struct's name and type, with two differences: an amount in nano-USD (``cost_nano_per_mtok``) is written
in USD (``cost_usd_per_mtok``, as text), a tuple of plain values is a list in which order
means nothing, and one of records a list in the order of the page.
"""

from collections.abc import Mapping
from functools import cache
from typing import Final, TypeVar, cast

import msgspec
from msgspec import inspect

from billing.money import from_usd, to_usd
from router.manifest import yaml_reader
from router.manifest.values import Fields
from router.manifest.yaml_reader import Reader

NANO: Final = "nano_per_mtok"
USD: Final = "usd_per_mtok"

Value = TypeVar("Value", bound=msgspec.Struct)

_PLAIN: Final[Mapping[type[inspect.Type], Reader]] = {
    inspect.BoolType: yaml_reader.boolean,
    inspect.IntType: yaml_reader.integer,
    inspect.StrType: yaml_reader.text,
    inspect.DateType: yaml_reader.day,
}


def readers_of(struct: type[msgspec.Struct]) -> dict[str, Reader]:
    """What reads each field of ``struct`` from the file, by the name that it has there."""
    return {_name(field): _amount(field) if _is_amount(field) else _reader(field.type) for field in _fields(struct)}


def fields_of(value: msgspec.Struct, struct: type[msgspec.Struct]) -> Fields:
    """What ``value`` has of the fields of ``struct``, as the file writes them."""
    return {_name(field): _written(getattr(value, field.name), field) for field in _fields(struct)}


def value_of(fields: Mapping[str, object], struct: type[Value]) -> Value:
    """The struct that the file's fields state. Raises ``msgspec.ValidationError``."""
    return msgspec.convert(_arguments(fields, struct), struct)


@cache
def _fields(struct: type[msgspec.Struct]) -> tuple[inspect.Field, ...]:
    return cast("inspect.StructType", inspect.type_info(struct)).fields


def _is_amount(field: inspect.Field) -> bool:
    return field.name.endswith(NANO)


def _name(field: inspect.Field) -> str:
    return field.name.removesuffix(NANO) + USD if _is_amount(field) else field.name


def _amount(field: inspect.Field) -> Reader:
    is_optional = isinstance(field.type, inspect.UnionType)
    return yaml_reader.optional(yaml_reader.usd) if is_optional else yaml_reader.usd


def _reader(kind: inspect.Type) -> Reader:
    if (plain := _PLAIN.get(type(kind))) is not None:
        return plain
    match kind:
        case inspect.UnionType():
            return yaml_reader.optional(_reader(_not_null(kind)))
        case inspect.EnumType():
            return yaml_reader.one_of(*(str(member.value) for member in kind.cls))
        case inspect.VarTupleType():
            is_record = isinstance(kind.item_type, inspect.StructType)
            return (yaml_reader.list_of if is_record else yaml_reader.set_of)(_reader(kind.item_type))
        case inspect.DictType():
            return yaml_reader.texts if isinstance(kind.value_type, inspect.StrType) else yaml_reader.options
        case inspect.StructType():
            needed = frozenset(_name(field) for field in kind.fields if field.required)
            read = yaml_reader.mapping(readers_of(kind.cls), needed)
            return _without_defaults(read, kind.cls) if kind.cls.__struct_config__.omit_defaults else read
        case _:
            raise TypeError(f"the manifest has no reader for {kind}; give it one here")


def _without_defaults(read: Reader, struct: type[msgspec.Struct]) -> Reader:
    """A reader of a record as the catalogue writes it: without what has its default."""
    return lambda node, path: msgspec.to_builtins(msgspec.convert(read(node, path), struct))


def _not_null(kind: inspect.Type) -> inspect.Type:
    """``X`` of ``X | None``; any other type is itself."""
    if not isinstance(kind, inspect.UnionType):
        return kind
    [inner] = (one for one in kind.types if not isinstance(one, inspect.NoneType))
    return inner


def _written(value: object, field: inspect.Field) -> object:
    if value is not None and _is_amount(field):
        return to_usd(cast("int", value))
    return sorted(value) if isinstance(value, tuple) else value


def _arguments(fields: Mapping[str, object], struct: type[msgspec.Struct]) -> Fields:
    """The file's fields by the struct's names, amounts in nano-USD."""
    by_name = {_name(field): field for field in _fields(struct)}
    return {by_name[name].name: _argument(value, by_name[name]) for name, value in fields.items()}


def _argument(value: object, field: inspect.Field) -> object:
    kind = _not_null(field.type)
    if isinstance(value, Mapping) and isinstance(kind, inspect.StructType):
        return _arguments(value, kind.cls)
    return from_usd(str(value)) if value is not None and _is_amount(field) else value
