"""Extends uvicorn's HTTP protocol by the bounds that it lacks: on the head, on waiting, on peers that never read.

A connection has one timer, not one per request: every :data:`CHECK_EVERY_S` it checks how long the present phase has
lasted. Refusals before there is a request are written here, in the same envelope or as a page; a body that is too slow
is only marked, and the guard answers it.
"""

import asyncio
import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, NoReturn, TypeAlias

import httptools
from typing_extensions import override
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from router.api.error_envelope import error_response
from router.api.exchange import CLIENT_GONE, TOO_SLOW
from router.api.server.lingering_close import LingeringTransport
from router.errors import HeadersTooLarge, InvalidRequest, Overloaded, Refusal, RequestTooSlow
from router.values import Answer
from store.ids import RequestId, new_id, wire

# The answer to what never became a request.
AnswerUnread: TypeAlias = Callable[[Refusal, RequestId], Answer]
CHECK_EVERY_S = 0.5
# Connections beyond the bound that are told so; what comes beside these is cut.
REFUSED_AT_ONCE_MAX = 100

BLANKS = b" \t"
TOO_MANY = "This server has no room for another connection. Try again in a moment."
NOT_HTTP = "The request is not valid HTTP/1.1."
OTHER_VERSION = "This server speaks HTTP/1.1 and HTTP/1.0; the request line names another version."
NOT_ONE_HOST = "A request of HTTP/1.1 has one Host header with the name of the server (RFC 9112 §3.2)."
NOT_CHUNKED = "The only transfer coding that is taken is 'chunked', once, in HTTP/1.1: send the body without another."
FRAMING_TOO_LARGE = "The chunks of the body have more of extensions and framing than is read."
# Beside their data, chunks may have so many bytes each, as clients write them, and so many together for extensions.
CHUNK_FRAMING_BYTES = 24
FRAMING_BYTES_MAX = 64 * 1024

# Headers that say what belongs to the message.
_OF_THE_MESSAGE = frozenset({b"host", b"transfer-encoding", b"expect"})
_HOST = re.compile(
    rb"(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2}){0,255}(?::[0-9]{0,5})?|\[[0-9A-Za-z:.%]{2,64}\](?::[0-9]{0,5})?"
)
SLOW_HEAD = "The head of the request did not arrive in time."


