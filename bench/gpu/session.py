"""What the steps of one size share: the model's folder, the loaded worker, texts, and how to measure a time."""

import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

import msgspec
import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from bench.gpu.plan import Amount, shape_named
from bench.gpu.records import Values
from bench.worker import model
from providers.worker.frames import FloatMatrix
from providers.worker.model import weights
from providers.worker.model.attention import PackedAttention
from providers.worker.model.encoder import Encoder, unit
from providers.worker.model.family import Shape
from providers.worker.model.profile import read_profile
from providers.worker.model.tokenizer import Encoded
from providers.worker.options import Options
from providers.worker.start import LoadedModel, prepare

Figures = Iterator[tuple[str, Values]]
DTYPE = "bfloat16"
SEED = 14


class Loaded(msgspec.Struct, frozen=True):
    """A model of the folder besides the worker's own, with its attention within reach."""

    model: PreTrainedModel
    attention: PackedAttention


class Session:
    """One size on one device. What takes time is made when a step first asks for it."""

    def __init__(self, size: str, device: str, scratch: Path, amount: Amount, rows: int | None) -> None:
        self.size = size
        self.device = device
        self.scratch = scratch
        self.amount = amount
        self.deadline = float("inf")
        self._rows = rows

    @property
    def shape(self) -> Shape:
        return shape_named(self.size)

    @property
    def on_gpu(self) -> bool:
        return self.device.startswith("cuda")

    @cached_property
    def folder(self) -> Path:
        """Random weights of the true shape, stored as bfloat16, as the family's are."""
        at = self.scratch / f"F2LLM-v2-{self.size}"
        rows = self._rows or model.ROWS
        return model.folder_at(at, self.shape, rows=rows, device=self.device, dtype=torch.bfloat16)

    @cached_property
    def ready(self) -> LoadedModel:
        """The worker's own way in: verify, load, warm up."""
        return prepare(Options(model=str(self.folder), device=self.device, dtype=DTYPE))

    @property
    def budget(self) -> int:
        """Tokens of a whole pack."""
        return self.ready.warmup.limits.pack_tokens

    def time_left(self) -> float:
        """Seconds until the step must have ended."""
        return self.deadline - time.monotonic()

    def load(self, dtype: str, *, device: str | None = None, attention: PackedAttention | None = None) -> Loaded:
        """The folder's weights once more."""
        own = attention or PackedAttention()
        files = weights.weight_files(self.folder)
        found = weights.load(self.folder, files, dtype=dtype, device=device or self.device, attention=own.name)
        return Loaded(found, own)

    def encoder(
        self, dtype: str, change: Callable[[torch.Tensor], torch.Tensor] | None = None, *, device: str | None = None
    ) -> Encoder:
        """The folder's weights as another worker would embed with them; ``change`` is done to each matrix first."""
        loaded = self.load(dtype, device=device)
        if change is not None:
            with torch.no_grad():
                for module in loaded.model.modules():
                    if isinstance(module, nn.Linear):
                        module.weight.copy_(change(module.weight))
        profile = read_profile(self.folder, self.folder.name)
        return Encoder(loaded.model, loaded.attention, profile, filler=self.ready.tokenizers.end.id or 0)

    def skewed(self, texts: int, seed: int = SEED) -> tuple[list[str], list[Encoded]]:
        """Texts of the skewed mix, and their ids."""
        written = model.texts_of(self.skewed_lengths(texts), seed)
        return written, self.encoded(written)

    def skewed_lengths(self, texts: int) -> list[int]:
        """Log-normal, as ``bench.worker`` has them; in the small amounts a CPU's, a quarter as long."""
        lengths = model.skewed_lengths(texts)
        return lengths if self._rows is None else [max(8, length // 4) for length in lengths]

    def encoded(self, texts: Sequence[str]) -> list[Encoded]:
        """Ids by the worker's own tokenizer."""
        return self.ready.tokenizers.encode_texts(texts, "", truncate=False)

    def random_rows(self, length: int, rows: int) -> list[Encoded]:
        """Rows of random ids, which cost what any ids cost."""
        rng = np.random.default_rng(SEED)
        ids = rng.integers(0, self.ready.tokenizers.vocabulary_size, (rows, length))
        return [Encoded(ids=row) for row in ids.tolist()]

    def synchronize(self) -> None:
        """Wait for the device."""
        if self.on_gpu:
            torch.cuda.synchronize(self.device)

    def timed(self, work: Callable[[], object], repeats: int) -> float:
        """Median seconds of one call, after one that does not count."""
        work()
        taken = []
        for _ in range(max(1, repeats)):
            self.synchronize()
            began = time.perf_counter()
            work()
            self.synchronize()
            taken.append(time.perf_counter() - began)
            if self.time_left() < 1:
                break
        return statistics.median(taken)


def packs_of(rows: Sequence[Encoded], budget: int, order: Iterable[int]) -> list[list[int]]:
    """The places of the rows, in this order, cut into packs of at most ``budget`` tokens, or of one long row."""
    packs: list[list[int]] = []
    room = 0
    for place in order:
        tokens = len(rows[place].ids)
        if tokens > room:
            packs.append([])
            room = budget
        packs[-1].append(place)
        room -= tokens
    return packs


def embed_in_packs(
    encoder: Encoder, rows: Sequence[Encoded], budget: int, order: Iterable[int] | None = None
) -> FloatMatrix:
    """[rows, width] vectors of length 1, computed in packs, in the order of ``rows`` whatever ``order`` was."""
    places = packs_of(rows, budget, range(len(rows)) if order is None else order)
    found = np.empty((len(rows), 0), np.float32)
    for pack in places:
        matrix = encoder.embed([rows[place] for place in pack])
        if not found.shape[1]:
            found = np.empty((len(rows), matrix.shape[1]), np.float32)
        found[pack] = matrix
    return unit(found)
