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
from router.request.preferences import MODELS_REFUSED, parse_preferences
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


_decode_body = msgspec.json.Decoder(RawBody).decode
_decode_text = msgspec.json.Decoder(str).decode
_decode_texts = msgspec.json.Decoder(list[str]).decode
_decode_ids = msgspec.json.Decoder(list[TokenIdNumber]).decode
_decode_id_lists = msgspec.json.Decoder(list[list[TokenIdNumber]]).decode

_FIELD_AT_FAULT = re.compile(r"`\$\.(\w+)")
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
INPUT_EMPTY = "'$.input' is invalid. Please check the API reference: an input cannot be an empty string or array."
TOO_MANY_INPUTS = (
    f"'$.input' is invalid. Please check the API reference: the array length must be {MAX_INPUTS} or less. "
    "Send the rest in further requests."
)


def parse(body: bytes) -> EmbedRequest:
    """The request of one call. Raises :class:`router.errors.InvalidRequest` and its children, nothing else."""
    if len(body) > MAX_BODY_BYTES:
        raise BodyTooLarge(f"The body is larger than {MAX_BODY_BYTES} bytes. Send fewer inputs per request.")
    try:
        fields = _decode_body(body)
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
        raise InvalidRequest(NOT_JSON) from None
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
        raise InvalidRequest(INPUT_FORMS, param="input")
    return None, [_parse_ids(value)]


def _parse_texts(value: bytes) -> list[str]:
    if value.count(b'"') > 2 * DECODE_STRINGS and _count_strings(value) > MAX_INPUTS:
        raise TooManyInputs(TOO_MANY_INPUTS, param="input")
    texts = _decode_texts(value)
    if len(texts) > MAX_INPUTS:
        raise TooManyInputs(TOO_MANY_INPUTS, param="input")
    if "" in texts:
        raise InputEmpty(f"{INPUT_EMPTY} Look at $.input[{texts.index('')}].", param="input")
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
        raise InputEmpty(f"{INPUT_EMPTY} Look at $.input[{lists.index([])}].", param="input")
    tokens = sum(map(len, lists))
    if tokens > MAX_TOKENS:
        raise _too_many_tokens(tokens)
    return lists


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
            f"Invalid value for 'input_type' = {printable_excerpt(value)}. Supported values: ['query', 'document'].",
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
        raise UnknownParameter(f"Unrecognized request argument supplied: {name}", param=name) from None
    field = _FIELD_AT_FAULT.search(problem)
    if field:
        expected = {"dimensions": "an integer"}.get(field[1], "a string")
        raise InvalidRequest(f"'{field[1]}' is invalid. It must be {expected}.", param=field[1]) from None
    if "Expected `object`" in problem:
        raise InvalidRequest(NOT_JSON) from None
    raise InvalidRequest(INPUT_FORMS, param="input") from None


def printable_excerpt(text: str) -> str:
    """Text of the caller's as a message may echo it: printable ASCII, cut, so that an error's size is bounded."""
    plain = _UNPRINTABLE.sub("?", text[: ECHO_CHARACTERS + 1])
    return plain if len(plain) <= ECHO_CHARACTERS else plain[:ECHO_CHARACTERS] + "…"
