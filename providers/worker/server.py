"""HTTP: plain ASGI, so that a request costs microseconds here. Knows the wire and the engine, not the model.

Operations: ``POST /embed`` and ``POST /count`` (the broker's, msgpack and raw float32), ``POST /v1/embeddings``
(OpenAI's), ``GET /info``, ``/health``, ``/ready``, ``/metrics``.
"""

import asyncio
import base64
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Literal

import msgspec

from providers.worker import frames
from providers.worker.engine import Embedded, Engine
from providers.worker.errors import BadRequest, OutputInvalid, Overloaded

logger = logging.getLogger("gigarouter.worker")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

BODY_BYTES_MAX = 64 << 20
BODY_S = 60
JSON = b"application/json"


class OpenAIBody(msgspec.Struct, forbid_unknown_fields=True):
    """``POST /v1/embeddings``; ``input_type``, ``instruction`` and ``truncate`` are additions."""

    input: str | list[str | int | list[int]]
    model: str
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    user: str | None = None
    input_type: Literal["query", "document"] | None = None
    instruction: str | None = None
    truncate: bool = False


class Reply(msgspec.Struct, frozen=True):
    """What goes out."""

    status: int
    body: bytes
    content_type: bytes = JSON
    headers: Headers = []


class App:
    """The ASGI application of one engine."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._operations: dict[tuple[str, str], Callable[[bytes], Awaitable[Reply]]] = {
            ("POST", "/embed"): self._embed,
            ("POST", "/count"): self._count,
            ("POST", "/v1/embeddings"): self._openai,
            ("GET", "/info"): self._info,
            ("GET", "/health"): self._health,
            ("GET", "/ready"): self._ready,
            ("GET", "/metrics"): self._metrics,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request. A caller who leaves takes the work out of the queue."""
        if scope["type"] != "http":
            return
        operation = self._operations.get((scope["method"], scope["path"]))
        if operation is None:
            known = any(path == scope["path"] for _, path in self._operations)
            await _send(send, _error(405 if known else 404, "There is no such operation here.", "not_found"))
            return
        try:
            async with asyncio.timeout(BODY_S):
                body = await _body(receive)
        except BadRequest as error:
            await _send(send, _error(error.status, str(error), error.code))
            return
        except TimeoutError:
            await _send(send, _error(408, "The body did not arrive in time.", "request_timeout"))
            return
        if body is None:
            return
        async with asyncio.TaskGroup() as group:
            work = group.create_task(_guarded(operation, body))
            watch = group.create_task(_cancel_when_gone(receive, work))
            work.add_done_callback(lambda _: watch.cancel())
        if not work.cancelled():
            await _send(send, work.result())

    async def _embed(self, body: bytes) -> Reply:
        request = frames.decode_request(body)
        done = await self.engine.embed(request)
        identity = self.engine.identity
        header = frames.AnswerHeader(
            rows=done.matrix.shape[0],
            dimensions=done.matrix.shape[1],
            tokens=done.tokens,
            truncated=done.truncated,
            space=identity.space,
            model=identity.model,
            revision=identity.revision,
        )
        return Reply(200, frames.encode_answer(header, done.matrix), frames.ANSWER_TYPE.encode())

    async def _count(self, body: bytes) -> Reply:
        tokens = await self.engine.count(frames.decode_request(body))
        return Reply(200, frames.encode_count(tokens), frames.REQUEST_TYPE.encode())

    async def _openai(self, body: bytes) -> Reply:
        try:
            request = msgspec.json.decode(body, type=OpenAIBody)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise BadRequest(f"The body is not an embeddings request: {error}.") from None
        done = await self.engine.embed(_from_openai(request, self.engine.identity.prompts))
        cut = sum(done.truncated)
        headers: Headers = [(b"x-vector-space", self.engine.identity.space.encode())]
        if cut:
            headers.append((b"x-truncated-inputs", str(cut).encode()))
        return Reply(200, _to_openai(done, request, self.engine.identity.model), headers=headers)

    async def _info(self, body: bytes) -> Reply:
        return Reply(200, msgspec.json.encode(self.engine.identity))

    async def _health(self, body: bytes) -> Reply:
        return Reply(200, b'{"status":"ok"}')

    async def _ready(self, body: bytes) -> Reply:
        state = "draining" if self.engine.draining else "ready"
        return Reply(503 if self.engine.draining else 200, msgspec.json.encode({"status": state} | self.engine.load()))

    async def _metrics(self, body: bytes) -> Reply:
        self.engine.load()
        return Reply(200, self.engine.metrics.exposition(), b"text/plain; version=0.0.4; charset=utf-8")


