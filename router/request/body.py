"""Parses the body of a call: bytes in, :class:`router.values.EmbedRequest` or an InvalidRequest out. Pure.

It is one strict typed decoder, in two bites. The first takes the object apart and leaves ``input`` as raw bytes, which
allocates nothing whatever the size; the first characters of ``input`` say which of OpenAI's four forms it is, the
cheap counts say whether it can be within the limits, and only then does the second bite build Python values. So no
body within :data:`MAX_BODY_BYTES` holds the event loop for long: a million one-token arrays cost 340 ms to build and
10 ms to refuse. Nothing of the body but the name of an unknown field or a bad choice is ever echoed, and that cut.
"""

import re
from typing import Annotated, Literal, NoReturn, cast

import msgspec

from router.errors import BodyTooLarge, InputEmpty, InvalidRequest, TooManyInputs, TooManyTokens, UnknownParameter
from router.request.nulls import without_unknown_nulls
from router.request.other_names import hint_for_field, hint_for_input_type
from router.request.preferences import MODELS_REFUSED, parse_preferences
from router.request.unreadable import WIDE_BODY, first_text_fault, is_wide, place_of_fault
from router.values import NO_PREFERENCES, EmbedRequest

# OpenAI's own limits for one request.
MAX_INPUTS = 2_048
MAX_TOKENS = 300_000
# 300,000 token ids of seven digits are 2.4 MB, 300,000 tokens of prose about 1.5 MB; the costliest refusal of a body
# of this size takes about 20 ms (tests/properties/test_parsing.py).
MAX_BODY_BYTES = 4 * 1024 * 1024
# So many short strings are built in 3 ms; more of them are counted before they are built.
DECODE_STRINGS = 50_000
MAX_MODEL_CHARACTERS = 256
ECHO_CHARACTERS = 64

# So large may a body be without its input and its provider object for its fields to be looked at one by one.
FIELDS_BYTES_MAX = 64 * 1024

MAX_INT32 = 2**31 - 1

TokenIdNumber = Annotated[int, msgspec.Meta(ge=0, le=MAX_INT32)]

_ABSENT = msgspec.Raw(b"")


class RawBody(msgspec.Struct, forbid_unknown_fields=True):
    """The object as it came; ``null`` stands for "not given", as OpenAI's clients in other languages send it."""

    model: str | None = None
    input: msgspec.Raw = _ABSENT
    encoding_format: str | None = None
    dimensions: int | None = None
    input_type: str | None = None
    user: str | None = None
    provider: msgspec.Raw = _ABSENT
    models: msgspec.Raw = _ABSENT


class _BulkyFields(msgspec.Struct):
    """The fields that may be large, of a body with whatever else."""

    input: msgspec.Raw = _ABSENT
    provider: msgspec.Raw = _ABSENT


_decode_body = msgspec.json.Decoder(RawBody).decode
_decode_bulky_fields = msgspec.json.Decoder(_BulkyFields).decode
_decode_text = msgspec.json.Decoder(str).decode
_decode_texts = msgspec.json.Decoder(list[str]).decode
_decode_ids = msgspec.json.Decoder(list[TokenIdNumber]).decode
_decode_id_lists = msgspec.json.Decoder(list[list[TokenIdNumber]]).decode

_FIELD_AT_FAULT = re.compile(r"`\$\.(\w+)")
_INPUT_AT_FAULT = re.compile(r"`\$((?:\[\d+\])+)`")
_TYPE_AT_FAULT = re.compile(r"got `(\w+)`")
_UNKNOWN_FIELD = re.compile(r"unknown field `(.*)`", re.DOTALL)
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")

NOT_JSON = (
    "We could not parse the JSON body of your request: it must be one JSON object in UTF-8, without NaN or Infinity, "
    'such as {"model": "org/name", "input": "text"}.'
)
INPUT_FORMS = (
    "'$.input' is invalid. Please check the API reference: it must be a string, an array of strings, an array of "
    "token ids, or an array of arrays of token ids, never mixed."
)
TOKEN_ID_RANGE = (
    f"'$.input' is invalid. Please check the API reference: a token id is a whole number from 0 to {MAX_INT32}."
)
INPUT_EMPTY = "'$.input' is invalid. Please check the API reference: an input cannot be an empty string or array."
# Stands in a text that is cut off; Unicode keeps it free for programs.
_CUT = "\ufdd0"
# The decoder's names of types, in a person's words.
_TYPE_NAMES = {
    "str": "text",
    "int": "a number",
    "float": "a number with a fraction",
    "bool": "true or false",
    "null": "null",
    "array": "an array",
    "object": "an object",
}
TOO_MANY_INPUTS = (
    f"'$.input' is invalid. Please check the API reference: the array length must be {MAX_INPUTS} or less. "
    "Send the rest in further requests."
)


