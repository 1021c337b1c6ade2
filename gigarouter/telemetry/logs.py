"""Writes structured logs: one JSON object per line on standard output, or text for people; libraries' logs, too.

A request's line is written apart (:class:`RequestLog`), because it is written for every call: its fields are typed
values of ours that need no redaction, and lines leave together a few times a second.
"""

import asyncio
import atexit
import logging
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import BinaryIO, Literal, cast

import msgspec
import orjson
import structlog
from typing_extensions import override

from gigarouter.telemetry.redact import faults, redact
from router.api.exchange import Exchange
from store.ids import AccountId, EndpointId, KeyId, MemberId, RequestId, wire

FLUSH_S = 0.2
LINES_MAX = 5_000

Format = Literal["json", "text"]

_HANDLE = re.compile(r"gr_(?:live|test|ops|mgmt)_[0-9A-Za-z]{8}(?=_)")


def configure(level: str = "info", form: Format = "json", out: BinaryIO | None = None) -> None:
    """Send structlog's and the standard library's logs to ``out`` (standard output) as one kind of line."""
    number = logging.getLevelNamesMapping()[level.upper()]
    render: list[structlog.typing.Processor] = (
        [structlog.processors.JSONRenderer(serializer=_json)] if form == "json" else [_text]
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
            faults,
            redact,
            *render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.BytesLoggerFactory(cast("BinaryIO", Output(out or sys.stdout.buffer))),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers = [_ToStructlog()]
    root.setLevel(number)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers = []
        logger.propagate = True
    # These log every URL, query included, at INFO.
    for name in ("httpx", "httpcore", "LiteLLM"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Every call has its line already, with more in it.
    logging.getLogger("uvicorn.access").disabled = True


def _json(event: object, **_: object) -> bytes:
    return orjson.dumps(event, default=str)


def _text(_logger: object, _method: str, event: structlog.typing.EventDict) -> bytes:
    at, level, name = event.pop("at", ""), event.pop("level", ""), event.pop("event", "")
    fields = " ".join(f"{field}={value}" for field, value in event.items())
    return f"{at[11:19]} {level:7} {name} {fields}".rstrip().encode()


class _ToStructlog(logging.Handler):
    """Passes the standard library's records on to structlog, which redacts them, too."""

    @override
    def emit(self, record: logging.LogRecord) -> None:
        logger = structlog.get_logger()
        logger.log(record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info)


class Output:
    """The file to log to. A line that cannot be written is lost: no call fails because the log's disk is full.

    What the file has buffered leaves with a later line. ``lost`` counts the lines that did not even get that far.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.lost = 0

    def write(self, line: bytes) -> None:
        """Append to the log, if that is possible."""
        try:
            self._file.write(line)
        except OSError:
            self.lost += 1

    def flush(self) -> None:
        """Hand over what is buffered, if that is possible."""
        with suppress(OSError):
            self._file.flush()


class RequestLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """The log line of one request. ``key_handle`` is the public part of a key that was not authenticated."""

    at: datetime
    level: str
    event: str
    request_id: str
    method: str
    operation: str
    status: int
    ms: float
    code: str = ""
    detail: str = ""
    account: str = ""
    key: str = ""
    key_handle: str = ""
    model: str = ""
    endpoint: str = ""
    inputs: int = 0
    tokens: int = 0
    charged_nano: int = 0
    attempts: int = 0
    upstream_ms: float = 0.0
    operator: str = ""


class RequestLog:
    """Writes a line per request; the lines of :data:`FLUSH_S` leave in one write. A crash loses those."""

    def __init__(self, form: Format = "json", out: BinaryIO | None = None) -> None:
        self._out = Output(out or sys.stdout.buffer)
        self._encode: Callable[[RequestLine], bytes] = msgspec.json.encode if form == "json" else _line_for_people
        self._lines: list[bytes] = []
        self._is_due = False
        atexit.register(self.flush)

    def record(self, exchange: Exchange) -> None:
        """Log the outcome of a request."""
        self._lines.append(self._encode(request_line(exchange)))
        if len(self._lines) >= LINES_MAX:
            self.flush()
        elif not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_later(FLUSH_S, self.flush)

    def flush(self) -> None:
        """Write the lines that wait."""
        self._is_due = False
        lines, self._lines = self._lines, []
        if lines:
            self._out.write(b"\n".join([*lines, b""]))
            self._out.flush()


def request_line(exchange: Exchange) -> RequestLine:
    """The line of a request: all facts of an answered call; the code and the log's own detail of a refusal."""
    summary, refusal, caller = exchange.summary, exchange.refusal, exchange.caller
    common = (
        exchange.now,
        "error" if exchange.status >= 500 else "info",
        "request",
        wire(RequestId, exchange.request_id),
        exchange.method,
        exchange.operation,
        exchange.status,
        round(exchange.elapsed_ms, 3),
    )
    if summary is not None and refusal is None:
        return RequestLine(
            *common,
            account=wire(AccountId, summary.account_id),
            key=wire(KeyId, summary.key_id),
            model=summary.model_id,
            endpoint=wire(EndpointId, summary.endpoint_id),
            inputs=summary.inputs,
            tokens=summary.tokens,
            charged_nano=summary.charged,
            attempts=summary.attempts,
            upstream_ms=round(summary.upstream_ms, 3),
        )
    handle = _HANDLE.search(exchange.authorization or "") if refusal is not None else None
    return RequestLine(
        *common,
        code=refusal.code if refusal else "",
        detail=_safe(refusal.detail) if refusal else "",
        account=wire(AccountId, caller.key.account_id) if caller else "",
        key=wire(KeyId, caller.key.id) if caller else "",
        key_handle=handle[0] if handle else "",
        operator=wire(MemberId, exchange.operator.member_id) if exchange.operator else "",
    )


def _safe(detail: str) -> str:
    """A detail without secrets: it may quote a library's message."""
    return str(redact(None, "", {"detail": detail})["detail"])


def _line_for_people(line: RequestLine) -> bytes:
    outcome = f"{line.model} {line.tokens} tokens" if line.model else line.code
    return f"{line.at:%H:%M:%S} {line.method} {line.operation} {line.status} {line.ms:.1f} ms {outcome}".encode()