async def _guarded(operation: Callable[[bytes], Awaitable[Reply]], body: bytes) -> Reply:
    """The edge: every error becomes an envelope here, and only here."""
    try:
        return await operation(body)
    except BadRequest as error:
        return _error(error.status, str(error), error.code, param=error.param, details=error.details)
    except Overloaded as error:
        after = str(max(1, round(error.retry_after_s))).encode()
        return _error(503, str(error), error.code, headers=[(b"retry-after", after)])
    except OutputInvalid as error:
        return _error(500, str(error), error.code)
    except Exception:
        logger.exception("a request failed")
        return _error(500, "The worker failed; its log says why.", "internal_error")


async def _cancel_when_gone(receive: Receive, work: asyncio.Task[Reply]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    work.cancel()


def _from_openai(body: OpenAIBody, prompts: dict[str, str]) -> frames.EmbedBody:
    prefix = prompts.get(body.input_type or "", "")
    if body.instruction is not None:
        prefix = f"Instruct: {body.instruction}\nQuery: "
    texts, ids = _inputs(body.input)
    return frames.EmbedBody(
        texts=texts, token_ids=ids, prefix=prefix, dimensions=body.dimensions, truncate=body.truncate
    )


def _inputs(given: str | list[str | int | list[int]]) -> tuple[list[str] | None, list[list[int]] | None]:
    """The four forms of OpenAI's ``input`` as texts or ids. Raises BadRequest for an empty or a mixed one."""
    texts = [given] if isinstance(given, str) else [one for one in given if isinstance(one, str)]
    rows = [] if isinstance(given, str) else [one for one in given if isinstance(one, list)]
    numbers = [] if isinstance(given, str) else [one for one in given if isinstance(one, int)]
    if numbers:
        rows = [*rows, numbers]
    if (texts and rows) or (numbers and len(rows) > 1):
        raise BadRequest("input mixes texts and token ids.", param="input")
    if not (texts or rows) or not all(texts) or not all(rows):
        raise BadRequest("input must have an element, and none may be empty.", code="input_empty", param="input")
    return (texts, None) if texts else (None, rows)


def _to_openai(done: Embedded, body: OpenAIBody, model: str) -> bytes:
    as_text = body.encoding_format == "base64"
    tokens = sum(done.tokens)
    return msgspec.json.encode(
        {
            "object": "list",
            "data": [
                {
                    "object": "embedding",
                    "index": index,
                    "embedding": base64.b64encode(row.astype("<f4").tobytes()).decode() if as_text else row.tolist(),
                }
                for index, row in enumerate(done.matrix)
            ],
            "model": model,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }
    )


def _error(
    status: int,
    message: str,
    code: str,
    *,
    param: str | None = None,
    details: dict[str, int] | None = None,
    headers: Headers | None = None,
) -> Reply:
    kind = "invalid_request_error" if status < 500 else "server_error"
    error: dict[str, object] = {"message": message, "type": kind, "code": code, "param": param}
    if details:
        error["details"] = details
    return Reply(status, msgspec.json.encode({"error": error}), headers=headers or [])


async def _body(receive: Receive) -> bytes | None:
    """The whole body; None where the caller left before its end. Raises BadRequest."""
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