class BoundedProtocol(HttpToolsProtocol):
    """One client connection. The bounds are class attributes: :func:`bounded` makes a class with others."""

    header_deadline_s = 10.0
    body_deadline_s = 30.0
    write_deadline_s = 20.0
    header_bytes_max = 32 * 1024
    headers_max = 100
    connections_max = 10_000
    answer_unread: AnswerUnread = staticmethod(error_response)

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._timer: asyncio.TimerHandle | None = None
        # Since when the peer owes us the rest of a head or body; None while it owes nothing.
        self._awaiting_since: float | None = None
        self._in_body = False
        # Bytes of the head that the parser has reported, and that it still holds because no header was whole.
        self._head_bytes = 0
        self._held_bytes = 0
        # Why what came is refused without becoming a request; None where it is simply no HTTP.
        self._refusal: Refusal | None = None
        # The Host that was found valid: a client sends the same with every request.
        self._host: bytes | None = None
        self._hosts = 0
        # Of a chunked body: its chunks, and its bytes that are no data.
        self._is_chunked = False
        self._chunks = self._framing_bytes = 0
        # Since when the peer has not taken what we wrote, or has not let us close.
        self._write_blocked_since: float | None = None
        self._lingering: LingeringTransport = None  # type: ignore[assignment]

    @property
    def is_mid_request(self) -> bool:
        """Whether the peer has begun a request that is not all here."""
        return self._in_body or self._head_bytes + self._held_bytes > 0

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._lingering = LingeringTransport(transport, self)
        super().connection_made(self._lingering)  # type: ignore[arg-type]
        self._awaiting_since = self.loop.time()
        self._timer = self.loop.call_later(CHECK_EVERY_S, self._check_deadlines)
        over = len(self.connections) - self.connections_max
        if over > REFUSED_AT_ONCE_MAX:
            transport.abort()
        elif over > 0:
            self._refuse(Overloaded(TOO_MANY, retry_after_s=1))

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    @override
    def data_received(self, data: bytes) -> None:
        if self._lingering.is_closing():
            self._lingering.discard(len(data))
            return
        if self._awaiting_since is None:
            self._awaiting_since = self.loop.time()
        head_bytes = self._head_bytes
        received = len(self.cycle.body) if self._is_chunked else 0
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self._refuse_unread()
        except httptools.HttpParserUpgrade as upgrade:
            self._go_on_without_upgrade(data[upgrade.args[0] :])
        if self._in_body:
            if self._is_chunked:
                self._count_framing(len(data), received)
        elif self._awaiting_since is not None and self._head_bytes == head_bytes:
            self._held_bytes += len(data)
            if self._head_bytes + self._held_bytes > self.header_bytes_max:
                self._refusal = self._head_too_large()
                self._refuse_unread()

    def _count_framing(self, size: int, received: int) -> None:
        """Bounds what a chunked body has beside its data: chunk extensions, which the parser reads and drops."""
        if self.cycle.response_complete or self._lingering.is_closing():
            return
        self._framing_bytes += size - max(0, len(self.cycle.body) - received)
        if self._framing_bytes > FRAMING_BYTES_MAX + CHUNK_FRAMING_BYTES * self._chunks:
            self._refuse(InvalidRequest(FRAMING_TOO_LARGE))

    def on_chunk_header(self) -> None:
        """The parser has read the size of a chunk, and its extensions."""
        self._chunks += 1

    @override
    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_body = self._is_chunked = False
        self._hosts = 0
        self._chunks = self._framing_bytes = 0
        self._awaiting_since = self.loop.time()

    @override
    def on_url(self, url: bytes) -> None:
        self._held_bytes = 0
        self._head_bytes += len(url)
        if self._head_bytes > self.header_bytes_max:
            self._refuse_head_size()
        super().on_url(url)

    @override
    def on_header(self, name: bytes, value: bytes) -> None:
        self._held_bytes = 0
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > self.header_bytes_max or len(self.headers) >= self.headers_max:
            self._refuse_head_size()
        # A trailer comes after the body and must not pass for a header.
        if self._in_body:
            return
        # The parser leaves the space after a value, which is no part of it (RFC 9110 §5.5).
        name, value = name.lower(), value.strip(BLANKS)
        if name in _OF_THE_MESSAGE:
            self._read_message_header(name, value)
        self.headers.append((name, value))

    def _read_message_header(self, name: bytes, value: bytes) -> None:
        match name:
            case b"host":
                self._hosts += 1
                if value != self._host and not _HOST.fullmatch(value):
                    self._refusal = InvalidRequest(NOT_ONE_HOST)
                self._host = value
            case b"transfer-encoding":
                if self._is_chunked or value.lower() != b"chunked":
                    self._refusal = InvalidRequest(NOT_CHUNKED)
                self._is_chunked = True
            case _:
                self.expect_100_continue = value.lower() == b"100-continue"

    def _refuse_head_size(self) -> NoReturn:
        self._refusal = self._head_too_large()
        raise ValueError("too large a head")

    def _head_too_large(self) -> HeadersTooLarge:
        return HeadersTooLarge(
            f"The head of the request is too large: at most {self.header_bytes_max} bytes in "
            f"{self.headers_max} headers are read."
        )

    def _check_head(self) -> None:
        """Refuses what the parser lets pass and RFC 9112 does not (§2.3, §3.2, §6.1): a proxy may read it otherwise."""
        version = self.parser.get_http_version()
        if version not in ("1.1", "1.0"):
            self._refusal = InvalidRequest(OTHER_VERSION)
        elif self._hosts > 1 or (self._hosts == 0 and version == "1.1"):
            self._refusal = InvalidRequest(NOT_ONE_HOST)
        elif self._is_chunked and version == "1.0":
            self._refusal = InvalidRequest(NOT_CHUNKED)
        if self._refusal is not None:
            raise ValueError("no valid head")

    @override
    def on_headers_complete(self) -> None:
        self._check_head()
        if self.parser.should_upgrade():
            return
        self._in_body = True
        self._awaiting_since = self.loop.time()
        self.scope[CLIENT_GONE] = self.transport.is_closing  # type: ignore[literal-required]
        super().on_headers_complete()

    @override
    def on_message_complete(self) -> None:
        if not self._in_body:
            return
        self._in_body = False
        self._head_bytes = self._held_bytes = 0
        self._awaiting_since = None
        super().on_message_complete()

    def _go_on_without_upgrade(self, rest: bytes) -> None:
        """Read the request as if it had not asked for another protocol, which HTTP lets a server ignore.

        The parser takes what follows such a head for that protocol, and would lose a body (Java's client asks for h2c
        with every request), so the same head goes through a fresh parser without the two headers.
        """
        lines = [b"%b %b HTTP/1.1" % (self.parser.get_method(), self.url)]
        lines += [b"%b: %b" % pair for pair in self.headers if pair[0] not in (b"upgrade", b"connection")]
        is_connect = self.parser.get_method() == b"CONNECT"
        self.parser = httptools.HttpRequestParser(self)
        self._head_bytes = self._held_bytes = 0
        if is_connect:
            self._refuse_unread()
            return
        self.data_received(b"\r\n".join([*lines, b"", rest]))

    def _refuse_unread(self) -> None:
        self._refuse(self._refusal or InvalidRequest(NOT_HTTP))

    def _refuse(self, refusal: Refusal) -> None:
        """Answer what never became a request, and close."""
        request_id = RequestId(new_id())
        answer = self.answer_unread(refusal, request_id)
        headers = [
            *answer.headers,
            (b"x-request-id", wire(RequestId, request_id).encode()),
            (b"connection", b"close"),
        ]
        phrase = HTTPStatus(answer.status).phrase.encode()
        lines = [b"HTTP/1.1 %d %b" % (answer.status, phrase), *(b"%b: %b" % pair for pair in headers), b"", b""]
        self.transport.write(b"\r\n".join(lines) + b"".join(answer.body))
        self.transport.close()

    @override
    def pause_writing(self) -> None:
        self._write_blocked_since = self.loop.time()
        super().pause_writing()

    @override
    def resume_writing(self) -> None:
        self._write_blocked_since = None
        super().resume_writing()

    def _check_deadlines(self) -> None:
        """The connection's one timer: end a phase that has lasted too long."""
        self._timer = self.loop.call_later(CHECK_EVERY_S, self._check_deadlines)
        now = self.loop.time()
        if self.transport.is_closing() and self._write_blocked_since is None:
            self._write_blocked_since = now
        if self._write_blocked_since is not None and now - self._write_blocked_since > self.write_deadline_s:
            self._lingering.abort()
        elif self.transport.is_closing():
            self._lingering.close_when_overdue(now)
        elif self._awaiting_since is not None:
            self._check_read_deadline(now, self._awaiting_since)

    def _check_read_deadline(self, now: float, since: float) -> None:
        if self.flow.read_paused:
            # We are not reading: a pipelined request waits for the one before it.
            self._awaiting_since = now
        elif self._in_body and now - since > self.body_deadline_s:
            self._awaiting_since = now
            self.scope[TOO_SLOW] = True  # type: ignore[literal-required]
            self.cycle.message_event.set()
        elif not self._in_body and now - since > self.header_deadline_s:
            if self.is_mid_request:
                self._refuse(RequestTooSlow(SLOW_HEAD))
            else:
                self.transport.close()


def bounded(
    *,
    header_bytes_max: int,
    header_deadline_s: float,
    body_deadline_s: float,
    connections_max: int,
    refuse: AnswerUnread = error_response,
) -> type[BoundedProtocol]:
    """The protocol with an operator's bounds, for uvicorn's ``http=``.

    ``refuse``: the answer to what never became a request: the API's envelope, or a page.
    """
    bounds: dict[str, object] = {
        "answer_unread": staticmethod(refuse),
        "connections_max": connections_max,
        "header_bytes_max": header_bytes_max,
        "header_deadline_s": header_deadline_s,
        "body_deadline_s": body_deadline_s,
    }
    return type("BoundedProtocol", (BoundedProtocol,), bounds)
