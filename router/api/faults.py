"""Tells what a request got wrong, all of it at once: Pydantic's faults as sentences, and never a word of the input.

The only words of the caller's in a sentence are names of fields, cut and printable.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from router.errors import InvalidRequest, NotFound, Refusal, UnknownParameter
from router.request.body import printable_excerpt
from router.request.unreadable import WIDE_BODY, first_text_fault, is_wide, place_of_fault

_decode = msgspec.json.Decoder(msgspec.Raw).decode
NUL = "\0"
# So long may all sentences together be; the rest is counted.
MESSAGE_CHARACTERS_MAX = 320
TOO_MANY = "The body is wrong in more than a hundred places. GET /admin/openapi.json describes it."
NOT_JSON = "The body is not a JSON object. GET /admin/openapi.json describes it."

# Pydantic's type of a fault -> what is expected instead, in a person's words; braces are the fault's own facts.
_LIST, _OBJECT, _WHOLE, _DAY = "a list", "an object", "a whole number", "a day, such as 2027-01-31"
_EXPECTED = {
    "string_type": "text",
    "string_too_short": "text of at least {min_length} characters",
    "string_too_long": "text of at most {max_length} characters",
    "string_pattern_mismatch": "text of another form",
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_parsing_size": _WHOLE,
    "int_from_float": _WHOLE,
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "float_type": "a number",
    "list_type": _LIST,
    "tuple_type": _LIST,
    "set_type": _LIST,
    "frozen_set_type": _LIST,
    "too_long": "a list of at most {max_length}",
    "too_short": "a list of at least {min_length}",
    "dict_type": _OBJECT,
    "model_type": _OBJECT,
    "date_type": _DAY,
    "date_parsing": _DAY,
    "date_from_datetime_parsing": _DAY,
    "date_from_datetime_inexact": _DAY,
    "greater_than_equal": "at least {ge}",
    "greater_than": "more than {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "less than {lt}",
    "enum": "one of {expected}",
    "literal_error": "one of {expected}",
    # Of router.api.fields.
    "expected": "{expected}",
}
_QUOTED = re.compile("'([^']*)'")


class Fault(msgspec.Struct, frozen=True):
    """One thing that is wrong: the field, None where it is the body as a whole, and a sentence.

    ``is_missing``: it is in the path, and there can be no such thing. ``is_unknown``: there is no such field.
    """

    param: str | None
    message: str
    is_unknown: bool = False
    is_missing: bool = False


def refusal(errors: Iterable[Mapping[str, Any]], further: Sequence[Fault] = ()) -> Refusal:
    """What is answered to Pydantic's ``errors``, whose ``loc`` starts with where: body, query, path or header.

    ``further`` are faults that no type finds. ``NotFound`` where an id in the path cannot be one, ``UnknownParameter``
    where a field is not known, else ``InvalidRequest``; ``param`` is the first field at fault, ``details.faults`` are
    all of them.
    """
    faults = [*further, *map(_fault, errors)]
    # What is missing comes first, then unknown fields: a name that is misspelt is missing, too.
    ordered = sorted(dict.fromkeys(faults), key=lambda fault: (not fault.is_missing, not fault.is_unknown))
    first, *others = ordered
    message = first.message
    for place, fault in enumerate(others):
        if len(message) + len(fault.message) > MESSAGE_CHARACTERS_MAX:
            message += f" And {len(others) - place} more."
            break
        message += f" {fault.message}"
    details: dict[str, object] = {}
    if len(ordered) > 1:
        details["faults"] = [{"param": fault.param, "message": fault.message} for fault in ordered[:50]]
    kind = NotFound if first.is_missing else UnknownParameter if first.is_unknown else InvalidRequest
    return kind(message, param=first.param, details=details)


def faults_of(errors: Iterable[Mapping[str, Any]]) -> list[Fault]:
    """Pydantic's ``errors`` as sentences, unknown fields first; see :func:`refusal`."""
    return sorted(dict.fromkeys(map(_fault, errors)), key=lambda fault: not fault.is_unknown)


def json_fault(body: bytes) -> Fault | None:
    """Why a body cannot be read, where it cannot: by a text's fault, or the encoding's."""
    # Pydantic's own reader takes NaN and Infinity, which are no JSON and which PostgreSQL does not keep.
    try:
        _decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        if is_wide(body):
            return Fault(None, WIDE_BODY)
        fault = first_text_fault(body, _decode)
        if fault is None:
            return Fault(None, NOT_JSON + place_of_fault(body, _decode))
        return Fault(None, f"The body cannot be read: a text has {fault.what}")
    return None


def query_faults(given: Sequence[tuple[str, str]], known: Mapping[str, bool]) -> list[Fault]:
    """What is wrong with query parameters that are not known, come twice or have a NUL character.

    ``known`` says of each whether it is a list, which may come several times.
    """
    faults: list[Fault] = []
    names: set[str] = set()
    for name, value in given:
        if name not in known:
            excerpt = printable_excerpt(name)
            faults.append(Fault(excerpt, f"Unrecognized query parameter: {excerpt}.", is_unknown=True))
        elif (name in names and not known[name]) or NUL in value:
            faults.append(Fault(name, f"'{name}' is given once, as text."))
        names.add(name)
    return faults


def _fault(error: Mapping[str, Any]) -> Fault:
    where, *path = error["loc"]
    if where == "path":
        what = str(path[-1]).removesuffix("_id")
        return Fault(what, f"There is no such {what}: it is {_expected(error)}.", is_missing=True)
    # A query says a list by repeating its name, or with commas: its items have no other one.
    name = _name(path if where != "query" else path[:1])
    match error["type"]:
        case "extra_forbidden":
            name = printable_excerpt(str(path[-1]))
            what = "query parameter" if where == "query" else "request argument supplied"
            return Fault(name, f"Unrecognized {what}: {name}.", is_unknown=True)
        case "missing":
            return Fault(name, f"'{name}' is missing.")
        case "too_many_faults":
            return Fault(None, TOO_MANY)
        case _ if not name:
            return Fault(None, NOT_JSON)
        case _:
            return Fault(name, f"'{name}' is {_expected(error)}.")


def _expected(error: Mapping[str, Any]) -> str:
    facts = dict(error.get("ctx") or {})
    if error["type"] in ("enum", "literal_error"):
        facts["expected"] = ", ".join(_QUOTED.findall(str(facts.get("expected", ""))))
    try:
        return _EXPECTED[error["type"]].format_map(facts)
    except KeyError:
        return "not what GET /admin/openapi.json says that it may be"


def _name(path: Sequence[str | int]) -> str:
    """``cap.amount_usd``, ``regions[0]``; a key of a map is the caller's own word."""
    name = ""
    for part in path:
        name += f"[{part}]" if isinstance(part, int) else f".{printable_excerpt(part)}"
    return name.removeprefix(".")
