"""The published schema of a call's body and the parser agree in both directions: what one refuses, the other does too.

What no schema can say is left out here: the sum of all token ids, the sizes in bytes, a model's unprintable characters.
And what ours does not say, because generated clients would not compile: an unknown field that is null is ignored.
"""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from router.errors import InvalidRequest, UnknownParameter
from router.request.body import MAX_INPUTS, RawBody, parse
from router.request.body_schema import body_schema
from router.request.preferences import RawPreferences

Json = dict[str, Any]

SCHEMA = body_schema()
[PREFERENCES, NULL] = SCHEMA["properties"]["provider"]["anyOf"]
VALIDATOR = Draft202012Validator(SCHEMA)
# Long arrays say nothing that short ones do not; tests/properties/test_parsing.py goes to the limits.
ITEMS_MAX, CHARACTERS_MAX, NUMBER_MAX = 5, 30, 10**6
PRINTABLE = st.characters(min_codepoint=0x20, max_codepoint=0x7E)


def valid(schema: Json) -> st.SearchStrategy[Any]:
    """Values that a schema allows, of the words that the body's schema uses; another word is a ``KeyError``."""
    for choice in ("anyOf", "oneOf"):
        if choice in schema:
            return st.one_of(*map(valid, schema[choice]))
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    strategies: dict[str, Callable[[], st.SearchStrategy[Any]]] = {
        "null": st.none,
        "boolean": st.booleans,
        "integer": lambda: st.integers(schema["minimum"], schema["maximum"]),
        "number": lambda: st.integers(schema["minimum"], NUMBER_MAX) | st.floats(0.001, NUMBER_MAX),
        "string": lambda: valid_text(schema),
        "array": lambda: st.lists(
            valid(schema["items"]),
            min_size=schema.get("minItems", 0),
            max_size=min(schema["maxItems"], ITEMS_MAX),
        ),
        "object": lambda: valid_object(schema),
    }
    return strategies[schema["type"]]()


def valid_text(schema: Json) -> st.SearchStrategy[str]:
    if "pattern" in schema:
        texts = st.from_regex(schema["pattern"], fullmatch=True, alphabet=PRINTABLE)
        return texts.filter(lambda text: len(text) <= schema.get("maxLength", CHARACTERS_MAX))
    return st.text(PRINTABLE, min_size=schema.get("minLength", 0), max_size=CHARACTERS_MAX)


def valid_object(schema: Json) -> st.SearchStrategy[Json]:
    assert schema["additionalProperties"] is False
    required = set(schema.get("required", ()))
    fields = {name: valid(field) for name, field in schema["properties"].items()}
    return st.fixed_dictionaries(
        {name: field for name, field in fields.items() if name in required},
        optional={name: field for name, field in fields.items() if name not in required},
    )


def is_parsed(body: Json) -> bool:
    try:
        parse(json.dumps(body).encode())
    except InvalidRequest:
        return False
    return True


def is_allowed(body: Json) -> bool:
    return VALIDATOR.is_valid(without_unknown_nulls(body, SCHEMA["properties"]))


def without_unknown_nulls(value: Json, known: Json) -> Json:
    kept = {name: item for name, item in value.items() if name in known or item is not None}
    if isinstance(kept.get("provider"), dict):
        kept["provider"] = without_unknown_nulls(kept["provider"], PREFERENCES["properties"])
    return kept


def test_the_schema_has_the_fields_that_the_parser_knows_and_no_others() -> None:
    known = {field.name for field in msgspec.structs.fields(RawBody)}
    assert set(SCHEMA["properties"]) == known - {"models"}
    assert set(PREFERENCES["properties"]) == {field.name for field in msgspec.structs.fields(RawPreferences)}
    Draft202012Validator.check_schema(SCHEMA)


def test_each_field_has_its_words() -> None:
    for properties in (SCHEMA["properties"], PREFERENCES["properties"]):
        assert all(field["description"].endswith(".") for field in properties.values())


@settings(max_examples=500, deadline=None)
@given(valid(SCHEMA))
def test_every_body_that_the_schema_allows_is_parsed(body: Json) -> None:
    VALIDATOR.validate(body)
    parse(json.dumps(body).encode())


# Values that some field takes, or one step beside them.
OTHERS: tuple[Any, ...] = (
    "float", "base64", "query", "document", "price", "latency", "throughput", "allow", "deny", False, 2**31 - 1, "5e1",
    "x" * 63, "x" * 256, "x" * 1_000, "x" * 1_001, ["x"] * 64, ["x" * 63], ["x"] * MAX_INPUTS, ["x"] * (MAX_INPUTS + 1),
    [[1]] * MAX_INPUTS, [[1]] * (MAX_INPUTS + 1), [2**31 - 1], "9" * 20, "9" * 21, "1." + "0" * 30, "1." + "0" * 31,
    f"{'9' * 20}.{'0' * 20}", "1e99", "1e100",
    None, True, 0, -1, 1, 1.5, -0.5, 2**31, "", "x", "é", "a b", "a\0", "batch", "0.02", "-1", "1e3", "x" * 64,
    "x" * 257, [], [""], ["a"], ["a", 1], [1], [-1], [1.5], [2**31], [None], [[]], [[1], []], [[1]], [[1], 2], [["a"]],
    ["x"] * 65, ["x" * 64], ["A.b-c_0"], ["-a"], {}, {"prompt": "0.02"}, {"prompt": 1}, {"prompt": None},
    {"prompt": "x"}, {"prompt": 1, "image": 1}, {"only": []},
)  # fmt: skip
FIELDS = [(name,) for name in SCHEMA["properties"]] + [("provider", name) for name in PREFERENCES["properties"]]


@pytest.mark.parametrize("path", FIELDS, ids=".".join)
def test_any_value_in_any_field_is_taken_by_both_or_by_none(path: tuple[str, ...]) -> None:
    for value in OTHERS:
        body = changed({"model": "m", "input": "x"}, path, value)
        assert is_allowed(body) == is_parsed(body), (path, value)


@settings(max_examples=500, deadline=None)
@given(valid(SCHEMA), st.sampled_from(FIELDS), st.sampled_from(OTHERS) | st.text(PRINTABLE, max_size=CHARACTERS_MAX))
@example({"model": "m", "input": "x", "provider": None}, ("provider", "only"), [])
def test_one_changed_field_is_judged_alike(body: Json, path: tuple[str, ...], value: object) -> None:
    body = changed(body, path, value)
    assert is_allowed(body) == is_parsed(body)


@pytest.mark.parametrize("body", [{"model": "m"}, {"input": "x"}, {}])
def test_a_body_without_a_field_that_is_required_is_refused_by_both(body: Json) -> None:
    assert not VALIDATOR.is_valid(body)
    assert not is_parsed(body)


@pytest.mark.parametrize(
    "fields",
    [{"modell": "m"}, {"provider": {"onyl": ["a"]}}, {"provider": {"max_price": {"prompt": "1", "image": "1"}}}],
    ids=str,
)
def test_an_unknown_field_is_refused_by_both(fields: Json) -> None:
    body = {"model": "m", "input": "x", **fields}
    assert not VALIDATOR.is_valid(body)
    with pytest.raises(UnknownParameter):
        parse(json.dumps(body).encode())


def changed(body: Json, path: tuple[str, ...], value: object) -> Json:
    """The body with another value at ``path``."""
    name, *rest = path
    inner = body.get(name)
    return {**body, name: changed(inner if isinstance(inner, dict) else {}, tuple(rest), value) if rest else value}
