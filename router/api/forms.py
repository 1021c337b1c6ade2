"""Base models of what operations take and answer, and the one way between them and the values inside.

- :class:`Body` is what is made; :class:`Patch` has the fields that another form has, each left out where it stays.
- :class:`PageQuery` is the query of a list; a subclass adds its filters.
- :class:`Resource` is a thing as it is answered, with an ETag; :class:`Answer` anything else; :class:`Page` a list.

Facts that may be set stand once, in a form that ``XCreate(XFacts, Body)``, ``XEdit(XFacts, Patch)`` and
``XOut(XFacts, Resource)`` inherit. :func:`struct_of`, :func:`edited` and :func:`answer_of` carry fields between a form
and a domain value by their names. One rule: an amount is ``…usd…`` and text outside, ``…nano…`` and an integer inside.
"""

import base64
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from types import MappingProxyType
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar
from uuid import UUID

import msgspec
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    ValidationError,
    ValidatorFunctionWrapHandler,
)
from pydantic.warnings import UnsupportedFieldAttributeWarning
from pydantic_core import CoreSchema, PydanticCustomError, PydanticUndefined, core_schema
from typing_extensions import override

from router.api.fields import PAGE, PageLimit
from router.errors import InvalidRequest
from store.ids import PREFIXES, parse

T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)
F = TypeVar("F", bound="Form")

# FastAPI names the fields that it makes of a form's type, and silences this where it compiles them; a form of ours is
# compiled later, when its first request comes.
warnings.filterwarnings("ignore", category=UnsupportedFieldAttributeWarning)

# So many faults of one body are told; a body with more is another thing altogether.
FAULTS_MAX = 100


class Form(BaseModel):
    """Fields of a body, or of a part of one: strict, and no others than these."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)

    def given(self) -> dict[str, Any]:
        """The fields that came, null among them."""
        return {name: getattr(self, name) for name in type(self).model_fields if name in self.model_fields_set}


class Body(Form):
    """A whole body, read from its bytes.

    Pydantic's JSON mode is strict of types, and takes text for what JSON has no type for.
    """

    @classmethod
    @override
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema = handler(source)
        if schema["type"] == "json-or-python":  # a class that is complete gives its own
            return schema

        def read(value: object, validate: ValidatorFunctionWrapHandler) -> object:
            if not isinstance(value, bytes):
                return validate(value)
            try:
                return cls.model_validate_json(value)
            except ValidationError as problem:
                if problem.error_count() <= FAULTS_MAX:
                    raise
                # To list 200,000 faults was measured to take 2.4 s, in which nobody else is served.
                raise PydanticCustomError("too_many_faults", "too many faults") from None

        python = core_schema.no_info_wrap_validator_function(read, schema)
        return core_schema.json_or_python_schema(json_schema=schema, python_schema=python)


class Nothing(Body):
    """No body, or an empty object."""


class Reason(Body):
    """Why, for whoever looks next."""

    reason: str = Field("", max_length=2000, description="Why, for whoever looks next.")


class Patch(Body):
    """What is given is changed, and all else stays: :meth:`given` tells the two apart."""

    @classmethod
    @override
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        for field in cls.model_fields.values():
            field.default, field.default_factory = PydanticUndefined, _left_out


def _left_out() -> None:
    """Stands for a field that did not come; never read, because :meth:`Form.given` leaves it out."""


class PageQuery(BaseModel):
    """Which part of a list is asked for: at most ``limit`` things after where ``cursor`` points."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    limit: PageLimit = Field(PAGE, description="The most that one page has.")
    cursor: str | None = Field(None, description="The next_cursor of the page before.")

    def after(self) -> str | None:
        """The sort key of the last thing of the page before. Raises ``InvalidRequest``."""
        return None if self.cursor is None else opened(self.cursor)

    def after_id(self, kind: object) -> UUID | None:
        """The same, where things are sorted by their ids. Raises ``InvalidRequest``."""
        key = self.after()
        try:
            if key is not None and not key.startswith(f"{PREFIXES[kind]}_"):
                raise ValueError(key)
            return None if key is None else parse(kind, key)
        except ValueError:
            raise _not_a_cursor() from None

    def cut(self, rows: Sequence[T], key: Callable[[T], str]) -> list[T]:
        """Of a short list that is in memory, the part that is asked for and one more, in the order of ``key``."""
        after = self.after()
        ordered = sorted(rows, key=key)
        return [row for row in ordered if after is None or key(row) > after][: self.limit + 1]


