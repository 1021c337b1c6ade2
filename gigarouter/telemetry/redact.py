"""Redacts keys, credentials and inputs in log events, by the name of the field and by the pattern of the value.

The first line of defense is that no code logs them. This is the second: it errs towards redacting too much, and never
writes an exception's message, which may quote anything, but its type and place.
"""

import re
import sys
import traceback
from collections.abc import MutableMapping
from typing import Any

REDACTED = "[redacted]"
TEXT_MAX = 2_000

SECRET_NAMES = re.compile(
    r"(?i)authorization|api[-_]?key|credential|secret|passw|cookie|bearer|sealed|dsn|database_url|redis_url"
    r"|^(input|inputs|text|texts|token_ids|body|prompt|vectors?|embeddings?|request_body|response_body|token)$"
)
_SECRET_VALUES = (
    # Our keys keep their public handle, so that a log can still be searched by it.
    (re.compile(r"(gr_(?:live|test|ops|mgmt)_[0-9A-Za-z]{8})_[0-9A-Za-z_]+"), r"\1_" + REDACTED),
    (re.compile(r"(?i)\b(bearer|basic)\s+[^\s\"',;]+"), r"\1 " + REDACTED),
    (re.compile(r"\b(?:sk|pk|rk|whsec|hf|pa|jina)[-_][0-9A-Za-z_-]{12,}"), REDACTED),
    (re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^\s/@:]*:[^\s/@]+@"), r"\1" + REDACTED + "@"),
)


def redact(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor that redacts every field, nested ones too."""
    for name, value in event.items():
        event[name] = REDACTED if SECRET_NAMES.search(name) else scrub(value)
    return event


def scrub(value: object) -> object:
    """A value as a log may have it."""
    if isinstance(value, str):
        for pattern, replacement in _SECRET_VALUES:
            value = pattern.sub(replacement, value)
        return value if len(value) <= TEXT_MAX else value[:TEXT_MAX] + "…"
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, dict):
        return {str(k): REDACTED if SECRET_NAMES.search(str(k)) else scrub(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [scrub(item) for item in value]
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    return scrub(str(value))


def frames_of(fault: BaseException) -> list[str]:
    """The innermost frames of an exception's traceback, without values."""
    frames = traceback.extract_tb(fault.__traceback__)[-8:]
    return [f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno} {frame.name}" for frame in frames]


def faults(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor that replaces ``exc_info`` by the exception's type and place."""
    info = event.pop("exc_info", None)
    fault: BaseException | None = None
    if isinstance(info, BaseException):
        fault = info
    elif isinstance(info, tuple):
        fault = info[1]
    elif info:
        fault = sys.exc_info()[1]
    if fault is not None:
        event["fault"] = type(fault).__qualname__
        event["place"] = frames_of(fault)
    return event
