"""Guards the whole application (plain ASGI): gives each request its id, bounds its body, answers every error.

Nothing behind it sees a body that is too large, encoded or half there, and nothing gets past it to the server as an
exception. How slowly a request may
arrive is bounded below it (:mod:`router.api.server.protocol`).
"""

import asyncio
import traceback
from codecs import BOM_UTF8
from collections.abc import Callable, Sequence
from typing import cast

import structlog

from router.api.accept import preferred_coding
from router.api.error_envelope import error_response
from router.api.exchange import EXCHANGE, TOO_SLOW, Exchange, Message, Operation, Receive, Scope, Send, deliver
from router.api.public.call_headers import failure_headers
from router.api.server.compressed_answer import CompressedAnswer
from router.api.server.cors import CorsPolicy
from router.api.server.whole_answer import WholeAnswer
from router.errors import (
    BodyTooLarge,
    ClientGone,
    EncodingUnsupported,
    Overloaded,
    Refusal,
    RequestTooSlow,
    Unexpected,
)
from router.networks import Network
from router.values import Answer
from store.clock import Clock

log = structlog.get_logger("edge")

ARRIVING_BYTES_MAX = 256 * 1024 * 1024
# What a piece of a body takes beside its bytes: the object and its place in the list.
PIECE_BYTES = 64

# The request's headers by which answers differ, for caches on the way.
VARY = (b"vary", b"accept, accept-encoding, origin")
CLOSE = (b"connection", b"close")
NO_ROOM = "This server has no room for another call. Try again in a moment."
TOO_SLOW_BODY = "The body did not arrive in time. Check the connection, or send fewer inputs per request."


