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
from prometheus_client import REGISTRY, generate_latest

from providers.worker import frames
from providers.worker.engine import Embedded, Engine
from providers.worker.errors import BadRequest, Overloaded

logger = logging.getLogger("gigarouter.worker")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

BODY_BYTES_MAX = 64 << 20
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
        self._operations: dict[tuple[str, str], Callable[[Receive], Awaitable[Reply]]] = {
            ("POST", "/embed"): self._embed,
            ("POST", "/count"): self._count,
            ("POST", "/v1/embeddings"): self._openai,
            ("GET", "/info"): self._info,
            ("GET", "/health"): self._health,
            ("GET", "/ready"): self._ready,
            ("GET", "/metrics"): self._metrics,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return
        reply: Reply | None
        operation = self._operations.get((scope["method"], scope["path"]))
        if operation is None:
            known = any(path == scope["path"] for _, path in self._operations)
            reply = _error(405 if known else 404, "There is no such operation here.", "not_found")
        else:
            reply = await self._guarded(operation, receive)
        if reply is not None:
            await _send(send, reply)

    async def _guarded(self, operation: Callable[[Receive], Awaitable[Reply]], receive: Receive) -> Reply | None:
        try:
            return await operation(receive)
        except BadRequest as error:
            return _error(error.status, str(error), error.code, param=error.param, details=error.details)
        except Overloaded as error:
            after = str(max(1, round(error.retry_after_s))).encode()
            return _error(503, str(error), error.code, headers=[(b"retry-after", after)])
        except Exception:
            logger.exception("a request failed")
            return _error(500, "The worker failed; its log says why.", "internal_error")

    async def _embed(self, receive: Receive) -> Reply:
        request = frames.decode_request(await _body(receive))
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

    async def _count(self, receive: Receive) -> Reply:
        tokens = await self.engine.count(frames.decode_request(await _body(receive)))
        return Reply(200, frames.encode_count(tokens), frames.REQUEST_TYPE.encode())

    async def _openai(self, receive: Receive) -> Reply:
        try:
            body = msgspec.json.decode(await _body(receive), type=OpenAIBody)
        except msgspec.MsgspecError as error:
            raise BadRequest(f"The body is not an embeddings request: {error}.") from None
        done = await self.engine.embed(_from_openai(body, self.engine.identity.prompts))
        cut = sum(done.truncated)
        headers: Headers = [(b"x-vector-space", self.engine.identity.space.encode())]
        if cut:
            headers.append((b"x-truncated-inputs", str(cut).encode()))
        return Reply(200, _to_openai(done, body, self.engine.identity.model), headers=headers)

    async def _info(self, receive: Receive) -> Reply:
        return Reply(200, msgspec.json.encode(self.engine.identity))

    async def _health(self, receive: Receive) -> Reply:
        return Reply(200, b'{"status":"ok"}')

    async def _ready(self, receive: Receive) -> Reply:
        return Reply(503, b'{"status":"draining"}') if self.engine.draining else Reply(200, b'{"status":"ready"}')

    async def _metrics(self, receive: Receive) -> Reply:
        return Reply(200, generate_latest(REGISTRY), b"text/plain; version=0.0.4; charset=utf-8")


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


async def _body(receive: Receive) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise asyncio.CancelledError
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