def parse(body: bytes) -> EmbedRequest:
    """The request of one call. Raises :class:`router.errors.InvalidRequest` and its children, nothing else."""
    if len(body) > MAX_BODY_BYTES:
        raise BodyTooLarge(f"The body is larger than {MAX_BODY_BYTES} bytes. Send fewer inputs per request.")
    try:
        try:
            fields = _decode_body(body)
        except msgspec.ValidationError as problem:
            fields = _decode_known(body, problem)
        model = fields.model
        if not model:
            raise InvalidRequest("you must provide a model parameter", param="model")
        if len(model) > MAX_MODEL_CHARACTERS or not model.isprintable():
            raise InvalidRequest("'model' must be the id of a model, as GET /v1/models lists them.", param="model")
        if fields.models is not _ABSENT and bytes(fields.models) != b"null":
            raise InvalidRequest(MODELS_REFUSED, param="models")
        preferences = NO_PREFERENCES if fields.provider is _ABSENT else parse_preferences(bytes(fields.provider))
        texts, token_ids = _parse_input(fields.input)
    except msgspec.ValidationError as problem:
        _refuse(str(problem))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _unreadable(body) from None
    return EmbedRequest(
        model=model,
        texts=texts,
        token_ids=token_ids,
        encoding_format=_encoding_format(fields.encoding_format),
        dimensions=_dimensions(fields.dimensions),
        input_type=_input_type(fields.input_type),
        user=_user(fields.user),
        preferences=preferences,
    )


def _decode_known(body: bytes, problem: msgspec.ValidationError) -> RawBody:
    """The fields of a body without those that are unknown and null. Raises ``problem`` where it is another."""
    if _UNKNOWN_FIELD.search(str(problem)) is None:
        raise problem
    bulky = _decode_bulky_fields(body)
    if len(body) - len(bytes(bulky.input)) - len(bytes(bulky.provider)) > FIELDS_BYTES_MAX:
        raise problem
    return _decode_body(without_unknown_nulls(body, RawBody.__struct_fields__))


def _parse_input(raw: msgspec.Raw) -> tuple[list[str] | None, list[list[int]] | None]:
    """The texts or the token ids: exactly one is not None."""
    value = bytes(raw)
    first = value[:1]
    if first == b'"':
        text = _decode_text(value)
        if not text:
            raise InputEmpty(INPUT_EMPTY, param="input")
        return [text], None
    if first != b"[":
        if not value or value == b"null":
            raise InvalidRequest("you must provide an input parameter", param="input")
        raise InvalidRequest(INPUT_FORMS, param="input")
    second = value[1:].lstrip(b" \t\r\n")[:1] if value[1:2] in b" \t\r\n" else value[1:2]
    if second == b'"':
        return _parse_texts(value), None
    if second == b"[":
        return None, _parse_id_lists(value)
    if second == b"]":
        raise InputEmpty(INPUT_EMPTY, param="input")
    if second not in b"-0123456789":
        raise _invalid_input(INPUT_FORMS, "[0]")
    return None, [_parse_ids(value)]


def _parse_texts(value: bytes) -> list[str]:
    if value.count(b'"') > 2 * DECODE_STRINGS and _count_strings(value) > MAX_INPUTS:
        raise TooManyInputs(TOO_MANY_INPUTS, param="input")
    texts = _decode_texts(value)
    if len(texts) > MAX_INPUTS:
        raise TooManyInputs(TOO_MANY_INPUTS, param="input")
    if "" in texts:
        raise _empty_input(texts.index(""))
    return texts


def _count_strings(value: bytes) -> int:
    """How many strings stand in this JSON text, found without building any: half of its unescaped quotes.

    A quote belongs to a string's text after an odd number of backslashes. Replacing pairs from the left is how JSON
    reads them, and what is left of a run is one backslash or none.
    """
    single = value.replace(b"\\\\", b"..")
    return (single.count(b'"') - single.count(b'\\"')) // 2


def _parse_ids(value: bytes) -> list[int]:
    if value.count(b",") >= MAX_TOKENS:
        raise _too_many_tokens(value.count(b",") + 1)
    return _decode_ids(value)


def _parse_id_lists(value: bytes) -> list[list[int]]:
    # No string can stand in this form, so a bracket is an array and a comma is a border: both counts are exact.
    if value.count(b"[") - 1 > MAX_INPUTS:
        raise TooManyInputs(TOO_MANY_INPUTS, param="input")
    if value.count(b",") >= MAX_TOKENS + MAX_INPUTS:
        raise _too_many_tokens(value.count(b",") + 1)
    lists = _decode_id_lists(value)
    if not all(lists):
        raise _empty_input(lists.index([]))
    tokens = sum(map(len, lists))
    if tokens > MAX_TOKENS:
        raise _too_many_tokens(tokens)
    return lists


def _empty_input(index: int) -> InputEmpty:
    return InputEmpty(f"{INPUT_EMPTY} Look at $.input[{index}].", param="input", details={"index": index})


def _too_many_tokens(tokens: int) -> TooManyTokens:
    return TooManyTokens(
        f"Requested {tokens} tokens, max {MAX_TOKENS} tokens per request. Send the rest in further requests.",
        param="input",
        details={"tokens": tokens, "limit": MAX_TOKENS},
    )


