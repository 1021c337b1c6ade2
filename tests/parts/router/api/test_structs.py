"""A domain value in an answer is written and described as the struct that it is."""

from typing import Annotated

import msgspec
from pydantic import TypeAdapter

from router.api.forms import Answer
from router.api.structs import StructValue


class Part(msgspec.Struct, frozen=True):
    """A part."""

    name: str
    took_ms: float
    place: int | None = None


class Whole(msgspec.Struct, frozen=True):
    """All of it."""

    parts: tuple[Part, ...]
    facts: dict[str, float | None]
    first: Part | None


class Around(Answer):
    """An answer with a struct."""

    whole: Annotated[Whole, StructValue()] | None


PART = Part("a", 0.125)
WHOLE = Whole((PART, Part("b", 1e-7, 2)), {"x": None, "y": 1.5}, None)


def test_it_is_written_as_msgspec_writes_it() -> None:
    assert TypeAdapter(Annotated[Whole, StructValue()]).dump_json(WHOLE) == msgspec.json.encode(WHOLE)
    assert Around(whole=WHOLE).model_dump_json().encode() == b'{"whole":%s}' % msgspec.json.encode(WHOLE)


def test_its_schema_has_every_field_and_the_structs_words() -> None:
    schema = Around.model_json_schema(mode="serialization")["$defs"]
    assert schema["Part"]["description"] == "A part."
    assert schema["Part"]["required"] == ["name", "took_ms", "place"]
    assert schema["Whole"]["properties"]["parts"]["items"] == {"$ref": "#/$defs/Part"}
    assert schema["Whole"]["properties"]["first"]["anyOf"] == [{"$ref": "#/$defs/Part"}, {"type": "null"}]
