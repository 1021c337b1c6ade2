"""Between the requests and the model: tokenizes off the model's thread, packs, runs, joins."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec
import numpy as np

from providers.worker.errors import BadRequest, Overloaded
from providers.worker.frames import EmbedBody, FloatMatrix
from providers.worker.pooling import finish
from providers.worker.start import Ready
from providers.worker.tokens import Encoded

TEXTS_PER_TURN = 64
PACK_TOKENS = 1024


class Embedded(msgspec.Struct, frozen=True):
    """One request's vectors, [inputs, dimensions], with the exact tokens of each input."""

    matrix: FloatMatrix
    tokens: list[int]
    truncated: list[bool]


class Engine:
    """The model with a queue in front."""

    def __init__(self, ready: Ready) -> None:
        self.identity = ready.identity
        self._encoder = ready.encoder
        self._tokenizers = ready.tokenizers
        self._tokenizer_threads = ThreadPoolExecutor(2, thread_name_prefix="tokenizer")
        self._model_thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self.draining = False

    async def count(self, request: EmbedBody) -> list[int]:
        """Exact tokens of each input. Raises BadRequest."""
        return [len(encoded.ids) for encoded in await self._encode(request)]

    async def embed(self, request: EmbedBody) -> Embedded:
        """Raises BadRequest, Overloaded."""
        if self.draining:
            raise Overloaded("This worker is shutting down; send the request to another one.", retry_after_s=5)
        self._check_dimensions(request.dimensions)
        self._under_way += 1
        self._idle.clear()
        try:
            encoded = await self._encode(request)
            loop = asyncio.get_running_loop()
            rows = [
                await loop.run_in_executor(self._model_thread, self._encoder.embed, pack) for pack in _packs(encoded)
            ]
            matrix = finish(np.concatenate(rows), request.dimensions, normalized=self._tokenizers_normalized)
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()
        return Embedded(
            matrix=matrix,
            tokens=[len(one.ids) for one in encoded],
            truncated=[one.truncated for one in encoded],
        )

    async def drain(self) -> None:
        """Refuse new requests, wait for those accepted."""
        self.draining = True
        await self._idle.wait()

    @property
    def _tokenizers_normalized(self) -> bool:
        return self.identity.normalized

    def _check_dimensions(self, dimensions: int | None) -> None:
        if dimensions is None:
            return
        native = self.identity.dimensions
        if dimensions != native and not self.identity.trained_dimensions:
            raise BadRequest(
                f"This model's vectors cannot be shortened; leave dimensions out or ask for {native}.",
                code="dimensions_unsupported",
                param="dimensions",
            )
        if not 1 <= dimensions <= native:
            raise BadRequest(
                f"dimensions must be from 1 to {native}.", code="dimensions_unsupported", param="dimensions"
            )

    async def _encode(self, request: EmbedBody) -> list[Encoded]:
        loop = asyncio.get_running_loop()
        encoded: list[Encoded] = []
        for first in range(0, request.inputs, TEXTS_PER_TURN):
            encoded += await loop.run_in_executor(self._tokenizer_threads, self._encode_turn, request, first)
        return encoded

    def _encode_turn(self, request: EmbedBody, first: int) -> list[Encoded]:
        turn = slice(first, first + TEXTS_PER_TURN)
        if request.texts is not None:
            return self._tokenizers.encode_texts(
                request.texts[turn], request.prefix, truncate=request.truncate, first=first
            )
        ids = request.token_ids or []
        return self._tokenizers.encode_ids(ids[turn], request.prefix, truncate=request.truncate, first=first)


def _packs(encoded: Sequence[Encoded]) -> list[list[Encoded]]:
    packs: list[list[Encoded]] = []
    tokens = PACK_TOKENS
    for one in encoded:
        if tokens + len(one.ids) > PACK_TOKENS:
            packs.append([])
            tokens = 0
        packs[-1].append(one)
        tokens += len(one.ids)
    return packs
