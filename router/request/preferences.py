"""Parses the body's ``provider`` object: bytes in, :class:`router.values.Preferences` or an InvalidRequest out. Pure.

It is as strict as the rest of the body: an unknown field is refused, since whoever wrote it relies on a promise.
Sizes are bounded before anything is built. Money stays exact: a number is read from its literal text, never as a float.
"""

import re
from typing import Annotated, Final, Literal, NoReturn, cast

import msgspec

from router.errors import InvalidRequest, UnknownParameter
from router.request.nulls import without_unknown_nulls
from router.values import NO_PREFERENCES, Preferences

NAMES_MAX: Final = 64
NAME_CHARACTERS_MAX: Final = 63
# All lists at their limits are 22 KB.
BYTES_MAX: Final = 32 * 1024
SPACE_CHARACTERS_MAX: Final = 1_000
LITERAL_CHARACTERS_MAX: Final = 40

MODELS_REFUSED: Final = (
    "'models' is not supported: falling back to another model would mix vector spaces, and vectors of two spaces "
    "cannot be compared. Name one 'model'; all of its providers serve one space and stand in for one another."
)

_Names = Annotated[
    list[
        Annotated[
            str,
            msgspec.Meta(
                min_length=1,
                max_length=NAME_CHARACTERS_MAX,
                # The decoder leaves this one to _NAME.
                extra_json_schema={"pattern": "^[A-Za-z0-9][A-Za-z0-9._-]*$"},
            ),
        ]
    ],
    msgspec.Meta(max_length=NAMES_MAX),
]
_ABSENT: Final = msgspec.Raw(b"")


class RawPreferences(msgspec.Struct, forbid_unknown_fields=True):
    """The object as it came; ``null`` stands for "not given"."""

    order: _Names | None = None
    only: _Names | None = None
    ignore: _Names | None = None
    sort: Literal["price", "latency", "throughput"] | None = None
    max_price: msgspec.Raw = _ABSENT
    allow_fallbacks: bool | None = None
    data_collection: Literal["allow", "deny"] | None = None
    zero_retention: bool | None = None
    quantizations: _Names | None = None
    regions: _Names | None = None
    space: Annotated[str, msgspec.Meta(min_length=1, max_length=SPACE_CHARACTERS_MAX)] | None = None
    hedge: bool | None = None


class _PerUnit(msgspec.Struct, forbid_unknown_fields=True):
    """``max_price`` as other routers take it, of which an embedding has one part."""

    prompt: msgspec.Raw


_decode_fields = msgspec.json.Decoder(RawPreferences).decode
_decode_per_unit = msgspec.json.Decoder(_PerUnit).decode
_decode_text = msgspec.json.Decoder(str).decode

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]*")
_DECIMAL: Final = re.compile(r"(\d{1,20})(?:\.(\d{1,30}))?(?:[eE]([+-]?\d{1,2}))?", re.ASCII)
_FIELD_AT_FAULT: Final = re.compile(r"`\$\.(\w+)")
_UNKNOWN_FIELD: Final = re.compile(r"unknown field `(.*)`", re.DOTALL)
_UNPRINTABLE: Final = re.compile(r"[^\x20-\x7e]")
_NANO_DIGITS: Final = 9
_MAX_INT64: Final = 2**63 - 1

_A_LIST: Final = f"a list of at most {NAMES_MAX} names of 1 to {NAME_CHARACTERS_MAX} characters"
_A_PRICE: Final = 'USD per 1M tokens, not negative, as in "0.02"'
_EXPECTED: Final = {
    "sort": "'price', 'latency' or 'throughput'",
    "max_price": _A_PRICE,
    "data_collection": "'allow' or 'deny'",
    "space": "the name of a vector space",
    "allow_fallbacks": "true or false",
    "zero_retention": "true or false",
    "hedge": "true or false",
}


