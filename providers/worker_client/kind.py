"""Kind ``worker``: calls our own worker, msgpack in and raw float32 out; it counts by the model's own tokenizer."""

import struct
import time

import msgspec
import numpy as np

from providers.model_list import ListedModel
from providers.outcomes import BadAnswer, Broken, CallerFault, Failure, TooLong, Warming
from providers.protocol import Attempt, Vectors
from providers.statuses import WARMING_S, failure
from providers.wire import Answer, Origin, Pool, request
from providers.worker_client.identity import WorkerIdentity, read_identity
from providers.worker_client.options import WorkerOptions

# A header row is a count and a flag per input; a vector is at most 8,192 float32.
_HEADER_BYTES_PER_INPUT = 16
_SLACK_BYTES = 64 * 1024
_WIDEST = 8192
# What Ray's own server answers at a worker's address before the worker is deployed.
_NOT_YET_SERVED = b"/-/routes for available routes"


class _Request(msgspec.Struct):
    request_id: str
    texts: list[str] | None
    token_ids: list[list[int]] | None
    prefix: str
    truncate: bool
    lane: str


class _Header(msgspec.Struct):
    rows: int
    dimensions: int
    tokens: list[int]
    space: str
    truncated: list[bool] = []


class Load(msgspec.Struct, frozen=True):
    """How busy a worker says it is: tokens in each lane's queue, and the seconds that a new call would wait.

    ``status`` is ``ready``, ``draining`` (it takes no more calls) or ``warming`` (its model is being loaded).
    """

    status: str = ""
    interactive_wait_s: float = 0.0
    batch_wait_s: float = 0.0
    interactive_queue_tokens: float = 0.0
    batch_queue_tokens: float = 0.0
    tokens_per_s: float = 0.0


class _CountAnswer(msgspec.Struct):
    tokens: list[int]


class _ErrorDetails(msgspec.Struct):
    index: int | None = None
    tokens: int | None = None
    limit: int | None = None


class _Error(msgspec.Struct):
    code: str | None = None
    details: _ErrorDetails | None = None


class _ErrorBody(msgspec.Struct):
    error: _Error


_ENCODER = msgspec.msgpack.Encoder()
_HEADER = msgspec.msgpack.Decoder(_Header)
_COUNT = msgspec.msgpack.Decoder(_CountAnswer)
_ERROR = msgspec.json.Decoder(_ErrorBody)
_LOAD = msgspec.json.Decoder(Load)


