"""LangChain's and LlamaIndex's OpenAI-compatible embedding classes work with an address, a key and a model's name."""

import asyncio
import importlib.util
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from pathlib import Path

import openai
import pytest
from langchain_openai import OpenAIEmbeddings
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from pydantic import SecretStr

from tests.harness.customer_program import DIMENSIONS, Compat
from tests.harness.fake_upstream import unit_vector


def _vector(text: str) -> object:
    return pytest.approx(unit_vector(text, DIMENSIONS), abs=1e-6)


@contextmanager
def _langchain(compat: Compat, *, check_embedding_ctx_length: bool) -> Iterator[OpenAIEmbeddings]:
    """It leaves its connections open; here they are closed behind it."""
    embeddings = OpenAIEmbeddings(
        base_url=compat.base_url,
        api_key=SecretStr(compat.key),
        model=compat.model,
        max_retries=0,
        check_embedding_ctx_length=check_embedding_ctx_length,
    )
    try:
        yield embeddings
    finally:
        embeddings.client._client.close()


async def _and_close(vector: Awaitable[list[float]], client: openai.AsyncOpenAI) -> list[float]:
    async with client:
        return await vector


def test_langchain_embeds_texts_as_they_are(compat: Compat) -> None:
    with _langchain(compat, check_embedding_ctx_length=False) as embeddings:
        assert embeddings.embed_query("hello") == _vector("hello")
        assert embeddings.embed_documents(["b", "a"]) == [_vector("b"), _vector("a")]
        later = _and_close(embeddings.aembed_query("hello"), embeddings.async_client._client)
        assert asyncio.run(later) == _vector("hello")


def test_langchain_that_tokenizes_with_another_vocabulary_is_told_what_to_set(
    compat: Compat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By default it sends token ids of OpenAI's vocabulary, which mean other words to every other model."""
    found = importlib.util.find_spec("litellm")
    assert found is not None
    assert found.origin is not None
    # The vocabulary's file, which would be downloaded otherwise, comes with litellm.
    vocabulary = Path(found.origin).parent / "litellm_core_utils" / "tokenizers"
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(vocabulary))
    with (
        _langchain(compat, check_embedding_ctx_length=True) as embeddings,
        pytest.raises(openai.BadRequestError, match="check_embedding_ctx_length=False") as refused,
    ):
        embeddings.embed_query("hello")
    assert refused.value.code == "token_array_unsupported"
    assert refused.value.param == "input"


def test_llama_index_embeds(compat: Compat) -> None:
    embedding = OpenAILikeEmbedding(
        model_name=compat.model, api_base=compat.base_url, api_key=compat.key, max_retries=0, embed_batch_size=2
    )
    assert embedding.get_text_embedding("hello") == _vector("hello")
    assert embedding.get_text_embedding_batch(["c", "b", "a"]) == [_vector("c"), _vector("b"), _vector("a")]
    later = _and_close(embedding.aget_query_embedding("hello"), embedding._get_aclient())
    assert asyncio.run(later) == _vector("hello")
    embedding._get_client().close()
