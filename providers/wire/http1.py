"""One outgoing HTTP/1.1 connection: sends a request in one write, reads its answer under caps and a deadline.

httptools (llhttp) parses the responses. The connection never follows redirects, takes no compressed body, and is closed
after anything unexpected: a late answer must never be read as the next request's.
"""

import asyncio
from typing import cast

import httptools
import msgspec
from typing_extensions import override

from providers.outcomes import Broken, Failure, TimedOut

MAX_HEAD_BYTES = 64 * 1024
READ_HEADERS = frozenset(
    {
        b"content-type",
        b"content-length",
        b"content-encoding",
        b"transfer-encoding",
        b"retry-after",
        b"retry-after-ms",
        # Where a redirect leads is told in a test, and followed nowhere.
        b"location",
        # Bedrock's error type and billed tokens are in these headers and nowhere else.
        b"x-amzn-errortype",
        b"x-amzn-bedrock-input-token-count",
    }
)


class Answer(msgspec.Struct, frozen=True):
    """A whole answer. ``headers`` has :data:`READ_HEADERS` only, names in lower case, repeated ones joined."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes | bytearray


class ConnectionLost(Exception):
    """The connection ended before the first byte of an answer; a reused one was closed by the server meanwhile."""


class Connection(asyncio.Protocol):
    """A connection for one exchange at a time, made by the pool; :attr:`reusable` says after each if it is kept."""

    __slots__ = (
        "_answer",
        "_begun",
        "_body",
        "_body_bytes",
        "_deadline_at",
        "_head_bytes",
        "_head_done",
        "_headers",
        "_loop",
        "_max_body",
        "_parser",
        "_siblings",
        "_status",
        "_timer",
        "_transport",
        "idle_since",
        "reusable",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, siblings: "set[Connection]") -> None:
        self._loop = loop
        self._siblings = siblings
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Answer] | None = None
        self._max_body = 0
        self._deadline_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.reusable = False
        self.idle_since = 0.0
        self._headers: dict[bytes, bytes] = {}
        self._body: bytes | bytearray | None = None
        self._reset()

    # Called by the pool.

    async def exchange(self, request: bytes, deadline_at: float, first_byte_at: float, max_body: int) -> Answer:
        """Send ``request`` and wait for the whole answer; instants are on the loop's clock.

        Raises TimedOut, Broken, or :class:`ConnectionLost`; closes the connection on these and on cancellation.
        """
        transport = self._transport
        if transport is None or transport.is_closing():
            raise ConnectionLost
        loop = self._loop
        self._reset()
        self.reusable = False
        self._max_body = max_body
        self._deadline_at = deadline_at
        future: asyncio.Future[Answer] = loop.create_future()
        self._answer = future
        self._timer = loop.call_at(min(deadline_at, first_byte_at), self._expire)
        transport.write(request)
        try:
            return await future
        except BaseException:
            transport.abort()
            raise
        finally:
            self._timer.cancel()
            self._answer = None

    def close(self) -> None:
        """Close an idle connection."""
        self.reusable = False
        if self._transport is not None:
            self._transport.close()

    # Called by the transport.

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)
        self._siblings.add(self)

    @override
    def data_received(self, data: bytes) -> None:
        """Feed the parser."""
        future = self._answer
        if future is None or future.done():
            # No request is open: the two sides have lost step.
            self.reusable = False
            self._abort()
            return
        self._begun = True
        in_head = not self._head_done
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail(Broken(detail="answered by switching protocols"))
        except httptools.HttpParserError as error:
            # A failure that a callback raised is set already; bytes after a whole answer spoil the connection only.
            self._fail(Broken(detail=f"unreadable HTTP: {type(error).__name__}"))
            self.reusable = False
            self._abort()
        # The parser reports a header only at its end, so raw bytes are counted as well. Once the answer is whole, the
        # head's share of this read is unknown, and the read is not counted.
        if in_head and not self._head_done and not future.done():
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._fail(Broken(detail="headers too large"))

    @override
    def eof_received(self) -> bool:
        """End an answer that has no length."""
        if self._head_done and not self._framed():
            # HTTP/1.0 style: the end of the connection is the end of the body.
            self.on_message_complete()
        return False

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the exchange that waits."""
        self.reusable = False
        self._siblings.discard(self)
        future = self._answer
        if future is not None and not future.done():
            failure = Broken(detail="closed in the middle of an answer") if self._begun else ConnectionLost()
            future.set_exception(failure)

    # Called by the parser.

    def on_message_begin(self) -> None:
        """Check that no second answer begins."""
        future = self._answer
        if future is not None and future.done():
            # More than one answer to one request.
            self.reusable = False
            self._abort()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count every header's bytes, keep the few that are read."""
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > MAX_HEAD_BYTES:
            self._fail(Broken(detail="headers too large"))
            return
        name = name.lower()
        if name in READ_HEADERS:
            known = self._headers.get(name)
            self._headers[name] = value if known is None else known + b", " + value

    def on_headers_complete(self) -> None:
        """Refuse an answer that cannot be honest, before its body comes."""
        self._status = self._parser.get_status_code()
        headers = self._headers
        self._head_done = True
        if headers.get(b"content-encoding", b"identity").lower() not in (b"identity", b""):
            self._fail(Broken(detail="compressed, though identity was asked for"))
        elif headers.get(b"transfer-encoding", b"chunked").lower() != b"chunked":
            self._fail(Broken(detail="an unknown transfer encoding"))
        elif int(headers.get(b"content-length", b"0")) > self._max_body:
            self._fail(Broken(detail="body larger than an honest answer can be"))

    def on_body(self, data: bytes) -> None:
        """Gather the body under the cap."""
        self._body_bytes += len(data)
        if self._body_bytes > self._max_body:
            self._fail(Broken(detail="body larger than an honest answer can be"))
        elif self._body is None:
            self._body = data
        elif isinstance(self._body, bytearray):
            self._body += data
        else:
            # One growing buffer, not a list: a body that drips byte by byte must not cost forty times its size.
            self._body = bytearray(self._body)
            self._body += data

    def on_message_complete(self) -> None:
        """Hand the answer over, unless it is an interim one (1xx)."""
        future = self._answer
        status = self._status
        if future is None or future.done():
            return
        if status < 200:
            self._reset()
            return
        answer = Answer(status, self._headers, self._body if self._body is not None else b"")
        self.reusable = self._parser.should_keep_alive() and (self._framed() or status == 204)
        self._reset()
        future.set_result(answer)

    # Leaves.

    def _reset(self) -> None:
        self._begun = False
        self._head_done = False
        self._head_bytes = 0
        self._body_bytes = 0
        self._status = 0
        self._headers = {}
        self._body = None

    def _framed(self) -> bool:
        return b"content-length" in self._headers or b"transfer-encoding" in self._headers

    def _expire(self) -> None:
        future = self._answer
        if future is None or future.done():
            return
        if not self._begun:
            future.set_exception(TimedOut(detail="no first byte in time"))
        elif self._loop.time() < self._deadline_at:
            self._timer = self._loop.call_at(self._deadline_at, self._expire)
        else:
            future.set_exception(TimedOut(detail="not all of the answer in time"))

    def _fail(self, failure: Failure) -> None:
        future = self._answer
        self.reusable = False
        if future is not None and not future.done():
            future.set_exception(failure)
            self._abort()

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
