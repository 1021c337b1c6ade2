"""Compresses an answer for a client that takes it so (RFC 9110 §12.5.3): gzip or zstd, off the event loop where large.

Vectors are noise to a compressor: base64 shrinks by a quarter, decimal text by half, both by their alphabet alone. So
gzip looks for no repetitions in them (66 MB/s and 74.5 % where its level 1 has 12 MB/s and 76 %; zstd: 220 MB/s), and
one vector goes as it is. Never compressed: an answer with a secret in it, whose length would tell of it (BREACH), and
one with an ETag, which names these very bytes.
"""

import asyncio
import zlib
from typing import Protocol

import zstandard

from router.api.exchange import Exchange, Message, Send

# A vector of 4,096 dimensions as base64 is 21.9 KB: calls with one input are never slower for what clients accept.
VECTORS_BYTES_MIN = 22 * 1024
BYTES_MIN = 1024
# Up to this the event loop does it itself, in about half a millisecond at worst.
INLINE_BYTES_MAX = 32 * 1024

_GZIP_WBITS = 31
_TYPES = (b"application/json", b"application/yaml", b"application/x-ndjson", b"text/")
_WITHOUT_BODY = (204, 304)

Headers = list[tuple[bytes, bytes]]


class Coder(Protocol):
    """What zlib and zstandard have in common."""

    def compress(self, data: bytes, /) -> bytes:
        """Takes the next bytes."""
        ...

    def flush(self) -> bytes:
        """Ends the stream."""
        ...


class CompressedAnswer:
    """The ``send`` of one request whose client takes ``coding``."""

    def __init__(self, send: Send, coding: str, exchange: Exchange) -> None:
        self._send = send
        self._coding = coding
        self._exchange = exchange
        self._start: Message | None = None
        self._coder: Coder | None = None

    async def __call__(self, message: Message) -> None:
        """Takes the answer's messages in order; passes on each, or what it becomes."""
        if message["type"] == "http.response.start":
            if self._is_worth_it(message):
                self._start = message
            else:
                await self._send(message)
        elif self._start is not None:
            await self._begin(self._start, message)
        elif self._coder is not None:
            await self._go_on(self._coder, message)
        else:
            await self._send(message)

    def _is_worth_it(self, start: Message) -> bool:
        headers = dict(start["headers"])
        length = headers.get(b"content-length")
        smallest = VECTORS_BYTES_MIN if self._is_vectors else BYTES_MIN
        return (
            start["status"] not in _WITHOUT_BODY
            and not self._exchange.holds_secret
            and (length is None or int(length) >= smallest)
            and headers.get(b"content-type", b"").startswith(_TYPES)
            and b"content-encoding" not in headers
            and b"etag" not in headers
        )

    @property
    def _is_vectors(self) -> bool:
        return self._exchange.trace is not None

    async def _begin(self, start: Message, message: Message) -> None:
        """Sends the head with the first piece, whose compressed size is the answer's where there is no other piece."""
        self._start = None
        coder = _coder(self._coding, is_vectors=self._is_vectors)
        headers: Headers = [pair for pair in start["headers"] if pair[0] != b"content-length"]
        headers.append((b"content-encoding", self._coding.encode()))
        if message.get("more_body", False):
            self._coder = coder
            await self._send({**start, "headers": headers})
            await self._go_on(coder, message)
            return
        body = await _compress(coder, message.get("body", b""), is_last=True)
        headers.append((b"content-length", b"%d" % len(body)))
        await self._send({**start, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})

    async def _go_on(self, coder: Coder, message: Message) -> None:
        more = message.get("more_body", False)
        body = await _compress(coder, message.get("body", b""), is_last=not more)
        await self._send({"type": "http.response.body", "body": body, "more_body": more})


def _coder(coding: str, *, is_vectors: bool) -> Coder:
    if coding == "zstd":
        return zstandard.ZstdCompressor(level=1 if is_vectors else 3).compressobj()
    if is_vectors:
        return zlib.compressobj(1, zlib.DEFLATED, _GZIP_WBITS, zlib.DEF_MEM_LEVEL, zlib.Z_HUFFMAN_ONLY)
    return zlib.compressobj(4, zlib.DEFLATED, _GZIP_WBITS)


async def _compress(coder: Coder, data: bytes, *, is_last: bool) -> bytes:
    if len(data) <= INLINE_BYTES_MAX:
        return _step(coder, data, is_last)
    # Both libraries let go of the interpreter's lock meanwhile.
    return await asyncio.to_thread(_step, coder, data, is_last)


def _step(coder: Coder, data: bytes, is_last: bool) -> bytes:
    compressed = coder.compress(data)
    return compressed + coder.flush() if is_last else compressed
