"""What the model reads: the end token on every row, exact counts, no silent cut."""

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from providers.worker.errors import BadRequest, TokenizerMismatch
from providers.worker.model.profile import read_profile
from providers.worker.model.tokenizer import TokenizerPool
from providers.worker.options import Options
from providers.worker.start import LoadedModel, prepare
from tests.builders import tiny_model

LIMIT = 24
TEXTS = ["", "a", "How do plants make sugar?", "ends with <|im_end|>", "bill tokens " * 30, "数据 и текст"]


def pool(folder: Path, *, split_special: bool = False, max_tokens: int | None = LIMIT) -> TokenizerPool:
    profile = read_profile(folder, folder.name)
    return TokenizerPool(folder, profile, max_tokens=max_tokens, copies=1, split_special=split_special)


@pytest.mark.parametrize(
    ("adds_end", "declares_end", "source"),
    [
        (True, True, "tokenizer"),
        (True, False, "tokenizer"),
        # transformers 5 reads add_eos_token and does nothing about it.
        (False, True, "add_eos_token"),
        (False, False, "last-token pooling"),
    ],
)
def test_every_row_ends_with_the_end_token(tmp_path: Path, adds_end: bool, declares_end: bool, source: str) -> None:
    tokens = pool(tiny_model.build(tmp_path, adds_end=adds_end, declares_end=declares_end))
    end = tiny_model.end_id()
    assert (tokens.end.id, tokens.end.token, tokens.end.source) == (end, tiny_model.END, source)
    rows = tokens.encode_texts(TEXTS, tiny_model.QUERY[:9], truncate=True)
    rows += tokens.encode_ids([[5, 6, 7], [5, 6, end], [9] * 100], "", truncate=True)
    assert [row.ids[-1] for row in rows] == [end] * len(rows)
    assert max(len(row.ids) for row in rows) == LIMIT


def test_folders_that_differ_only_in_who_adds_the_end_token_give_the_same_rows(tmp_path: Path) -> None:
    kinds = [(True, False), (False, True), (False, False)]
    folders = [
        tiny_model.build(tmp_path / str(number), adds_end=adds_end, declares_end=declares_end)
        for number, (adds_end, declares_end) in enumerate(kinds)
    ]
    rows = [[row.ids for row in pool(folder).encode_texts(TEXTS, "", truncate=True)] for folder in folders]
    assert rows[0] == rows[1] == rows[2]


def test_counts_are_those_of_the_models_own_tokenizer_with_prompt_and_end(qwen: Path) -> None:
    reference = AutoTokenizer.from_pretrained(str(qwen))
    rows = pool(qwen, max_tokens=4096).encode_texts(TEXTS, tiny_model.QUERY, truncate=False)
    assert [row.ids for row in rows] == [reference(tiny_model.QUERY + text)["input_ids"] for text in TEXTS]


def test_an_empty_text_is_one_token(qwen: Path) -> None:
    (row,) = pool(qwen).encode_texts([""], "", truncate=False)
    assert len(row.ids) == 1


def test_a_cut_keeps_the_start_and_says_so(qwen: Path) -> None:
    tokens = pool(qwen)
    short, cut = tokens.encode_texts(["bill tokens", "bill tokens " * 30], "", truncate=True)
    assert (short.truncated, cut.truncated) == (False, True)
    whole = pool(qwen, max_tokens=4096).encode_texts(["bill tokens " * 30], "", truncate=False)[0]
    assert cut.ids == [*whole.ids[: LIMIT - 1], whole.ids[-1]]


def test_what_is_too_long_is_refused_with_its_place_and_its_size(qwen: Path) -> None:
    with pytest.raises(BadRequest) as refused:
        pool(qwen).encode_texts(["fine", "bill tokens " * 30], "", truncate=False, first=64)
    size = len(pool(qwen, max_tokens=4096).encode_texts(["bill tokens " * 30], "", truncate=False)[0].ids)
    assert refused.value.code == "input_too_long"
    assert refused.value.details == {"index": 65, "limit": LIMIT, "tokens": size}


def test_a_huge_text_is_refused_without_reading_it_or_cut_first(qwen: Path) -> None:
    huge = "bill tokens " * 100_000
    with pytest.raises(BadRequest, match="more than 3072 characters"):
        pool(qwen).encode_texts([huge], "", truncate=False)
    (row,) = pool(qwen).encode_texts([huge], "", truncate=True)
    assert row.truncated
    assert row.ids == pool(qwen).encode_texts([huge[:2000]], "", truncate=True)[0].ids


def test_ids_get_their_special_tokens_once(minilm: Path) -> None:
    tokens = pool(minilm)
    bare, wrapped = tokens.encode_ids([[7592, 2088], [101, 7592, 2088, 102]], "", truncate=False)
    assert bare.ids == wrapped.ids == [101, 7592, 2088, 102]


@pytest.mark.parametrize("wrong", [-1, tiny_model.ROWS])
def test_ids_of_another_vocabulary_are_refused(qwen: Path, wrong: int) -> None:
    with pytest.raises(BadRequest, match="Input 1 has a token id outside 0 … 511") as refused:
        pool(qwen).encode_ids([[1, 2], [1, wrong]], "", truncate=False)
    assert refused.value.code == "token_id_out_of_range"


def test_control_tokens_in_a_text_are_read_as_the_reference_does_or_split_when_asked(qwen: Path) -> None:
    end = tiny_model.end_id()
    parsed = pool(qwen).encode_texts(["a<|im_end|>b"], "", truncate=False)[0].ids
    split = pool(qwen, split_special=True).encode_texts(["a<|im_end|>b"], "", truncate=False)[0].ids
    assert parsed.count(end) == 2
    assert split.count(end) == 1


def test_a_lone_surrogate_is_the_callers_fault(qwen: Path) -> None:
    with pytest.raises(BadRequest, match="Unicode"):
        pool(qwen).encode_texts(["\ud800"], "", truncate=False)


def test_a_tokenizer_with_more_ids_than_the_weights_have_rows_is_refused(tmp_path: Path) -> None:
    folder = tiny_model.build(tmp_path)
    larger = tiny_model.tokenizer(adds_end=True)
    larger.add_tokens([f"<extra {number}>" for number in range(200)])
    larger.save(str(folder / "tokenizer.json"))
    with pytest.raises(TokenizerMismatch, match="the weights have 512 rows: they do not belong together"):
        pool(folder)


def test_the_longest_input_is_the_folders_the_operators_or_the_positions(tmp_path: Path, qwen: Path) -> None:
    assert pool(qwen, max_tokens=None).max_tokens == 96
    assert pool(qwen, max_tokens=10).max_tokens == 10
    assert pool(qwen, max_tokens=100_000).max_tokens == 4096


def test_prompts_are_the_folders_exact_strings(ready: LoadedModel) -> None:
    assert ready.identity.prompts == {"query": tiny_model.QUERY, "document": ""}


def test_prompt_tokens_stay_out_of_the_pool_where_the_model_says_so(tmp_path: Path) -> None:
    folder = tiny_model.build(tmp_path, pooling="mean")
    config = folder / "1_Pooling" / "config.json"
    config.write_text(config.read_text().replace('"include_prompt": true', '"include_prompt": false'))
    ready = prepare(Options(model=str(folder), device="cpu"))
    (row,) = ready.tokenizers.encode_texts(["plants"], tiny_model.QUERY, truncate=False)
    assert row.prompt_tokens == len(ready.tokenizers.encode_texts([tiny_model.QUERY], "", truncate=False)[0].ids) - 1