class Guard:
    """Wraps the application. ``record`` gets every exchange when it is over, for the log and the metrics.

    ``calls_max`` bounds the calls in the process at once; ``clock`` says when a request came, ``cors`` which pages may
    call, ``proxies`` whose word on a client's address is believed.
    """

    def __init__(
        self,
        app: Operation,
        *,
        body_bytes_max: int,
        calls_max: int,
        record: Callable[[Exchange], None],
        clock: Clock,
        cors: CorsPolicy | None = None,
        proxies: Sequence[Network] | None = None,
    ) -> None:
        self._app = app
        self._body_bytes_max = body_bytes_max
        self._calls_max = calls_max
        self._arriving_max = max(ARRIVING_BYTES_MAX, 2 * body_bytes_max)
        self._record = record
        self._cors = cors
        self._proxies = proxies
        self._clock = clock
        self.calls = 0
        # Memory of bodies that are not all here: what slow senders can make us keep.
        self._arriving = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One HTTP request, or the server's lifespan."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = Exchange(scope, self._clock.now(), self._proxies)
        scope[EXCHANGE] = exchange
        if self._cors is not None:
            exchange.cors_headers = self._cors.headers(exchange.origin, exchange.path)
        if scope.get("http_version") == "1.0":
            send = WholeAnswer(send)
        if exchange.accept_encoding and (coding := preferred_coding(exchange.accept_encoding)) is not None:
            send = CompressedAnswer(send, coding, exchange)
        sender = _HeaderSender(exchange, send)
        try:
            self._check(exchange)
            # RFC 8259 lets a reader ignore a byte-order mark, which Windows' editors put before a file.
            exchange.body = (await self._body(scope, receive)).removeprefix(BOM_UTF8)
            await self._call(scope, _replayed(exchange.body, receive), sender)
        except Refusal as refusal:
            await _refuse(exchange, refusal, sender)
        except Exception as fault:  # noqa: BLE001 - the edge is where the unexpected ends
            await _failed(exchange, fault, sender)
        finally:
            if exchange.refusal is not None:
                # Its frames would keep this exchange and its body, in a circle, until the collector comes by.
                exchange.refusal.__traceback__ = None
            self._record(exchange)

    async def _call(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Counts a call from when its whole body is here, so that slow senders take no place from others."""
        if self.calls >= self._calls_max:
            raise Overloaded(NO_ROOM, retry_after_s=1)
        self.calls += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self.calls -= 1

    def _check(self, exchange: Exchange) -> None:
        exchange.check_credentials()
        if exchange.content_encoding and not _is_identity(exchange.content_encoding):
            raise EncodingUnsupported("A compressed body is not taken. Send JSON as it is, without Content-Encoding.")
        length = exchange.content_length
        if length is not None and len(length) > 3 and int(length) > self._body_bytes_max:
            raise self._too_large()

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        """Reads the whole body, counting its bytes as they arrive, whatever the head announced."""
        message = await receive()
        body: bytes = message.get("body", b"")
        if not message.get("more_body", False):
            if message["type"] == "http.disconnect":
                raise ClientGone("The client has hung up.")
            if len(body) > self._body_bytes_max:
                raise self._too_large()
            return body
        return await self._rest_of_body(body, scope, receive)

    async def _rest_of_body(self, first: bytes, scope: Scope, receive: Receive) -> bytes:
        """Keeps the pieces as they came: one growing buffer would be copied and leave its former places unusable."""
        pieces = [first]
        size = len(first)
        held = memory_of(first)
        self._arriving += held
        try:
            while True:
                if size > self._body_bytes_max:
                    raise self._too_large()
                if self._arriving > self._arriving_max:
                    raise Overloaded(NO_ROOM, retry_after_s=1, headers=[CLOSE])
                if TOO_SLOW in scope:
                    raise RequestTooSlow(TOO_SLOW_BODY, headers=[CLOSE])
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone("The client has hung up.")
                piece: bytes = message.get("body", b"")
                pieces.append(piece)
                size += len(piece)
                held += (taken := memory_of(piece))
                self._arriving += taken
                if not message.get("more_body", False) and size <= self._body_bytes_max:
                    return b"".join(pieces)
        finally:
            pieces.clear()
            self._arriving -= held

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(
            f"The body is larger than {self._body_bytes_max} bytes. Send fewer inputs per request.", headers=[CLOSE]
        )


class _HeaderSender:
    """Wraps ``send``: adds our headers to every response and remembers the status."""

    __slots__ = ("_exchange", "_send", "is_over")

    def __init__(self, exchange: Exchange, send: Send) -> None:
        self._exchange = exchange
        self._send = send
        self.is_over = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._exchange.status = message["status"]
            message["headers"] = [*message.get("headers", ()), *self._exchange.headers(), VARY]
            await self._send(message)
        elif message.get("more_body", False):
            await self._send(message)
            # A send into a writable socket does not wait: let others have the loop between the pieces.
            await asyncio.sleep(0)
            if self._exchange.client_gone():
                raise ClientGone("The client has hung up.")
        else:
            self.is_over = True
            await self._send(message)


def memory_of(piece: bytes) -> int:
    """The memory that a piece of a body takes; an eighth is lost between pieces of different sizes (measured)."""
    return len(piece) + len(piece) // 8 + PIECE_BYTES


def _is_identity(codings: bytes) -> bool:
    return all(coding.strip(b" \t").lower() in (b"", b"identity") for coding in codings.split(b","))


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Returns a ``receive`` that replays the body that was read, then passes on the server's further messages."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


async def _refuse(exchange: Exchange, refusal: Refusal, send: _HeaderSender) -> None:
    exchange.refusal = refusal
    answer = _error(exchange, refusal)
    if isinstance(refusal, ClientGone):
        exchange.status = answer.status
        return
    if exchange.status:
        raise AssertionError("refused after the answer had begun; this is a bug") from refusal
    await deliver(answer, cast(Send, send))


async def _failed(exchange: Exchange, fault: Exception, send: _HeaderSender) -> None:
    """Logs a fault by its type and place, never by its message: that may hold input or secrets."""
    place = [
        f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno} {frame.name}"
        for frame in traceback.extract_tb(fault.__traceback__)[-8:]
    ]
    log.error("unexpected", request_id=str(exchange.request_id), fault=type(fault).__qualname__, place=place)
    unexpected = Unexpected(
        "Something went wrong on our side; nothing was delivered. If it happens again, tell us the request id."
    )
    exchange.refusal = unexpected
    if not exchange.status:
        await deliver(_error(exchange, unexpected), cast(Send, send))
    elif not send.is_over:
        # The status is out and the body is not: only a broken connection tells the client.
        raise BrokenAnswer from None


def _error(exchange: Exchange, refusal: Refusal) -> Answer:
    """Builds the error response; a call's error also carries the headers of its attempts and limits."""
    answer = error_response(refusal, exchange.request_id)
    if exchange.trace is not None:
        answer.headers.extend([*failure_headers(exchange.trace, refusal), *exchange.applied_headers])
    return answer


class BrokenAnswer(Exception):
    """Tells the server to cut the connection in the middle of an answer."""
