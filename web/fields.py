"""Reads queries, forms and cookies: bounded, strict, and with a sentence for whatever cannot be read."""

import re
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from functools import cache
from typing import Any, TypeVar, get_args, get_origin
from urllib.parse import parse_qsl

import msgspec

from web.faults import InvalidInput, PageFault

T = TypeVar("T", bound=msgspec.Struct)
Pairs = tuple[tuple[str, str], ...]

QUERY_BYTES_MAX = 8 * 1024
FIELDS_MAX = 200
# Of the fields that there are, so many are named to who names another.
SHOWN_FIELDS_MAX = 20
COOKIE_BYTES_MAX = 8 * 1024


def read_pairs(data: bytes, what: str = "address") -> Pairs:
    """The fields of a query or an urlencoded form. Raises :class:`InvalidInput`."""
    try:
        pairs = parse_qsl(
            data.decode("ascii"), keep_blank_values=True, max_num_fields=FIELDS_MAX, encoding="utf-8", errors="strict"
        )
    except UnicodeDecodeError:
        raise InvalidInput(f"The {what} has characters that are no UTF-8.") from None
    except ValueError:
        raise InvalidInput(f"The {what} has more than {FIELDS_MAX} fields.") from None
    for name, value in pairs:
        if "\0" in name or "\0" in value:
            raise InvalidInput(f"The {what} has a NUL character.")
    # Browsers send line ends of text as CR LF.
    return tuple((name, value.replace("\r\n", "\n")) for name, value in pairs)


def too_large(data: bytes, bytes_max: int) -> PageFault:
    """The fault of a form that is larger than ``bytes_max``, with its longest field where it can be read."""
    try:
        name, value = max(read_pairs(data, "form"), key=lambda pair: len(pair[1]))
    except (InvalidInput, ValueError):
        longest = ""
    else:
        longest = f" Its longest field, {shown(name)}, has {len(value):,} characters."
    sentence = f"The form is larger than {bytes_max:,} bytes, and nothing was done.{longest}"
    return PageFault(
        413, "body_too_large", sentence, remedy="Go back, where what you typed still stands, and shorten it."
    )


def read_query(data: bytes) -> Pairs:
    """The fields of an address. Raises :class:`InvalidInput`."""
    if len(data) > QUERY_BYTES_MAX:
        raise InvalidInput(f"The address is longer than {QUERY_BYTES_MAX} bytes.")
    return read_pairs(data)


@cache
def _types_of(form: type[msgspec.Struct]) -> Mapping[str, Any]:
    """The types of a form's fields by name; reading them from annotations takes as long as the rest of a small page."""
    return {field.encode_name: field.type for field in msgspec.structs.fields(form)}


def struct_of(pairs: Pairs, form: type[T]) -> T:
    """The fields as ``form``, whose types and bounds say what is taken; a field of a tuple may come several times.

    An empty field is one that was not filled in. Raises :class:`InvalidInput`, which names the first field at fault.
    """
    fields = _types_of(form)
    values: dict[str, Any] = {}
    for name, value in pairs:
        if name not in fields:
            known = f" There are {', '.join(list(fields)[:SHOWN_FIELDS_MAX])}." if fields else ""
            raise InvalidInput(f"There is no field {shown(name)}.{known}", shown(name))
        if get_origin(fields[name]) is tuple:
            values.setdefault(name, [])
            values[name] += [value] if value else []
        elif name in values:
            raise InvalidInput(f"The field {name} is given twice.", name)
        elif value.strip():
            values[name] = value.strip() if "\n" not in value else value
    try:
        return msgspec.convert(values, form, strict=False)
    except msgspec.ValidationError as fault:
        raise _fault_of(fault, fields) from None


def _fault_of(fault: msgspec.ValidationError, fields: Mapping[str, Any]) -> InvalidInput:
    message, _, place = str(fault).partition(" - at `$.")
    name = place.rstrip("`").split("[")[0] or None
    if message.startswith("Object missing required field"):
        name = message.split("`")[1]
        return InvalidInput(f"The field {name} is missing.", name)
    if message.startswith("Invalid enum value"):
        choices = ", ".join(_choices(fields.get(name or "")))
        return InvalidInput(f"The field {name} has none of the values that it can have: {choices}.", name)
    return InvalidInput(f"The field {name} takes {_wanted(message)}.", name)


def _choices(kind: Any) -> Iterator[str]:  # noqa: ANN401 - a type
    """The texts that a field's type has to choose from."""
    if isinstance(kind, str) and kind:
        yield kind
    elif isinstance(kind, type) and issubclass(kind, Enum):
        yield from (str(one.value) for one in kind)
    for part in get_args(kind):
        yield from _choices(part)


# msgspec's words -> a person's.
WORDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "yes or no",
    "str": "a text",
    "date": "a day, as 2027-01-31",
    "datetime": "a time, as 2027-01-31T09:30:00Z",
}
_BOUND = re.compile(r"(?P<type>\w+)(?P<length> of length)? (?P<sign>[<>]=?) (?P<bound>\S+)")
_SIGNS = {">=": "at least", "<=": "at most", ">": "more than", "<": "less than"}


def _wanted(message: str) -> str:
    """What a field wants instead, of msgspec's sentence: ``Expected `int` >= 0`` -> ``a whole number, at least 0``."""
    wanted = message.replace("`", "").removeprefix("Expected ").partition(", got")[0].replace(" | null", "")
    if wanted.startswith("Invalid RFC3339"):
        return WORDS["date" if "date" in wanted and "datetime" not in wanted else "datetime"]
    bound = _BOUND.fullmatch(wanted)
    if bound is None:
        return WORDS.get(wanted, "a text of another form")
    number = f"{float(bound['bound']):,.16g}"
    unit = " characters" if bound["length"] else ""
    return f"{WORDS.get(bound['type'], 'a value')}, {_SIGNS[bound['sign']]} {number}{unit}"


def read_cookies(headers: Sequence[tuple[bytes, bytes]]) -> Mapping[str, str]:
    """The cookies of a request; one that comes twice with two values is nobody's, and is left out."""
    cookies: dict[str, str] = {}
    twice: set[str] = set()
    for name, value in headers:
        if name != b"cookie" or len(value) > COOKIE_BYTES_MAX:
            continue
        for part in value.decode("latin-1").split(";"):
            key, _, content = part.strip().partition("=")
            if key in cookies and cookies[key] != content:
                twice.add(key)
            cookies[key] = content
    return {key: content for key, content in cookies.items() if key not in twice}


def shown(text: str) -> str:
    """A short, printable excerpt of what came."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text[:60])
