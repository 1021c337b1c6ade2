"""From what an upstream answered instead of vectors to the failure that says what the router does next.

Nothing that a provider wrote is repeated to a customer, and of its error body the log gets only the code and the type:
messages quote inputs and credentials.
"""

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Final

import msgspec

from providers.outcomes import (
    Broken,
    CallerFault,
    CredentialRefused,
    Failure,
    ModelMissing,
    Overloaded,
    Throttled,
    TimedOut,
    TryLater,
    Warming,
)

# A provider may ask for a day; after a minute we try it again and see.
MAX_RETRY_AFTER_S: Final = 60.0
MAX_ERROR_BODY: Final = 64 * 1024

_CREDENTIAL_CODES = frozenset(
    {"invalid_api_key", "insufficient_quota", "billing_hard_limit_reached", "account_deactivated"}
)
_MODEL_CODES = frozenset({"model_not_found", "model_not_available", "DeploymentNotFound"})
_LENGTH_CODES = frozenset({"context_length_exceeded", "input_too_long", "max_tokens_per_request", "string_too_long"})
_WARMING_CODES = frozenset({"model_warming", "model_loading", "loading_model"})
_WARMING_WORDS = re.compile(r"model.{0,200}\b(is|being) (currently )?(loading|loaded|warming|starting)", re.I | re.S)
# Where a provider that loads its model does not say how long that takes.
WARMING_S: Final = 5.0
_LENGTH_WORDS = re.compile(r"context length|too long|too many tokens|maximum.{0,40}tokens|tokens.{0,40}maximum", re.I)
# Redirects and whatever is not named here are Broken, as is a 503 that does not say when to come back.
_BY_STATUS: dict[int, type[Failure]] = {
    400: CallerFault,
    401: CredentialRefused,
    402: CredentialRefused,
    403: CredentialRefused,
    404: ModelMissing,
    408: TimedOut,
    413: CallerFault,
    422: CallerFault,
    429: Throttled,
    504: TimedOut,
    529: Overloaded,
}
_IDENTIFIER = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class ErrorBody(msgspec.Struct, frozen=True):
    """An error body as far as it could be read: identifiers, a status inside it, its text (for matching only).

    ``estimated_s`` is how long the provider says that loading its model will take.
    """

    codes: tuple[str, ...] = ()
    status: int | None = None
    text: str = ""
    estimated_s: float | None = None


def failure(status: int, headers: Mapping[bytes, bytes], body: bytes | bytearray, now: float) -> Failure:
    """The failure of an answer that is not a 200. ``now`` is Unix time, for a Retry-After that is a date."""
    return classify(status, read_error(body), retry_after_s(headers, now))


def classify(status: int, error: ErrorBody, retry_after: float | None) -> Failure:
    """Rank by code first, since providers tell an empty quota by 429 and a wrong key by 400; then by status."""
    codes = frozenset(error.codes)
    kind = _by_code(status, codes) or _BY_STATUS.get(status, Broken)
    if status == 503 and _is_warming(codes, error):
        kind, retry_after = Warming, retry_after or error.estimated_s or WARMING_S
    elif status == 503 and retry_after is not None:
        kind = Overloaded
    return kind(
        _caller_message(codes, error.text) if kind is CallerFault else "",
        detail=" ".join((f"status {status}", *error.codes)),
        status=status,
        retry_after_s=retry_after if issubclass(kind, TryLater) else None,
    )


def _by_code(status: int, codes: frozenset[str]) -> type[Failure] | None:
    if not 400 <= status < 500:
        return None
    if codes & _CREDENTIAL_CODES:
        return CredentialRefused
    return ModelMissing if codes & _MODEL_CODES else None


def _is_warming(codes: frozenset[str], error: ErrorBody) -> bool:
    """Hugging Face tells an ``estimated_time``, our worker a code, others say it in words."""
    says_so = bool(codes & _WARMING_CODES) or error.estimated_s is not None
    return says_so or _WARMING_WORDS.search(error.text[:2000]) is not None


def error_in_success(body: bytes | bytearray) -> Failure:
    """The failure of a 200 that carries an error object, as OpenRouter sends them."""
    error = read_error(body)
    if error.status is not None and 400 <= error.status < 600:
        return classify(error.status, error, None)
    codes = frozenset(error.codes)
    if codes & (_CREDENTIAL_CODES | _MODEL_CODES):
        return classify(400, error, None)
    return Broken(detail=" ".join(("an error in a 200", *error.codes)), status=200)


def read_error(body: bytes | bytearray) -> ErrorBody:
    """Read any vendor's error body. Never raises; an unreadable one is empty."""
    if len(body) > MAX_ERROR_BODY:
        return ErrorBody()
    try:
        found: object = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return ErrorBody()
    outer = found if isinstance(found, dict) else {}
    inner = outer.get("error")
    fields = {**outer, **inner} if isinstance(inner, dict) else outer
    values = [fields.get(name) for name in ("code", "type", "error_type", "status")]
    status = next((value for value in values if isinstance(value, int) and not isinstance(value, bool)), None)
    codes = dict.fromkeys(value for value in values if isinstance(value, str) and _IDENTIFIER.fullmatch(value))
    texts = [fields.get(name) for name in ("message", "detail")] + [inner]
    text = next((text for text in texts if isinstance(text, str)), "")
    return ErrorBody(tuple(codes), status, text, _seconds(fields.get("estimated_time")))


def _seconds(value: object) -> float | None:
    """A positive number of seconds, at most a minute."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        return None
    return float(min(value, MAX_RETRY_AFTER_S))


def retry_after_s(headers: Mapping[bytes, bytes], now: float) -> float | None:
    """Seconds to wait by ``retry-after-ms`` or ``retry-after`` (seconds or a date), at most a minute.

    None where nothing usable was said: absent, negative, past, not a number.
    """
    milliseconds = headers.get(b"retry-after-ms")
    if milliseconds is not None and (seconds := _number(milliseconds)) is not None:
        return min(seconds / 1000, MAX_RETRY_AFTER_S)
    text = headers.get(b"retry-after")
    if text is None:
        return None
    if (seconds := _number(text)) is not None:
        return min(seconds, MAX_RETRY_AFTER_S)
    try:
        until = parsedate_to_datetime(text.decode("ascii")).timestamp() - now
    except (ValueError, OverflowError):
        return None
    return min(until, MAX_RETRY_AFTER_S) if until > 0 else None


def _number(text: bytes) -> float | None:
    """A non-negative decimal number. Thirty digits are enough for the absurd ones."""
    return float(text) if re.fullmatch(rb"[0-9]{1,30}(\.[0-9]{0,30})?", text) else None


def _caller_message(codes: frozenset[str], text: str) -> str:
    if codes & _LENGTH_CODES or _LENGTH_WORDS.search(text[:2000]):
        return "The provider refused the request: an input is longer than the model takes there."
    return "The provider refused the request's content."
