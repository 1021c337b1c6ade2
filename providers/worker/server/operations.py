"""Answers each operation of the worker, from a body to a reply. Knows the engine and both protocols, but no sockets.

``POST /embed`` and ``POST /count`` (the broker's, msgpack and raw float32), ``POST /v1/embeddings`` (OpenAI's), ``GET
/info``, ``/health``, ``/ready``, ``/metrics``. Errors become envelopes here, and only here.
"""

import asyncio
import base64
import logging
from collections.abc import Awaitable, Callable
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from providers.worker import frames
from providers.worker.engine.engine import Embedded, Engine
from providers.worker.errors import BadRequest, OutputInvalid, Overloaded
from providers.worker.server.app import Headers, Reply, error_reply

logger = logging.getLogger("gigarouter.worker")

# As in OpenAI's API.
INPUTS_MAX = 2048
# JSON of this many numbers takes about a millisecond; more is written by a thread, row by row.
NUMBERS_INLINE = 4096


class OpenAIBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``POST /v1/embeddings``; ``input_type``, ``instruction`` and ``truncate`` are additions."""

    input: str | list[str | int | list[int]]
    model: str
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    user: str | None = None
    input_type: Literal["query", "document"] | None = None
    instruction: str | None = None
    truncate: bool = False


class Operations:
    """The operations of one engine, by verb and path."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._table: dict[tuple[str, str], Callable[[bytes], Awaitable[Reply]]] = {
            ("POST", "/embed"): self._embed,
            ("POST", "/count"): self._count,
            ("POST", "/v1/embeddings"): self._openai,
            ("GET", "/info"): self._info,
            ("GET", "/health"): self._health,
            ("GET", "/ready"): self._ready,
            ("GET", "/metrics"): self._metrics,
        }

    async def answer(self, verb: str, path: str, body: bytes) -> Reply:
        """The reply to one request; raises only when canceled."""
        operation = self._table.get((verb, path))
        if operation is None:
            has_path = any(path == other for _, other in self._table)
            return error_reply(405 if has_path else 404, "There is no such operation here.", "not_found")
        try:
            return await operation(body)
        except BadRequest as error:
            return error_reply(error.status, str(error), error.code, param=error.param, details=error.details)
        except Overloaded as error:
            after = str(max(1, round(error.retry_after_s))).encode()
            return error_reply(503, str(error), error.code, headers=[(b"retry-after", after)])
        except OutputInvalid as error:
            return error_reply(500, str(error), error.code)
        except Exception:
            logger.exception("a request failed")
            return error_reply(500, "The worker failed; its log says why.", "internal_error")

    async def _embed(self, body: bytes) -> Reply:
        request = frames.decode_request(body)
        _check_inputs(request.inputs)
        embedded = await self._engine.embed(request)
        identity = self._engine.identity
        header = frames.AnswerHeader(
            rows=embedded.matrix.shape[0],
            dimensions=embedded.matrix.shape[1],
            tokens=embedded.tokens,
            truncated=embedded.truncated,
            space=identity.space,
            model=identity.model,
            revision=identity.revision,
        )
        return Reply(200, frames.encode_answer(header, embedded.matrix), frames.ANSWER_TYPE.encode())

    async def _count(self, body: bytes) -> Reply:
        tokens = await self._engine.count(frames.decode_request(body))
        return Reply(200, frames.encode_count(tokens), frames.REQUEST_TYPE.encode())

    async def _openai(self, body: bytes) -> Reply:
        try:
            request = msgspec.json.decode(body, type=OpenAIBody)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise BadRequest(f"The body is not an embeddings request: {error}.") from None
        identity = self._engine.identity
        embedded = await self._engine.embed(_from_openai(request, identity.prompts))
        as_base64 = request.encoding_format == "base64"
        if as_base64 or embedded.matrix.size <= NUMBERS_INLINE:
            answer = _to_openai(embedded, identity.model, as_base64=as_base64)
        else:
            answer = await asyncio.to_thread(_to_openai, embedded, identity.model, as_base64=as_base64)
        headers: Headers = [(b"x-vector-space", identity.space.encode())]
        if any(embedded.truncated):
            headers.append((b"x-truncated-inputs", str(sum(embedded.truncated)).encode()))
        return Reply(200, answer, headers=headers)

    async def _info(self, body: bytes) -> Reply:
        return Reply(200, msgspec.json.encode(self._engine.identity))

    async def _health(self, body: bytes) -> Reply:
        return Reply(200, b'{"status":"ok"}')

    async def _ready(self, body: bytes) -> Reply:
        draining = self._engine.draining
        state = {"status": "draining" if draining else "ready"} | self._engine.load()
        return Reply(503 if draining else 200, msgspec.json.encode(state))

    async def _metrics(self, body: bytes) -> Reply:
        self._engine.load()
        return Reply(200, self._engine.metrics.exposition(), b"text/plain; version=0.0.4; charset=utf-8")


def _from_openai(body: OpenAIBody, prompts: dict[str, str]) -> frames.EmbedBody:
    prefix = prompts.get(body.input_type or "", "")
    if body.instruction is not None:
        prefix = f"Instruct: {body.instruction}\nQuery: "
    texts, ids = _inputs(body.input)
    _check_inputs(len(texts or ids or ()))
    return frames.EmbedBody(
        texts=texts, token_ids=ids, prefix=prefix, dimensions=body.dimensions, truncate=body.truncate
    )


def _inputs(value: str | list[str | int | list[int]]) -> tuple[list[str] | None, list[list[int]] | None]:
    """The four forms of OpenAI's ``input`` as texts or ids. Raises BadRequest for an empty or a mixed one."""
    texts = [value] if isinstance(value, str) else [item for item in value if isinstance(item, str)]
    rows = [] if isinstance(value, str) else [item for item in value if isinstance(item, list)]
    numbers = [] if isinstance(value, str) else [item for item in value if isinstance(item, int)]
    if numbers:
        rows = [*rows, numbers]
    if (texts and rows) or (numbers and len(rows) > 1):
        raise BadRequest("input mixes texts and token ids.", param="input")
    if not (texts or rows) or not all(texts) or not all(rows):
        raise BadRequest("input must have an element, and none may be empty.", code="input_empty", param="input")
    return (texts, None) if texts else (None, rows)


def _check_inputs(inputs: int) -> None:
    if inputs > INPUTS_MAX:
        message = f"The request has {inputs} inputs, at most {INPUTS_MAX} are taken at once."
        raise BadRequest(message, code="batch_too_large", param="input")


def _to_openai(embedded: Embedded, model: str, *, as_base64: bool) -> bytes:
    """OpenAI's answer, written row by row, so that other threads get their turn in between."""
    rows = b",".join(
        b'{"object":"embedding","index":%d,"embedding":%b}' % (index, _row(row, as_base64=as_base64))
        for index, row in enumerate(embedded.matrix)
    )
    usage = b'{"prompt_tokens":%d,"total_tokens":%d}' % (2 * (sum(embedded.tokens),))
    return b'{"object":"list","data":[%b],"model":%b,"usage":%b}' % (rows, msgspec.json.encode(model), usage)


def _row(row: npt.NDArray[np.float32], *, as_base64: bool) -> bytes:
    if as_base64:
        return b'"%b"' % base64.b64encode(row.astype("<f4").tobytes())
    return msgspec.json.encode(row.tolist())
