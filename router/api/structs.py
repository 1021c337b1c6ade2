"""Gives Pydantic the type of a domain value, a ``msgspec.Struct``, so that an answer is one or has one as a field.

``Annotated[RequestOut, StructValue()]`` is validated by its class and written field by field, all of them, under the
names and docstrings of the struct: the struct stays the one declaration of its shape.
"""

from functools import reduce
from operator import or_
from types import UnionType
from typing import Annotated, Union, get_args, get_origin, get_type_hints

import msgspec
from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema


class StructValue:
    """The mark of a struct in an annotation."""

    def __get_pydantic_core_schema__(self, source: type[msgspec.Struct], handler: GetCoreSchemaHandler) -> CoreSchema:
        """The schema of a dataclass with the struct's fields, those of its bases included."""
        fields = [
            core_schema.dataclass_field(name, handler.generate_schema(_marked(hint)))
            for name, hint in get_type_hints(source, include_extras=True).items()
            if name in source.__struct_fields__
        ]
        return core_schema.dataclass_schema(
            source,
            core_schema.dataclass_args_schema(source.__name__, fields),
            list(source.__struct_fields__),
            ref=f"{source.__module__}.{source.__qualname__}",
            serialization=core_schema.plain_serializer_function_ser_schema(msgspec.to_builtins),
        )


def _marked(hint: object) -> object:
    """The annotation of a field with every struct in it marked."""
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return Annotated[hint, StructValue()]
    origin, arguments = get_origin(hint), tuple(map(_marked, get_args(hint)))
    if origin in (Union, UnionType):
        return reduce(or_, arguments)
    return origin[arguments] if origin in (tuple, list, dict) else hint
