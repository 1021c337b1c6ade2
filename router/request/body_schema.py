"""Builds the JSON schema of a call's body from the structs that its decoders fill. Pure.

Names, types and sizes are the structs' own (:mod:`router.request.body`, :mod:`router.request.preferences`). The tables
here add what the code behind the decoders checks, and each field's description: a field without its line is a
``KeyError``. A property test compares the schema with the parser, in both directions.
"""

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import msgspec

from router.request.body import MAX_INPUTS, MAX_INT32, MAX_MODEL_CHARACTERS, MAX_TOKENS, RawBody
from router.request.preferences import LITERAL_CHARACTERS_MAX, RawPreferences

Json: TypeAlias = dict[str, Any]

_REQUIRED: Final = ("model", "input")
_NULL: Final[Json] = {"type": "null"}

_TEXT: Final[Json] = {"type": "string", "minLength": 1}
_ID: Final[Json] = {"type": "integer", "minimum": 0, "maximum": MAX_INT32}


def _array(items: Json, most: int) -> Json:
    return {"type": "array", "items": items, "minItems": 1, "maxItems": most}


def _object_of(properties: Json) -> Json:
    return {"type": "object", "additionalProperties": False, "properties": properties}


_BODY: Final[Mapping[str, Json]] = {
    "model": {
        "description": "Id of a model, as GET /v1/models lists them.",
        "pattern": "^[^\\u0000-\\u001f\\u007f]+$",
        "maxLength": MAX_MODEL_CHARACTERS,
    },
    "input": {
        "description": f"What to embed: at most {MAX_INPUTS} inputs and {MAX_TOKENS} tokens in one request. Token ids "
        "are those of the model's own tokenizer.",
        "oneOf": [
            {"title": "one text", **_TEXT},
            {"title": "texts", **_array(_TEXT, MAX_INPUTS)},
            {"title": "token ids of one input", **_array(_ID, MAX_TOKENS)},
            {"title": "token ids", **_array(_array(_ID, MAX_TOKENS), MAX_INPUTS)},
        ],
    },
    "encoding_format": {
        "description": "base64 is little-endian float32.",
        "enum": ["float", "base64"],
        "default": "float",
    },
    "dimensions": {
        "description": "Fewer dimensions, on models that were trained for it: truncated, then renormalized.",
        "minimum": 1,
        "maximum": MAX_INT32,
    },
    "input_type": {
        "description": "Puts the model's own prompt for queries or documents before each input.",
        "enum": ["query", "document"],
    },
    "user": {"description": "Taken for compatibility; not stored.", "pattern": "^[^\\u0000]*$"},
}

_PRICE: Final[list[Json]] = [
    {
        "type": "string",
        "pattern": r"^[0-9]{1,20}(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,2})?$",
        "maxLength": LITERAL_CHARACTERS_MAX,
    },
    {"type": "number", "minimum": 0},
]

_PREFERENCES: Final[Mapping[str, Json]] = {
    "order": {"description": "Providers to try first, in this order."},
    "only": {"description": "No other providers than these.", "minItems": 1},
    "ignore": {"description": "Not these providers."},
    "sort": {"description": "Orders the endpoints by this, instead of by our own score."},
    "max_price": {
        "description": 'USD per 1M tokens, as in "0.02", 0.02 or {"prompt": "0.02"}.',
        "anyOf": [*_PRICE, {**_object_of({"prompt": {"anyOf": _PRICE}}), "required": ["prompt"]}, _NULL],
    },
    "allow_fallbacks": {
        "description": "false: with order no other providers, without it the first choice alone.",
        "default": True,
    },
    "data_collection": {
        "description": "deny: no provider that may use inputs for more than the answer.",
        "default": "allow",
    },
    "zero_retention": {"description": "true: no provider that keeps inputs.", "default": False},
    "quantizations": {"description": "Classes of numerics, as in bf16.", "minItems": 1},
    "regions": {"description": "Where the call may be processed.", "minItems": 1},
    "space": {"description": "The vector space that is expected; 400 if the model's is another."},
    "hedge": {"description": "A second attempt beside a slow first one.", "default": False},
}


def body_schema() -> Json:
    """The schema of a body of ``POST /v1/embeddings``.

    It leaves out ``models``, which the parser knows only in order to refuse it with a reason.
    """
    provider = {
        "description": "What the call asks of its route. Who does not meet it is left out.",
        "anyOf": [_object_of(_properties(RawPreferences, _PREFERENCES)), _NULL],
    }
    properties = _properties(RawBody, {**_BODY, "provider": provider, "models": {}})
    del properties["models"]
    return {**_object_of(properties), "required": list(_REQUIRED)}


def _properties(struct: type[msgspec.Struct], facts: Mapping[str, Json]) -> Json:
    """The schema of each field of a struct: its type's, and its facts, which are not those of null."""
    properties: Json = {}
    for field in msgspec.structs.fields(struct):
        derived, described = msgspec.json.schema(field.type), dict(facts[field.name])
        text = {"description": described.pop("description", "")}
        if "anyOf" not in derived:
            properties[field.name] = text | derived | described
        elif field.name in _REQUIRED:
            # The decoder takes null for an absent field, and the parser then demands these.
            properties[field.name] = text | derived["anyOf"][0] | described
        else:
            properties[field.name] = text | {"anyOf": [derived["anyOf"][0] | described, _NULL]}
    return properties