def _encoding_format(value: str | None) -> Literal["float", "base64"]:
    if value is None:
        return "float"
    if value not in ("float", "base64"):
        raise InvalidRequest(
            f"Invalid value for 'encoding_format' = {printable_excerpt(value)}. Supported values: ['float', 'base64'].",
            param="encoding_format",
        )
    return cast("Literal['float', 'base64']", value)


def _dimensions(value: int | None) -> int | None:
    if value is not None and value < 1:
        raise InvalidRequest(f"{max(value, -(2**63))} is less than the minimum of 1 - 'dimensions'", param="dimensions")
    if value is not None and value > MAX_INT32:
        raise InvalidRequest("'dimensions' is greater than any model's.", param="dimensions")
    return value


def _input_type(value: str | None) -> Literal["query", "document"] | None:
    if value not in (None, "query", "document"):
        raise InvalidRequest(
            f"Invalid value for 'input_type' = {printable_excerpt(value)}. Supported values: ['query', 'document']. "
            f"{hint_for_input_type(value)}",
            param="input_type",
        )
    return cast("Literal['query', 'document'] | None", value)


def _user(value: str | None) -> str | None:
    if value is not None and "\0" in value:
        raise InvalidRequest("'user' cannot contain the NUL character.", param="user")
    return value


def _refuse(problem: str) -> NoReturn:
    """Raise the decoder's complaint as a sentence of ours."""
    unknown = _UNKNOWN_FIELD.search(problem)
    if unknown:
        name = printable_excerpt(unknown[1])
        hint = hint_for_field(name)
        sentence = f"Unrecognized request argument supplied: {name}" + (f". {hint}" if hint else "")
        raise UnknownParameter(sentence, param=name) from None
    field = _FIELD_AT_FAULT.search(problem)
    if field:
        expected = {"dimensions": "an integer"}.get(field[1], "a string")
        raise InvalidRequest(f"'{field[1]}' is invalid. It must be {expected}.", param=field[1]) from None
    if "Expected `object`" in problem:
        raise InvalidRequest(NOT_JSON) from None
    place = _INPUT_AT_FAULT.search(problem)
    if place is None:
        raise InvalidRequest(INPUT_FORMS, param="input") from None
    if ">=" in problem or "<=" in problem:
        raise _invalid_input(TOKEN_ID_RANGE, place[1]) from None
    kind = _TYPE_AT_FAULT.search(problem)
    raise _invalid_input(INPUT_FORMS, place[1], _TYPE_NAMES.get(kind[1], "") if kind else "") from None


def _invalid_input(sentence: str, place: str, kind: str = "") -> InvalidRequest:
    """The refusal of one of many; ``place`` is its path in the input, such as ``[3]`` or ``[3][17]``."""
    is_kind = f", which is {kind}" if kind else ""
    index = int(place[1 : place.index("]")])
    return InvalidRequest(f"{sentence} Look at $.input{place}{is_kind}.", param="input", details={"index": index})


def _unreadable(body: bytes) -> InvalidRequest:
    """The refusal of a body that the decoder cannot read, with the field at fault, and which input, where it is a text.

    The body is cut off where the fault begins, and closed there: the text at fault is then the last thing in it.
    """
    if is_wide(body):
        return InvalidRequest(WIDE_BODY)
    fault = first_text_fault(body, _decode_body)
    if fault is None:
        return InvalidRequest(NOT_JSON + place_of_fault(body, _decode_body))
    for end in (b'"]}', b'"}', b'"]}}', b'"}}'):
        try:
            fields = _decode_body(body[: fault.start] + _CUT.encode() + end)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        return _text_refusal(fields, fault.what)
    return InvalidRequest(NOT_JSON)


def _text_refusal(fields: RawBody, what: str) -> InvalidRequest:
    """The refusal of the text that was cut off, which is the last one of the body; ``what`` it has."""
    for name in RawBody.__struct_fields__:
        value = getattr(fields, name)
        if isinstance(value, str) and value.endswith(_CUT):
            return InvalidRequest(f"'{name}' is invalid: it has {what}", param=name)
    if bytes(fields.provider).rstrip(b'"]}').endswith(_CUT.encode()):
        return InvalidRequest(f"'provider' is invalid: it has {what}", param="provider")
    value = bytes(fields.input)
    if value[:1] == b"{":
        return InvalidRequest(INPUT_FORMS, param="input")
    if value[:1] != b"[":
        return InvalidRequest(f"'$.input' is invalid: it has {what}", param="input")
    index = _count_strings(value) - 1
    return InvalidRequest(f"'$.input[{index}]' is invalid: it has {what}", param="input", details={"index": index})


def printable_excerpt(text: str) -> str:
    """Text of the caller's as a message may echo it: printable ASCII, cut, so that an error's size is bounded."""
    plain = _UNPRINTABLE.sub("?", text[: ECHO_CHARACTERS + 1])
    return plain if len(plain) <= ECHO_CHARACTERS else plain[:ECHO_CHARACTERS] + "…"
