"""Pure. Turns an upstream's error answer into the failure that says what the router does next.

Nothing that a provider wrote is repeated to a customer, and the log gets only the code and the type of an error body:
its messages quote inputs and credentials.
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

# Our key, our credit, our account. Google reports a wrong key and an unpaid account by 400, AWS some of these too.
_CREDENTIAL_CODES = frozenset(
    {
        "invalid_api_key",
        "insufficient_quota",
        "billing_hard_limit_reached",
        "account_deactivated",
        "API_KEY_INVALID",
        "FAILED_PRECONDITION",
        "PERMISSION_DENIED",
        "PermissionDenied",
        "AuthorizationFailed",
        "AccessDeniedException",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "UnrecognizedClientException",
    }
)
_MODEL_CODES = frozenset(
    {"model_not_found", "model_not_available", "invalid_model", "DeploymentNotFound", "ResourceNotFoundException"}
)
# "Not found" codes of Google, Fireworks and vLLM; they mean the model only with the status 404.
_NOT_FOUND_CODES = frozenset({"NOT_FOUND", "NotFoundError"})
# Azure's and OpenRouter's codes for an input that their moderation refuses; OpenRouter also names what was flagged.
_MODERATION_CODES = frozenset({"content_filter", "content_policy_violation"})
_RATE_LIMIT_CODES = frozenset({"ThrottlingException", "ServiceQuotaExceededException"})
_LENGTH_CODES = frozenset({"context_length_exceeded", "input_too_long", "max_tokens_per_request", "string_too_long"})
_LENGTH_PATTERN = re.compile(
    r"context length|too long|too many (input )?tokens|maximum.{0,40}tokens|tokens.{0,40}maximum", re.I
)
_TOO_LONG_THERE = "The provider refused the request: an input is longer than the model takes there."
# Which of several inputs a vendor means: OpenAI's, Voyage's and our own words. What stands later may be a customer's.
_INPUT_PATTERN = re.compile(r"\binputs?\[(\d{1,4})\]|\bat index (\d{1,4})\b|\A.{0,40}\binput (\d{1,4})\b", re.I)
_INPUT_WITHIN = 160
# Bedrock has no code of its own for it. Only at the start: what stands later may be a customer's text.
_MODEL_PATTERN = re.compile(r"The provided model identifier is invalid")
# Cohere, DeepInfra and Ollama have none either. At the start as well, and of a 404 only.
_MISSING_PATTERN = re.compile(r"(the )?model .{1,200}?(not found|does not exist)", re.I)
_WARMING_CODES = frozenset({"model_warming", "model_loading", "loading_model"})
_WARMING_PATTERN = re.compile(r"model.{0,200}\b(is|being) (currently )?(loading|loaded|warming|starting)", re.I | re.S)
# Where a provider that loads its model does not say how long that takes.
WARMING_S: Final = 5.0
# Redirects and whatever is not named here are Broken, as is a 503 that does not say when to come back. So are 403 and
# 404 without a code that is known: a firewall's page over one customer's text and a load balancer that has nobody left
# answer them too, and neither may take a model out of service.
_BY_STATUS: dict[int, type[Failure]] = {
    400: CallerFault,
    401: CredentialRefused,
    402: CredentialRefused,
    408: TimedOut,
    413: CallerFault,
    422: CallerFault,
    429: Throttled,
    504: TimedOut,
    529: Overloaded,
}
# Words with a number of few digits after them: what looks like this is a code, and no credential of any vendor's does.
_IDENTIFIER = re.compile(r"(?=.)[A-Za-z_.-]{0,48}[0-9]{0,4}")


class ErrorBody(msgspec.Struct, frozen=True):
    """An error body as far as it could be read: identifiers, a status inside it, its text (for matching only).

    ``retry_after_s`` is in Google's bodies. ``estimated_s`` is how long the provider says that loading its model takes,
    ``flagged`` whether it says that its moderation refused the input.
    """

    codes: tuple[str, ...] = ()
    status: int | None = None
    text: str = ""
    retry_after_s: float | None = None
    estimated_s: float | None = None
    flagged: bool = False


def failure(status: int, headers: Mapping[bytes, bytes], body: bytes | bytearray, now: float) -> Failure:
    """The failure that an answer other than a 200 means. ``now`` is Unix time, for a Retry-After that is a date."""
    error = read_error(body)
    if (named := headers.get(b"x-amzn-errortype")) is not None:
        error = msgspec.structs.replace(error, codes=(*error.codes, *_identifiers([_plain(named.decode("latin-1"))])))
    return classify(status, error, retry_after_s(headers, now))


def classify(status: int, error: ErrorBody, retry_after: float | None) -> Failure:
    """The failure by code first, since some report an empty quota by 429 and a wrong key by 400; then by status."""
    codes = frozenset(error.codes)
    retry_after = error.retry_after_s if retry_after is None else retry_after
    kind = _by_code(status, codes, error) or _BY_STATUS.get(status, Broken)
    if status == 503 and _is_warming(codes, error):
        kind, retry_after = Warming, retry_after or error.estimated_s or WARMING_S
    elif status == 503 and retry_after is not None:
        kind = Overloaded
    detail = " ".join((f"status {status}", *error.codes))
    if kind is CallerFault:
        about_length = bool(codes & _LENGTH_CODES or _LENGTH_PATTERN.search(error.text[:2000]))
        return CallerFault(
            _TOO_LONG_THERE if about_length else "The provider refused the request's content.",
            index=_input_index(error.text),
            about_length=about_length,
            detail=detail,
            status=status,
        )
    return kind(
        detail=detail,
        status=status,
        retry_after_s=retry_after if issubclass(kind, TryLater) else None,
    )


def _by_code(status: int, codes: frozenset[str], error: ErrorBody) -> type[Failure] | None:
    if not 400 <= status < 500:
        return None
    if codes & _CREDENTIAL_CODES:
        return CredentialRefused
    if codes & _RATE_LIMIT_CODES:
        return Throttled
    if _is_model_missing(status, codes, error.text):
        return ModelMissing
    return CallerFault if status == 403 and (error.flagged or codes & _MODERATION_CODES) else None


def _is_model_missing(status: int, codes: frozenset[str], text: str) -> bool:
    if codes & _MODEL_CODES or ("ValidationException" in codes and _MODEL_PATTERN.match(text)):
        return True
    return status == 404 and (bool(codes & _NOT_FOUND_CODES) or _MISSING_PATTERN.match(text) is not None)


def _is_warming(codes: frozenset[str], error: ErrorBody) -> bool:
    """Whether the model is being loaded: Hugging Face sends ``estimated_time``, our worker a code, others words."""
    is_stated = bool(codes & _WARMING_CODES) or error.estimated_s is not None
    return is_stated or _WARMING_PATTERN.search(error.text[:2000]) is not None


def error_in_success(body: bytes | bytearray) -> Failure:
    """The failure that a 200 with an error object means, as OpenRouter sends them."""
    error = read_error(body)
    if error.status is not None and 400 <= error.status < 600:
        return classify(error.status, error, None)
    codes = frozenset(error.codes)
    if codes & (_CREDENTIAL_CODES | _MODEL_CODES):
        return classify(400, error, None)
    return Broken(detail=" ".join(("an error in a 200", *error.codes)), status=200)


def read_error(body: bytes | bytearray) -> ErrorBody:
    """Read any vendor's error body. Never raises; an unreadable body gives an empty :class:`ErrorBody`."""
    if len(body) > MAX_ERROR_BODY:
        return ErrorBody()
    try:
        decoded: object = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return ErrorBody()
    outer = decoded if isinstance(decoded, dict) else {}
    inner = outer.get("error")
    fields = {**outer, **inner} if isinstance(inner, dict) else outer
    values = [fields.get(name) for name in ("code", "type", "error_type", "status", "__type")]
    details = [item for item in _items(fields.get("details")) if isinstance(item, dict)]
    values += [item.get("reason") for item in details]
    status = next((value for value in values if isinstance(value, int) and not isinstance(value, bool)), None)
    codes = _identifiers([_plain(value) for value in values if isinstance(value, str)])
    delay = next((text for item in details if isinstance(text := item.get("retryDelay"), str)), "")
    seconds = _number(delay[:-1].encode()) if delay.endswith("s") else None
    detail = fields.get("detail")
    texts = [fields.get("message"), detail, detail.get("error") if isinstance(detail, dict) else None, inner]
    text = next((text for text in texts if isinstance(text, str)), "")
    delay_s = None if seconds is None else min(seconds, MAX_RETRY_AFTER_S)
    metadata = fields.get("metadata")
    flagged = isinstance(metadata, dict) and "flagged_input" in metadata
    return ErrorBody(codes, status, text, delay_s, _seconds(fields.get("estimated_time")), flagged)


def _items(value: object) -> list[object]:
    return value[:20] if isinstance(value, list) else []


def _plain(name: str) -> str:
    """The name in AWS' forms: ``com.amazon.coral.service#ExpiredTokenException``, ``ValidationException:http://…``."""
    return name.rpartition("#")[2].partition(":")[0]


def _identifiers(names: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in names if _IDENTIFIER.fullmatch(name)))


def _seconds(value: object) -> float | None:
    """A positive number of seconds, at most a minute."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        return None
    return float(min(value, MAX_RETRY_AFTER_S))


def retry_after_s(headers: Mapping[bytes, bytes], now: float) -> float | None:
    """Seconds to wait by ``retry-after-ms`` or ``retry-after`` (seconds or a date), at most a minute.

    None where the headers have nothing usable: absent, negative, past, not a number.
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
    """A non-negative decimal number of at most thirty digits."""
    return float(text) if re.fullmatch(rb"[0-9]{1,30}(\.[0-9]{0,30})?", text) else None


def _input_index(text: str) -> int | None:
    found = _INPUT_PATTERN.search(text[:_INPUT_WITHIN])
    return None if found is None else int(next(number for number in found.groups() if number is not None))
