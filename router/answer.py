"""Vectors and a receipt become bytes and headers: OpenAI's answer exactly, base64 or floats, shorter if asked.

We always write the vectors ourselves, whatever the provider gave: base64 is little-endian float32. A small answer is
one piece; a big one is made piece by piece while it is sent, so that none holds the event loop (2,048 vectors of 4,096
floats are 100 MB of text and 200 ms of work) and the whole text is never in memory.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache

import numpy as np
import orjson
import pybase64

from billing.money import cost_ceil, to_usd
from billing.values import Hold, LimitState, Receipt
from catalog.values import Model
from providers.protocol import FloatMatrix
from router.check import shorten
from router.dispatch import Delivery
from router.values import Answer, EmbedRequest, Served
from store.ids import PriceId, wire

# 64 Ki floats are 350 KB of base64 (0.1 ms) or 750 KB of text (1.5 ms).
PIECE_FLOATS = 65_536

JSON = (b"content-type", b"application/json")
_HEAD = b'{"object":"list","data":['
_ROW = b'{"object":"embedding","index":%d,"embedding":'
_TAIL = b'],"model":%b,"usage":{"prompt_tokens":%d,"total_tokens":%d}}'


def answer(request: EmbedRequest, model: Model, delivery: Delivery, receipt: Receipt | None, hold: Hold) -> Answer:
    """The answer of a charged call; without a receipt the amount is worked out from the hold's price.

    ``delivery.matrix`` is [inputs, native or asked width] float32 and has been checked.
    """
    matrix = delivery.matrix
    width = request.dimensions or matrix.shape[1]
    write = _base64 if request.encoding_format == "base64" else _floats
    tail = _TAIL % (_quoted(model.id), delivery.tokens, delivery.tokens)
    served = _served(model, delivery, receipt, hold)
    headers = _headers(model, delivery, served, hold)
    if matrix.shape[0] * width > PIECE_FLOATS:
        return Answer(status=200, headers=headers, pieces=_Pieces(matrix, width, write, tail), served=served)
    body = b"".join([_HEAD, *_rows(matrix, 0, width, write), tail])
    headers.append((b"content-length", b"%d" % len(body)))
    return Answer(status=200, headers=headers, pieces=(body,), served=served)


class _Pieces(Iterable[bytes]):
    """A big body: each turn of the iteration writes some rows."""

    def __init__(self, matrix: FloatMatrix, width: int, write: Callable[[FloatMatrix], bytes], tail: bytes) -> None:
        self._matrix = matrix
        self._width = width
        self._write = write
        self._tail = tail

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
    return b'"%b"' % pybase64.b64encode(row)


def _floats(row: FloatMatrix) -> bytes:
    return orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY)


def _served(model: Model, delivery: Delivery, receipt: Receipt | None, hold: Hold) -> Served:
    if receipt is None:
        charged = min(cost_ceil(delivery.tokens, hold.quote.price.nano_per_mtok), hold.quote.amount_max)
    else:
        charged = receipt.charged
    return Served(
        account_id=hold.payer.account_id,
        key_id=hold.payer.key_id,
        model_id=model.id,
        endpoint_id=delivery.endpoint.id,
        inputs=delivery.matrix.shape[0],
        tokens=delivery.tokens,
        charged=charged,
        attempts=delivery.attempts,
        upstream_ms=delivery.upstream_ms,
    )


def _headers(model: Model, delivery: Delivery, served: Served, hold: Hold) -> list[tuple[bytes, bytes]]:
    """The headers that tell what was done, by whom, and for how much."""
    endpoint = delivery.endpoint
    return [
        JSON,
        *_named(model.id, endpoint.provider_name, endpoint.space, hold.quote.price.id),
        (b"x-gigarouter-attempts", b"%d" % served.attempts),
        (b"x-gigarouter-cost", to_usd(served.charged).encode()),
        (b"server-timing", b"upstream;dur=%.1f" % served.upstream_ms),
        *limit_headers(hold.limits),
    ]


def limit_headers(limits: LimitState) -> list[tuple[bytes, bytes]]:
    """OpenAI's ``x-ratelimit-*``; the resets are durations as Go prints them."""
    return [
        (b"x-ratelimit-limit-requests", b"%d" % limits.requests_limit),
        (b"x-ratelimit-limit-tokens", b"%d" % limits.tokens_limit),
        (b"x-ratelimit-remaining-requests", b"%d" % limits.requests_remaining),
        (b"x-ratelimit-remaining-tokens", b"%d" % limits.tokens_remaining),
        (b"x-ratelimit-reset-requests", duration(limits.requests_reset_ms)),
        (b"x-ratelimit-reset-tokens", duration(limits.tokens_reset_ms)),
    ]


def duration(ms: int) -> bytes:
    """Milliseconds as ``0s``, ``112ms``, ``2.812s`` or ``6m0s``."""
    if ms <= 0:
        return b"0s"
    if ms < 1000:
        return b"%dms" % ms
    minutes, rest = divmod(ms, 60_000)
    seconds, thousandths = divmod(rest, 1000)
    fraction = (b".%03d" % thousandths).rstrip(b"0") if thousandths else b""
    return (b"%dm" % minutes if minutes else b"") + b"%d%bs" % (seconds, fraction)


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


def _plain(text: str) -> bytes:
    """Text as a header may hold it: printable ASCII, anything else as ``?``."""
    return "".join(c if " " <= c <= "~" else "?" for c in text).encode()
