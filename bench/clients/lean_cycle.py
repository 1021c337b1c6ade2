"""The response cycle that the product had until decision 14: uvicorn's with a leaner ``send``, to be measured again.

uvicorn looks at every header with two regular expressions and writes the head apart from the body. Here the head is
checked as a whole and leaves together with the first piece.
"""

from collections.abc import MutableMapping
from typing import Any

from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from router.api.server.protocol import BoundedProtocol


class Cycle(RequestResponseCycle):
    """Made of uvicorn's by :func:`install`; adds no state that needs making."""

    _head = b""
    # An answer of unknown length to HTTP/1.0, which has no chunks, ends where the connection does.
    _until_close = False

    @override
    async def send(self, message: MutableMapping[str, Any]) -> None:  # type: ignore[override]
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if self.scope["method"] == "HEAD":
            await super().send(message)  # type: ignore[arg-type]
        elif message["type"] == "http.response.start":
            assert not self.response_started, "an answer was begun twice; this is a bug"
            self.response_started = True
            self.waiting_for_100_continue = False
            self._head = self._head_of(message["status"], message.get("headers", ()))
        else:
            assert self.response_started, "a body without a head; this is a bug"
            assert not self.response_complete, "more of an answer after its end; this is a bug"
            self._send_body(message.get("body", b""), is_last=not message.get("more_body", False))

    def _head_of(self, status: int, headers: list[tuple[bytes, bytes]]) -> bytes:
        lines = []
        has_close = False
        for name, value in (*self.default_headers, *headers):
            if name == b"content-length":
                self.expected_content_length = int(value)
                self.chunked_encoding = False
            elif name == b"connection" and value.lower() == b"close":
                self.keep_alive = False
                has_close = True
            lines.append(b"%b: %b" % (name, value))
        if self.chunked_encoding is None and self.scope["http_version"] == "1.0":
            self._until_close = True
            self.keep_alive = False
        elif self.chunked_encoding is None and status not in (204, 304):
            self.chunked_encoding = True
            lines.append(b"transfer-encoding: chunked")
        if not self.keep_alive and not has_close:
            lines.append(b"connection: close")
        head = b"\r\n".join(lines)
        breaks = len(lines) - 1
        if head.count(b"\n") != breaks or head.count(b"\r") != breaks or b"\0" in head:
            raise ValueError("a header with a line break in it")
        return b"%b%b\r\n\r\n" % (STATUS_LINE[status], head)

    def _send_body(self, body: bytes, *, is_last: bool) -> None:
        head, self._head = self._head, b""
        if self.chunked_encoding:
            chunk = (b"%x\r\n" % len(body), body, b"\r\n") if body else ()
            data = b"".join((head, *chunk, b"0\r\n\r\n" if is_last else b""))
        else:
            self.expected_content_length -= len(body)
            is_off = self.expected_content_length < 0 or (is_last and self.expected_content_length)
            if is_off and not self._until_close:
                raise ValueError("an answer of another length than its head says")
            data = head + body if head else body
        if data:
            self.transport.write(data)
        if is_last:
            self.response_complete = True
            self.message_event.set()
            if not self.keep_alive:
                self.transport.close()
            self.on_response()


def install() -> None:
    """Let every connection of this process answer with :class:`Cycle`."""
    plain = BoundedProtocol.on_headers_complete

    def on_headers_complete(self: BoundedProtocol) -> None:
        plain(self)
        if not self.parser.should_upgrade():
            # uvicorn has no place to name another class; its task for this request has not run yet.
            self.cycle.__class__ = Cycle

    BoundedProtocol.on_headers_complete = on_headers_complete  # type: ignore[method-assign]
