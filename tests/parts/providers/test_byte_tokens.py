"""Tokens by the size of the text: what an operator sets where a provider's own count is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.protocol import Attempt, Vectors
from router.request.estimate import token_bound
from tests.builders.providers import a_provider, build_provider
from tests.builders.values import an_attempt
from tests.harness.fake_upstream import Upstream


@given(st.lists(st.text(min_size=1, max_size=50), min_size=1, max_size=5), st.integers(1, 16))
def test_it_is_at_least_one_token_a_text_and_never_more_than_is_held(texts: list[str], size: int) -> None:
    tokens = Attempt("r", "m", texts=texts).tokens_by_size(size)
    assert len(texts) <= tokens <= sum(map(token_bound, texts))


def test_the_prompt_counts_and_token_ids_are_what_they_are() -> None:
    assert Attempt("r", "m", texts=["abcd", "abcde"], prefix="for ").tokens_by_size(4) == 2 + 3
    assert Attempt("r", "m", texts=["Köln"]).tokens_by_size(4) == 2
    assert Attempt("r", "m", token_ids=[[1, 2, 3], [4]]).tokens_by_size(4) == 4


@pytest.mark.anyio
async def test_the_servers_own_usage_is_then_not_read() -> None:
    async with (
        Upstream() as upstream,
        a_provider("openai", upstream.base_url, options={"bytes_per_token": 2}) as provider,
    ):
        vectors: Vectors = await provider.embed(an_attempt("12345678"), 5.0)
    assert vectors.tokens == 4


@pytest.mark.parametrize("wrong", [0, 17, "4"])
def test_a_size_that_no_vocabulary_has_is_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match="bytes_per_token"):
        build_provider("openai", "https://example.com", allowed=(), options={"bytes_per_token": wrong})
