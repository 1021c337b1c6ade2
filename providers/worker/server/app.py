"""The worker's ASGI application: reads a body, awaits the answer, cancels it when the caller disconnects.

It is plain ASGI, so that a request costs microseconds here. :mod:`providers.worker.server.operations` answers, in this
process or, under Ray, in a replica.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import msgspec

from providers.worker.errors import BadRequest

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

# A request of OpenAI's largest size, 300,000 tokens, is a few megabytes.
BODY_BYTES_MAX = 16 << 20
BODY_S = 60
JSON = b"application/json"


class Reply(msgspec.Struct, frozen=True):
    """A response: status, body, content type and headers."""

    status: int
    body: bytes
    content_type: bytes = JSON
    headers: Headers = []


Answer = Callable[[str, str, bytes], Awaitable[Reply]]


class App:
    """The ASGI application. ``answer`` makes the reply from verb, path and body, and raises only when canceled."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. A caller who disconnects cancels the work."""
        if scope["type"] != "http":
            return
        try:
            async with asyncio.timeout(BODY_S):
                body = await _body(receive)
        except BadRequest as error:
            await _send(send, error_reply(error.status, str(error), error.code))
            return
        except TimeoutError:
            await _send(send, error_reply(408, "The body did not arrive in time.", "request_timeout"))
            return
        if body is None:
            return
        reply = await self._answer_unless_disconnected(receive, scope["method"], scope["path"], body)
        if reply is not None:
            await _send(send, reply)

    async def _answer_unless_disconnected(self, receive: Receive, verb: str, path: str, body: bytes) -> Reply | None:
        """The answer; None where the caller disconnected before it."""

        async def work() -> Reply:
            return await self._answer(verb, path, body)

        async with asyncio.TaskGroup() as group:
            working = group.create_task(work())
            watching = group.create_task(_cancel_on_disconnect(receive, working))
            working.add_done_callback(lambda _: watching.cancel())
        return None if working.cancelled() else working.result()


def error_reply(
    status: int,
    message: str,
    code: str,
    *,
    param: str | None = None,
    details: dict[str, int] | None = None,
    headers: Headers | None = None,
) -> Reply:
    """A reply with OpenAI's error envelope."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    error: dict[str, object] = {"message": message, "type": kind, "code": code, "param": param}
    if details:
        error["details"] = details
    return Reply(status, msgspec.json.encode({"error": error}), headers=headers or [])


async def _cancel_on_disconnect(receive: Receive, work: asyncio.Task[Reply]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    work.cancel()


async def _body(receive: Receive) -> bytes | None:
    """The whole body; None where the caller disconnected before its end. Raises BadRequest."""
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > BODY_BYTES_MAX:
            raise BadRequest(f"The body is larger than {BODY_BYTES_MAX} bytes.", code="body_too_large", status=413)
        chunks.append(chunk)
        if not message.get("more_body"):
            return b"".join(chunks)


async def _send(send: Send, reply: Reply) -> None:
    headers = [
        (b"content-type", reply.content_type),
        (b"content-length", str(len(reply.body)).encode()),
        *reply.headers,
    ]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})
