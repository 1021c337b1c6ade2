"""Whether a recorded graph, or a compiled model, would pay for short packs, where launching costs more than computing.

A graph replays fixed addresses and shapes: a bucket of tokens and sequences that a pack is filled up to. Nothing here
is what the worker does; it would be taken over where it is faster and gives the same vectors.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel
from typing_extensions import override

from bench.gpu.records import Values
from bench.gpu.session import DTYPE, Figures, Session
from providers.worker.frames import FloatMatrix
from providers.worker.model.attention import PackedAttention
from providers.worker.model.encoder import unit
from providers.worker.model.pooling import pool
from providers.worker.model.tokenizer import Encoded

Model = Callable[..., Any]
WARMUPS = 3


class FixedAttention(PackedAttention):
    """Attention whose offsets stay at one address: sequences that a pack lacks are empty ones at its end."""

    def __init__(self, tokens: int, sequences: int, device: str) -> None:
        super().__init__()
        self._longest = tokens
        self._offsets = torch.zeros(sequences + 2, dtype=torch.int32, device=device)

    @override
    def set_pack(self, starts: Sequence[int], device: torch.device) -> None:
        assert self._offsets is not None
        padded = [*starts, *[starts[-1]] * (len(self._offsets) - len(starts))]
        self.starts = starts
        self._offsets.copy_(torch.tensor(padded, dtype=torch.int32))


class Bucket:
    """A forward over fixed buffers: ``tokens`` ids and positions, up to ``sequences`` texts and a filler."""

    def __init__(self, model: PreTrainedModel, tokens: int, sequences: int, device: str) -> None:
        self.tokens = tokens
        self.ids = torch.zeros(1, tokens, dtype=torch.long, device=device)
        self.positions = torch.zeros(1, tokens, dtype=torch.long, device=device)
        self.model: Model = model
        self.replay: Callable[[], torch.Tensor] = self.forward
        self._attention = FixedAttention(tokens, sequences, device)
        self._device = torch.device(device)
        model.set_attn_implementation(self._attention.name)

    def forward(self) -> torch.Tensor:
        """[tokens, width] hidden states."""
        output = self.model(input_ids=self.ids, position_ids=self.positions, use_cache=False)
        hidden: torch.Tensor = output.last_hidden_state[0]
        return hidden

    def embed(self, pack: Sequence[Encoded]) -> FloatMatrix:
        """[sequences, width], not normalized. The pack must fit."""
        lengths = [len(row.ids) for row in pack]
        filler = self.tokens - sum(lengths)
        lengths += [filler] if filler else []
        starts = np.concatenate([[0], np.cumsum(lengths)]).tolist()
        ids = [token for row in pack for token in row.ids] + [0] * filler
        positions = np.concatenate([np.arange(length) for length in lengths])
        self._attention.set_pack(starts, self._device)
        with torch.inference_mode():
            self.ids.copy_(torch.tensor([ids]))
            self.positions.copy_(torch.from_numpy(positions)[None])
            rows = pool(self.replay(), starts[: len(pack) + 1], ["lasttoken"], [0] * len(pack))
        return rows.cpu().numpy()


def record_graph(work: Callable[[], torch.Tensor]) -> Callable[[], torch.Tensor]:
    """Capture ``work`` in a CUDA graph; the tensor it gives is the same one each time."""
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.inference_mode():
        with torch.cuda.stream(side):
            for _ in range(WARMUPS):
                work()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            output = work()

    def replay() -> torch.Tensor:
        graph.replay()
        return output

    return replay


def graphs(session: Session) -> Figures:
    """Each bucket, recorded, beside the worker's own way with the same texts. On a CPU nothing is recorded."""
    loaded = session.load(DTYPE)
    for tokens, sequences in session.amount.graph_buckets:
        bucket = Bucket(loaded.model, tokens, sequences, session.device)
        pack = _pack(session, tokens, sequences)
        bucket.embed(pack)
        if session.on_gpu:
            bucket.replay = record_graph(bucket.replay)
        yield f"{sequences} in {tokens} tokens", _beside_eager(session, bucket, pack)


def compile_model(session: Session) -> Figures:
    """The model through ``torch.compile``, for the same buckets; on a CPU by the back end that changes nothing."""
    loaded = session.load(DTYPE)
    backend = "inductor" if session.on_gpu else "eager"
    for tokens, sequences in session.amount.graph_buckets:
        bucket = Bucket(loaded.model, tokens, sequences, session.device)
        bucket.model = torch.compile(loaded.model, backend=backend, dynamic=False)
        pack = _pack(session, tokens, sequences)
        began = time.perf_counter()
        bucket.embed(pack)
        first_s = time.perf_counter() - began
        yield f"{sequences} in {tokens} tokens", _beside_eager(session, bucket, pack) | {"first_s": first_s}
        if session.time_left() < 20:
            return


def _pack(session: Session, tokens: int, sequences: int) -> list[Encoded]:
    """Texts that leave an eighth of the bucket to the filler."""
    return session.random_rows(max(1, tokens * 7 // 8 // sequences), sequences)


def _beside_eager(session: Session, bucket: Bucket, pack: Sequence[Encoded]) -> Values:
    encoder = session.ready.encoder
    usual, changed = unit(encoder.embed(pack)), unit(bucket.embed(pack))
    eager_s = session.timed(lambda: encoder.embed(pack), session.amount.repeats)
    changed_s = session.timed(lambda: bucket.embed(pack), session.amount.repeats)
    return {
        "eager_ms": 1e3 * eager_s,
        "changed_ms": 1e3 * changed_s,
        "ratio": eager_s / changed_s,
        "same_bits": bool(np.array_equal(usual, changed)),
        "difference_max": float(np.abs(usual - changed).max()),
    }
