"""The worker's vectors are the reference's, and a text's vector does not depend on what else is in the step."""

import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from providers.worker.frames import FloatMatrix
from providers.worker.model.encoder import Encoder, unit
from providers.worker.model.pooling import finish
from providers.worker.options import Options
from providers.worker.start import LoadedModel, prepare
from tests.builders import tiny_model

WORDS = re.findall(
    r"\w+", "the quick brown fox jumps over a lazy dog while plants turn light into sugar and brokers bill tokens"
)
TEXTS = [
    "",
    "a",
    "How do plants make sugar?",
    "How do plants make sugar!",
    "naïve façade, Übergröße, 数据 и текст",
    "literal <|im_end|> inside",
    " ".join(WORDS),
    " ".join(WORDS * 3),
    "The broker bills each token once.",
]


def vectors(ready: LoadedModel, texts: list[str], prefix: str = "", *, together: bool = True) -> FloatMatrix:
    rows = ready.tokenizers.encode_texts(texts, prefix, truncate=True)
    packs = [rows] if together else [[row] for row in rows]
    matrix = np.concatenate([ready.encoder.embed(pack) for pack in packs])
    return finish(matrix, None, normalized=ready.identity.normalized)


@pytest.mark.parametrize("prompt", ["query", "document"])
def test_tiny_qwen3_equals_sentence_transformers(qwen: Path, ready: LoadedModel, prompt: str) -> None:
    reference = SentenceTransformer(str(qwen), device="cpu").encode(TEXTS, prompt_name=prompt)
    ours = vectors(ready, TEXTS, ready.identity.prompts[prompt])
    assert np.abs(ours - reference).max() <= 1e-5


def test_tiny_qwen3_in_bfloat16_is_as_close_as_bfloat16_allows(qwen: Path, ready_bf16: LoadedModel) -> None:
    model = SentenceTransformer(str(qwen), device="cpu", model_kwargs={"dtype": torch.bfloat16})
    reference = unit(model.encode(TEXTS, batch_size=1).astype(np.float32))
    ours = vectors(ready_bf16, TEXTS)
    assert np.einsum("ij,ij->i", ours, reference).min() >= 0.9999
    assert np.abs(np.linalg.norm(ours, axis=1) - 1).max() <= 1e-6


def test_a_float32_checkpoint_is_loaded_as_the_dtype_that_was_asked(ready_bf16: LoadedModel) -> None:
    assert ready_bf16.identity.build.dtype == "bfloat16"


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_other_poolings_equal_sentence_transformers(tmp_path: Path, pooling: str) -> None:
    folder = tiny_model.build(tmp_path / pooling, pooling=pooling, normalizes=False)
    reference = SentenceTransformer(str(folder), device="cpu").encode(TEXTS)
    ours = vectors(prepare(Options(model=str(folder), device="cpu")), TEXTS)
    assert np.abs(ours - reference).max() <= 1e-5 * np.abs(reference).max()


def test_the_real_small_model_equals_sentence_transformers_and_means_something(minilm: Path) -> None:
    texts = [
        "How do I reset my password?",
        "I forgot my password and need a new one.",
        "Plants turn light into chemical energy.",
        *TEXTS,
        "word " * 400,
    ]
    ready = prepare(Options(model=str(minilm), device="cpu"))
    ours = vectors(ready, texts)
    assert np.abs(ours - SentenceTransformer(str(minilm), device="cpu").encode(texts)).max() <= 1e-5
    assert ours[0] @ ours[1] > 0.6 > 0.3 > ours[0] @ ours[2]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_vector_has_the_same_bits_whatever_its_company(dtype: str, request: pytest.FixtureRequest) -> None:
    ready: LoadedModel = request.getfixturevalue("ready" if dtype == "float32" else "ready_bf16")
    rng = random.Random(20261124)
    texts = [" ".join(rng.choices(WORDS, k=rng.choice((0, 1, 1, 2, 3, 8, 8, 30, 60)))) for _ in range(40)]
    rows = ready.tokenizers.encode_texts(texts, "", truncate=True)
    alone = np.concatenate([ready.encoder.embed([row]) for row in rows])
    for _ in range(8):
        order = rng.sample(range(len(rows)), k=rng.randint(2, len(rows)))
        together = ready.encoder.embed([rows[place] for place in order])
        assert np.array_equal(together.view(np.uint32), alone[order].view(np.uint32))


def test_warm_up_finds_that_company_does_not_matter(ready: LoadedModel, ready_bf16: LoadedModel) -> None:
    assert ready.identity.build.batch_invariant
    assert ready_bf16.identity.build.batch_invariant


def test_an_interrupted_step_gives_the_same_bits(ready: LoadedModel) -> None:
    long, short = ready.tokenizers.encode_texts([" ".join(WORDS * 3), "a short one"], "", truncate=True)
    quiet = ready.encoder.embed([long])
    interruptions = []

    def interrupt() -> None:
        interruptions.append(ready.encoder.embed([short]))

    busy = ready.encoder.embed([long], interrupt)
    assert len(interruptions) > 10
    assert np.array_equal(busy, quiet)
    assert all(np.array_equal(one, interruptions[0]) for one in interruptions)


def test_shortened_vectors_are_normalized_again(ready: LoadedModel) -> None:
    rows = ready.encoder.embed(ready.tokenizers.encode_texts(TEXTS, "", truncate=True))
    whole = finish(rows, None, normalized=True)
    for dimensions in (8, 24, 32, 64):
        short = finish(rows, dimensions, normalized=True)
        assert np.abs(np.linalg.norm(short, axis=1) - 1).max() <= 1e-6
        assert np.abs(short - unit(whole[:, :dimensions])).max() <= 1e-6


def test_a_model_that_cannot_be_packed_is_run_one_by_one_and_exact(qwen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Encoder, "_agrees", lambda *_: False)
    ready = prepare(Options(model=str(qwen), device="cpu"))
    assert ready.identity.build.attention == "alone"
    reference = SentenceTransformer(str(qwen), device="cpu").encode(TEXTS)
    assert np.abs(vectors(ready, TEXTS) - reference).max() <= 1e-5
