"""Encodes vectors as the bytes and headers of OpenAI's answer: base64 or floats, with fewer dimensions if requested.

We always write the vectors ourselves, whatever the provider gave: base64 is little-endian float32. A small answer is
one piece; a big one is made piece by piece while it is sent, so that none holds the event loop (2,048 vectors of 4,096
floats are 100 MB of text and 200 ms of work) and the whole text is never in memory.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, partial
from typing import Literal

import msgspec
import numpy as np
import orjson
import pybase64
from typing_extensions import override

from billing.money import to_usd
from billing.values import Hold, Usage
from catalog.values import Model
from providers.protocol import FloatMatrix
from router.dispatch.dispatch import Delivery
from router.dispatch.validate import shorten
from router.request.admission import rate_limit_headers
from router.values import Answer, CallSummary, EmbedRequest
from store.ids import PriceId, wire

# 64 Ki floats are 350 KB of base64 (0.1 ms) or 750 KB of text (1.5 ms).
PIECE_FLOATS = 65_536

JSON = (b"content-type", b"application/json")
# A proxy that keeps answers by their address would give the vectors of other texts, or another key's.
NO_STORE = (b"cache-control", b"no-store")
_HEAD = b'{"object":"list","data":['
_ROW = b'{"object":"embedding","index":%d,"embedding":'
_TAIL = b'],"model":%b,"usage":{"prompt_tokens":%d,"total_tokens":%d}}'


def encode_answer(
    request: EmbedRequest, model: Model, delivery: Delivery, usage: Usage, hold: Hold, *, attribution: str | None = None
) -> Answer:
    """The answer of a call, encoded before it is charged so that both can be stored in one transaction.

    ``delivery.matrix`` is [inputs, the model's width] float32 and has been checked. Rows are cut to fewer dimensions
    and normalized again here and nowhere else. ``attribution`` is the text that the model's license demands.
    """
    matrix = delivery.matrix
    width = request.dimensions or matrix.shape[1]
    write = _base64 if request.encoding_format == "base64" else _floats
    tail = _TAIL % (_quoted(model.id), usage.tokens, usage.tokens)
    headers = _headers(model, delivery, usage, hold)
    if request.token_ids is not None:
        # Ids of another tokenizer are vectors of another text: the answer says whose they were taken for.
        headers.append((b"x-gigarouter-tokenizer", _plain(model.tokenizer or model.id)))
    if attribution:
        headers.append((b"x-gigarouter-attribution", _plain(attribution)))
    summary = CallSummary(
        account_id=hold.payer.account_id,
        key_id=hold.payer.key_id,
        model_id=model.id,
        endpoint_id=usage.endpoint_id,
        inputs=usage.inputs,
        tokens=usage.tokens,
        charged=usage.cost,
        attempts=usage.attempts,
        upstream_ms=delivery.upstream_s * 1000,
    )
    compact = partial(_compact, matrix, width, request.encoding_format, tail)
    if matrix.shape[0] * width > PIECE_FLOATS:
        body: Iterable[bytes] = _Pieces(matrix, width, write, tail)
    else:
        body = (b"".join([_HEAD, *_rows(matrix, 0, width, write), tail]),)
        headers.append((b"content-length", b"%d" % len(body[0])))
    return Answer(status=200, headers=headers, body=body, summary=summary, compact=compact)


class StoredVectors(msgspec.Struct, frozen=True, array_like=True):
    """What a body is encoded from, byte for byte: ``vectors`` are rows of ``width`` little-endian float32."""

    width: int
    encoding_format: Literal["float", "base64"]
    tail: bytes
    vectors: bytes


def _compact(
    matrix: FloatMatrix, width: int, encoding_format: Literal["float", "base64"], tail: bytes, bytes_max: int
) -> bytes | None:
    """The vectors as they are stored, or None where they are longer than ``bytes_max``."""
    if matrix.shape[0] * width * 4 > bytes_max:
        return None
    if width < matrix.shape[1]:
        matrix = shorten(matrix, width)
    vectors = np.ascontiguousarray(matrix, dtype="<f4").tobytes()
    return msgspec.msgpack.encode(StoredVectors(width, encoding_format, tail, vectors))


def restore_body(stored: bytes) -> Iterable[bytes]:
    """The body that was stored: encoded from its vectors again, or as it is where it was stored as JSON."""
    if stored.startswith(b"{"):
        return (stored,)
    found = msgspec.msgpack.decode(stored, type=StoredVectors)
    matrix = np.frombuffer(found.vectors, dtype="<f4").reshape(-1, found.width)
    write = _base64 if found.encoding_format == "base64" else _floats
    return _Pieces(matrix, found.width, write, found.tail)


class _Pieces(Iterable[bytes]):
    """A big body: each step of the iteration encodes some rows."""

    def __init__(self, matrix: FloatMatrix, width: int, write: Callable[[FloatMatrix], bytes], tail: bytes) -> None:
        self._matrix = matrix
        self._width = width
        self._write = write
        self._tail = tail

    @override
    def __iter__(self) -> Iterator[bytes]:
        yield _HEAD
        step = max(1, PIECE_FLOATS // self._matrix.shape[1])
        for first in range(0, self._matrix.shape[0], step):
            rows = _rows(self._matrix[first : first + step], first, self._width, self._write)
            yield b"".join(rows)
        yield self._tail


def _rows(matrix: FloatMatrix, first: int, width: int, write: Callable[[FloatMatrix], bytes]) -> list[bytes]:
    """The JSON of consecutive rows, the first of which has the index ``first``; commas included."""
    if width < matrix.shape[1]:
        matrix = shorten(matrix, width)
    rows: list[bytes] = []
    for index, row in enumerate(np.ascontiguousarray(matrix, dtype="<f4"), first):
        rows += (b"," if index else b"", _ROW % index, write(row), b"}")
    return rows


def _base64(row: FloatMatrix) -> bytes:
    return b'"%b"' % pybase64.b64encode(row.data)


def _floats(row: FloatMatrix) -> bytes:
    return orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY)


def _headers(model: Model, delivery: Delivery, usage: Usage, hold: Hold) -> list[tuple[bytes, bytes]]:
    """The headers that name the model, the provider, the space, the price and the cost."""
    endpoint = delivery.endpoint
    return [
        JSON,
        NO_STORE,
        *_name_headers(model.id, endpoint.provider_name, endpoint.space, hold.quote.price.id),
        (b"x-gigarouter-attempts", b"%d" % usage.attempts),
        (b"x-gigarouter-cost", to_usd(usage.cost).encode()),
        (b"server-timing", b"upstream;dur=%.1f" % (delivery.upstream_s * 1000)),
        *rate_limit_headers(hold.limits.after(usage.tokens)),
    ]


@lru_cache(maxsize=4096)
def _quoted(text: str) -> bytes:
    return orjson.dumps(text)


@lru_cache(maxsize=4096)
def _name_headers(model: str, provider: str, space: str, price: PriceId) -> tuple[tuple[bytes, bytes], ...]:
    return (
        (b"openai-model", _plain(model)),
        (b"x-gigarouter-model", _plain(model)),
        (b"x-gigarouter-provider", _plain(provider)),
        (b"x-gigarouter-space", _plain(space)),
        (b"x-gigarouter-price-id", wire(PriceId, price).encode()),
    )


@lru_cache(maxsize=4096)
def _plain(text: str) -> bytes:
    """Text as a header may hold it: printable ASCII, anything else as ``?``."""
    return "".join(c if " " <= c <= "~" else "?" for c in text).encode()
