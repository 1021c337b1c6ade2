"""Vectors become bytes and headers: OpenAI's answer exactly, base64 or floats, shorter if asked.

We always write the vectors ourselves, whatever the provider gave: base64 is little-endian float32. A small answer is
one piece; a big one is made piece by piece while it is sent, so that none holds the event loop (2,048 vectors of 4,096
floats are 100 MB of text and 200 ms of work) and the whole text is never in memory.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache

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
from router.request.admission import limit_headers
from router.values import Answer, EmbedRequest, Served
from store.ids import PriceId, wire

# 64 Ki floats are 350 KB of base64 (0.1 ms) or 750 KB of text (1.5 ms).
PIECE_FLOATS = 65_536

JSON = (b"content-type", b"application/json")
_HEAD = b'{"object":"list","data":['
_ROW = b'{"object":"embedding","index":%d,"embedding":'
_TAIL = b'],"model":%b,"usage":{"prompt_tokens":%d,"total_tokens":%d}}'


def answer(
    request: EmbedRequest, model: Model, delivery: Delivery, used: Usage, hold: Hold, *, attribution: str | None = None
) -> Answer:
    """The answer of a call, made before it is charged so that both can be recorded in one transaction.

    ``delivery.matrix`` is [inputs, the model's width] float32 and has been checked; what is shorter is cut and
    normalized again here and nowhere else. ``attribution`` is what the model's license wants said wherever it is used.
    """
    matrix = delivery.matrix
    width = request.dimensions or matrix.shape[1]
    write = _base64 if request.encoding_format == "base64" else _floats
    tail = _TAIL % (_quoted(model.id), used.tokens, used.tokens)
    headers = _headers(model, delivery, used, hold)
    if attribution:
        headers.append((b"x-gigarouter-attribution", _plain(attribution)))
    served = Served(
        account_id=hold.payer.account_id,
        key_id=hold.payer.key_id,
        model_id=model.id,
        endpoint_id=used.endpoint_id,
        inputs=used.inputs,
        tokens=used.tokens,
        charged=used.cost,
        attempts=used.attempts,
        upstream_ms=delivery.upstream_s * 1000,
    )
    if matrix.shape[0] * width > PIECE_FLOATS:
        return Answer(status=200, headers=headers, body=_Pieces(matrix, width, write, tail), served=served)
    body = b"".join([_HEAD, *_rows(matrix, 0, width, write), tail])
    headers.append((b"content-length", b"%d" % len(body)))
    return Answer(status=200, headers=headers, body=(body,), served=served)


class _Pieces(Iterable[bytes]):
    """A big body: each turn of the iteration writes some rows."""

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
    parts: list[bytes] = []
    for index, row in enumerate(np.ascontiguousarray(matrix, dtype="<f4"), first):
        parts += (b"," if index else b"", _ROW % index, write(row), b"}")
    return parts


def _base64(row: FloatMatrix) -> bytes:
    return b'"%b"' % pybase64.b64encode(row.data)


def _floats(row: FloatMatrix) -> bytes:
    return orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY)


def _headers(model: Model, delivery: Delivery, used: Usage, hold: Hold) -> list[tuple[bytes, bytes]]:
    """The headers that tell what was done, by whom, and for how much."""
    endpoint = delivery.endpoint
    return [
        JSON,
        *_named(model.id, endpoint.provider_name, endpoint.space, hold.quote.price.id),
        (b"x-gigarouter-attempts", b"%d" % used.attempts),
        (b"x-gigarouter-cost", to_usd(used.cost).encode()),
        (b"server-timing", b"upstream;dur=%.1f" % (delivery.upstream_s * 1000)),
        *limit_headers(hold.limits),
    ]


@lru_cache(maxsize=4096)
def _quoted(text: str) -> bytes:
    return orjson.dumps(text)


@lru_cache(maxsize=4096)
def _named(model: str, provider: str, space: str, price: PriceId) -> tuple[tuple[bytes, bytes], ...]:
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