class WorkerProvider:
    """One worker process, or several behind one address."""

    def __init__(self, origin: Origin, credential: str | None, options: WorkerOptions, pool: Pool) -> None:
        """Raises ``ValueError`` for a credential that cannot stand in a header."""
        headers = {"Content-Type": "application/msgpack", **options.headers}
        if credential is not None:
            headers["Authorization"] = f"Bearer {credential}"
        self._embed_head = origin.head("/embed", headers)
        self._count_head = origin.head("/count", headers)
        self._info_head = origin.head("/info", headers, method="GET")
        self._ready_head = origin.head("/ready", headers, method="GET")
        self._options = options
        self._channel = pool.channel(origin)
        # A worker's identity vouches for a whole vector space, so it is taken from our own machines alone.
        self._in_house = pool.channel(msgspec.structs.replace(origin, in_house=True))

    async def embed(self, attempt: Attempt, deadline_s: float) -> Vectors:
        """See :class:`providers.protocol.Provider`."""
        row_bytes = 4 * (attempt.dimensions or _WIDEST) + _HEADER_BYTES_PER_INPUT
        answer = await self._post(self._embed_head, attempt, deadline_s, _SLACK_BYTES + attempt.inputs * row_bytes)
        return read_answer(answer.body, attempt.inputs)

    async def count(self, attempt: Attempt, deadline_s: float) -> int | None:
        """Count the tokens of all inputs together, prompts and special tokens included."""
        most_bytes = _SLACK_BYTES + attempt.inputs * _HEADER_BYTES_PER_INPUT
        answer = await self._post(self._count_head, attempt, deadline_s, most_bytes)
        try:
            tokens = _COUNT.decode(answer.body).tokens
        except msgspec.DecodeError as error:
            raise Broken(detail="a count that cannot be read") from error
        return _total_tokens(tokens, attempt.inputs)

    async def identity(self, deadline_s: float) -> WorkerIdentity:
        """Ask which weights it serves and how. Raises as :meth:`embed`, and outside the operator's allowed networks."""
        answer = await self._in_house.exchange(request(self._info_head, b""), deadline_s, _SLACK_BYTES)
        if answer.status != 200:
            raise _failure(answer)
        return read_identity(answer.body)

    async def list_models(self, deadline_s: float) -> tuple[ListedModel, ...]:
        """The one model that it serves, by its identity. Raises as :meth:`identity`."""
        identity = await self.identity(deadline_s)
        return (ListedModel(identity.model, is_embedding=True, dimensions=identity.dimensions),)

    async def load(self, deadline_s: float) -> Load:
        """Ask how busy it is. Raises as :meth:`embed` does."""
        answer = await self._channel.exchange(request(self._ready_head, b""), deadline_s, _SLACK_BYTES)
        if answer.status not in (200, 503):
            raise _failure(answer)
        try:
            return _LOAD.decode(answer.body)
        except msgspec.MsgspecError as error:
            raise Broken(detail="a load that cannot be read") from error

    async def close(self) -> None:
        """Close pooled connections."""
        self._channel.close()
        self._in_house.close()

    async def _post(self, head: bytes, attempt: Attempt, deadline_s: float, most_bytes: int) -> Answer:
        body = _ENCODER.encode(
            _Request(
                request_id=attempt.request_id,
                texts=attempt.texts,
                token_ids=attempt.token_ids,
                prefix=attempt.prefix,
                truncate=False,
                lane=attempt.lane if self._options.lane == "interactive" else self._options.lane,
            )
        )
        answer = await self._channel.exchange(request(head, body), deadline_s, most_bytes)
        if answer.status != 200:
            raise _failure(answer)
        return answer


def read_answer(body: bytes | bytearray, inputs: int) -> Vectors:
    """Read the worker's answer: the header's length as u32, the header in msgpack, the vectors, which are not copied.

    Raises Broken (cannot be read) or BadAnswer (read, but wrong).
    """
    try:
        (header_bytes,) = struct.unpack_from("<I", body)
        header = _HEADER.decode(memoryview(body)[4 : 4 + header_bytes])
    except (struct.error, msgspec.DecodeError, RecursionError) as error:
        raise Broken(detail="a worker's answer that cannot be read") from error
    start = 4 + header_bytes
    if header.rows != inputs or header.dimensions <= 0:
        raise BadAnswer(detail=f"{header.rows} vectors of {header.dimensions} dimensions for {inputs} inputs")
    if len(body) - start != header.rows * header.dimensions * 4:
        raise BadAnswer(detail="vectors of another size than the header says")
    if any(header.truncated):
        raise BadAnswer(detail="an input was cut, though cutting was forbidden")
    matrix = np.frombuffer(body, dtype="<f4", offset=start).reshape(header.rows, header.dimensions)
    return Vectors(matrix=matrix, tokens=_total_tokens(header.tokens, inputs), exact=True, space=header.space)


def _total_tokens(tokens: list[int], inputs: int) -> int:
    if len(tokens) != inputs or any(count < 0 for count in tokens):
        raise BadAnswer(detail="token counts that do not fit the inputs")
    return sum(tokens)


def _failure(answer: Answer) -> Failure:
    """As for any upstream, but the numbers of our own worker may be shown: which input, how long, what is allowed."""
    if answer.status == 404 and _NOT_YET_SERVED in answer.body[:1000]:
        return Warming(detail="status 404 of Ray's", status=404, retry_after_s=WARMING_S)
    mapped = failure(answer.status, answer.headers, answer.body, time.time())
    if not isinstance(mapped, CallerFault):
        return mapped
    try:
        error = _ERROR.decode(answer.body).error
    except msgspec.DecodeError:
        return mapped
    details = error.details
    if error.code != "input_too_long" or details is None or details.index is None or details.limit is None:
        return mapped
    return TooLong(index=details.index, tokens=details.tokens, limit=details.limit, detail=mapped.detail)
