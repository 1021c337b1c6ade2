"""What must not get into a log: keys, credentials, inputs. By name of the field, and by the look of a value.

The first line of defense is that nobody logs them. This is the second: it errs towards taking out too much, and an
exception's message, which may quote anything, is never written: its type and place are.
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
    (re.compile(r"(gr_(?:live|test|ops)_[0-9A-Za-z]{8})_[0-9A-Za-z_]+"), r"\1_" + REDACTED),
    (re.compile(r"(?i)\b(bearer|basic)\s+[^\s\"',;]+"), r"\1 " + REDACTED),
    (re.compile(r"\b(?:sk|pk|rk|whsec|hf|pa|jina)[-_][0-9A-Za-z_-]{12,}"), REDACTED),
    (re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^\s/@:]*:[^\s/@]+@"), r"\1" + REDACTED + "@"),
)


def redact(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Structlog processor: every field, nested ones too."""
    for name, value in event.items():
        event[name] = REDACTED if SECRET_NAMES.search(name) else scrubbed(value)
    return event


def scrubbed(value: object) -> object:
    """A value as a log may hold it."""
    if isinstance(value, str):
        for look, instead in _SECRET_VALUES:
            value = look.sub(instead, value)
        return value if len(value) <= TEXT_MAX else value[:TEXT_MAX] + "…"
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, dict):
        return {str(k): REDACTED if SECRET_NAMES.search(str(k)) else scrubbed(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [scrubbed(item) for item in value]
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    return scrubbed(str(value))


def place_of(fault: BaseException) -> list[str]:
    """Where an exception came from: the innermost frames, without values."""
    frames = traceback.extract_tb(fault.__traceback__)[-8:]
    return [f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno} {frame.name}" for frame in frames]


def faults(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Structlog processor: ``exc_info`` becomes the exception's type and place."""
    given = event.pop("exc_info", None)
    fault: BaseException | None = None
    if isinstance(given, BaseException):
        fault = given
    elif isinstance(given, tuple):
        fault = given[1]
    elif given:
        fault = sys.exc_info()[1]
    if fault is not None:
        event["fault"] = type(fault).__qualname__
        event["place"] = place_of(fault)
    return event