def closed(key: str) -> str:
    """The cursor that points behind ``key``."""
    return base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


def opened(cursor: str) -> str:
    """The key that a cursor points behind. Raises ``InvalidRequest``."""
    try:
        key = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except ValueError:
        key = "\0"
    if "\0" in key or not key:
        raise _not_a_cursor()
    return key


def _not_a_cursor() -> InvalidRequest:
    return InvalidRequest("'cursor' is the next_cursor of the page before.", param="cursor")


class Answer(Form):
    """What an operation answers. All of its fields are always there."""

    model_config = ConfigDict(
        json_schema_serialization_defaults_required=True,
        serialize_by_alias=True,
        # A later version may answer more: whoever reads by the document must not refuse that.
        json_schema_extra=lambda schema: schema.pop("additionalProperties", None),
    )

    # The fields that a table of a list shows to a person.
    columns: ClassVar[tuple[str, ...]] = ()
    # Fields with what is shown in this answer alone, and in its replays; it is stored encrypted.
    once: ClassVar[frozenset[str]] = frozenset()

    def storable(self) -> Self:
        """The same without what is shown once."""
        return self.model_copy(update=dict.fromkeys(self.once)) if self.once else self

    def secrets(self) -> dict[str, Any]:
        """What is shown once, as JSON values by field; empty in every other answer."""
        shown = self.model_dump(mode="json", include=set(self.once)) if self.once else {}
        return {name: value for name, value in shown.items() if value is not None}

    def replays_until(self) -> datetime | None:
        """Until when a repeated request has to get this answer again, where that may be longer than usual."""
        return None


class Resource(Answer):
    """A thing as the API shows it. Its version is its content, without what is ``volatile``: changes by itself."""

    volatile: ClassVar[frozenset[str]] = frozenset()
    # Of a list's things, fields that change by themselves, by the list's name.
    volatile_inside: ClassVar[Mapping[str, frozenset[str]]] = MappingProxyType({})

    def etag(self) -> str:
        """A strong entity tag: the same for the same content, in every process."""
        inside = {name: {"__all__": set(fields)} for name, fields in self.volatile_inside.items()}
        facts = self.model_dump(mode="json", exclude={**dict.fromkeys(self.volatile | self.once, True), **inside})
        return f'"{sha256(msgspec.json.encode(facts, order="sorted")).hexdigest()[:32]}"'


A = TypeVar("A", bound=Answer)


class Page(Answer, Generic[A]):
    """Part of a list; ``next_cursor`` asks for the rest."""

    data: list[A]
    has_more: bool = False
    next_cursor: str | None = None
    object: Literal["list"] = "list"


def struct_of(kind: type[S], form: BaseModel, /, **more: object) -> S:
    """A new domain value from those fields of a form that it has, and ``more``."""
    return kind(**{**_inside(kind, {name: getattr(form, name) for name in type(form).model_fields}), **more})


def edited(value: S, edit: Form, /, **more: object) -> S:
    """A domain value with those fields changed that came, and ``more``."""
    return msgspec.structs.replace(value, **{**_inside(type(value), edit.given()), **more})


def answer_of(kind: type[F], value: object, /, **more: object) -> F:
    """An answer, or a part of one, from the fields of a domain value, and ``more``, which go first."""
    found = {name: _outside(value, name) for name in kind.model_fields if name not in more and _has(value, name)}
    return kind(**found, **more)


def _inside(kind: type[msgspec.Struct], fields: dict[str, Any]) -> dict[str, Any]:
    named = {name.replace("usd", "nano"): value for name, value in fields.items()}
    return {name: value for name, value in named.items() if name in kind.__struct_fields__}


def _has(value: object, name: str) -> bool:
    return hasattr(value, name) or hasattr(value, name.replace("usd", "nano"))


def _outside(value: object, name: str) -> object:
    return getattr(value, name) if hasattr(value, name) else getattr(value, name.replace("usd", "nano"))