def parse_preferences(raw: bytes) -> Preferences:
    """The call's demands on its route. Raises InvalidRequest and UnknownParameter, nothing else."""
    if len(raw) > BYTES_MAX:
        raise InvalidRequest(f"'provider' is larger than {BYTES_MAX} bytes.", param="provider")
    if raw == b"null":
        return NO_PREFERENCES
    try:
        fields = _decode_known(raw)
    except msgspec.ValidationError as problem:
        _refuse(str(problem))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidRequest("'provider' must be a JSON object.", param="provider") from None
    return Preferences(
        order=_names("order", fields.order),
        only=_names("only", fields.only),
        ignore=_names("ignore", fields.ignore),
        sort=fields.sort,
        max_price=_max_price(bytes(fields.max_price)),
        allow_fallbacks=fields.allow_fallbacks is not False,
        data_collection=fields.data_collection or "allow",
        zero_retention=fields.zero_retention is True,
        quantizations=_names("quantizations", fields.quantizations),
        regions=_names("regions", fields.regions),
        space=fields.space,
        hedge=fields.hedge is True,
    )


def _decode_known(raw: bytes) -> RawPreferences:
    """The fields without those that are unknown and null. Raises as the decoder does."""
    try:
        return _decode_fields(raw)
    except msgspec.ValidationError as problem:
        if _UNKNOWN_FIELD.search(str(problem)) is None:
            raise
        return _decode_fields(without_unknown_nulls(raw, RawPreferences.__struct_fields__))


def preferences_of_test_key(preferences: Preferences) -> Preferences:
    """The preferences that hold for a test key, whose one endpoint stands in for all: the pinned space alone.

    Otherwise an integration that asks for a region or a provider could never be tried without paying.
    """
    return NO_PREFERENCES if preferences.space is None else Preferences(space=preferences.space)


def _names(field: str, names: list[str] | None) -> tuple[str, ...]:
    """The names in lower case, as ours are. A name that no provider can have is refused as a mistake."""
    if not names:
        if names is not None and field in ("only", "quantizations", "regions"):
            raise _invalid(field, f"{_A_LIST}; an empty one would leave nobody")
        return ()
    lowered = tuple(name.lower() for name in names)
    if not all(map(_NAME.fullmatch, lowered)):
        raise _invalid(field, f"{_A_LIST}, of letters, digits, dots, dashes and underscores")
    return lowered


def _max_price(raw: bytes) -> int | None:
    """Nano-USD per million tokens, rounded down: whole nano-dollars are below a limit or its floor alike."""
    if not raw or raw == b"null":
        return None
    try:
        if raw[:1] == b"{":
            raw = bytes(_decode_per_unit(raw).prompt)
        text = _decode_text(raw) if raw[:1] == b'"' else raw[: LITERAL_CHARACTERS_MAX + 1].decode("ascii", "replace")
    except msgspec.ValidationError as problem:
        unknown = _UNKNOWN_FIELD.search(str(problem))
        if unknown is None:
            raise _invalid("max_price", f'{_A_PRICE} or {{"prompt": "0.02"}}') from None
        raise _unknown(f"max_price.{unknown[1]}") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise _invalid("max_price", _A_PRICE) from None
    match = _DECIMAL.fullmatch(text) if len(text) <= LITERAL_CHARACTERS_MAX else None
    if match is None:
        raise _invalid("max_price", _A_PRICE)
    whole, fraction, exponent = match[1], match[2] or "", int(match[3] or 0)
    digits, power = int(whole + fraction), exponent - len(fraction) + _NANO_DIGITS
    nano = digits * 10**power if power >= 0 else digits // 10**-power
    return cast("int", min(nano, _MAX_INT64))


def _refuse(problem: str) -> NoReturn:
    """Raise the decoder's complaint as a sentence of ours."""
    unknown = _UNKNOWN_FIELD.search(problem)
    if unknown:
        raise _unknown(unknown[1]) from None
    field = _FIELD_AT_FAULT.search(problem)
    if field:
        raise _invalid(field[1], _EXPECTED.get(field[1], _A_LIST)) from None
    raise InvalidRequest("'provider' must be a JSON object.", param="provider") from None


def _unknown(name: str) -> UnknownParameter:
    name = f"provider.{_printable_name(name)}"
    return UnknownParameter(f"Unrecognized request argument supplied: {name}", param=name)


def _invalid(field: str, expected: str) -> InvalidRequest:
    return InvalidRequest(f"'provider.{field}' is invalid. It must be {expected}.", param=f"provider.{field}")


def _printable_name(text: str) -> str:
    """A name of the caller's as a message may echo it."""
    return _UNPRINTABLE.sub("?", text[:NAME_CHARACTERS_MAX])
