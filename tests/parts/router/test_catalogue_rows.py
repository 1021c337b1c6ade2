"""The catalogue as a buyer reads it: filters, order with the unknown last, comparison, cost, relatives."""

import random
from datetime import UTC, date, datetime
from typing import Any

import msgspec
import pytest

from catalog.descriptions import Benchmark
from catalog.seed import shipped
from catalog.values import Estimate, Model, Status
from catalog.verdict import Chip
from router.catalogue.comparison import Mark, compare
from router.catalogue.cost import cost_of, storage_of
from router.catalogue.filters import KEYS, CatalogueFilter, in_order, matching
from router.catalogue.related import relatives_of
from router.catalogue.values import UNKNOWN_FIGURES, CatalogueRow, Figures, Standing
from store.ids import ModelId

NOW = datetime(2026, 11, 28, tzinfo=UTC)


def row(name: str, **facts: Any) -> CatalogueRow:
    plain: dict[str, Any] = {
        **{"name": name, "owner": "acme", "aliases": (), "summary": "s", "status": Standing.LIVE, "price_nano": None},
        **{"batch_nano": None, "estimate": None, "dimensions": 8, "widths": (), "input_tokens": 512, "lang": ()},
        **{"languages": "", "parameters": None, "benchmark": None, "figures": UNKNOWN_FIGURES, "providers": ()},
        **{"regions": (), "chip": Chip.PERMITTED, "votes": 0, "published_on": None, "space": name},
    }
    return CatalogueRow(id=ModelId(f"acme/{name}"), **{**plain, **facts})


def scored(value: str) -> Benchmark:
    said: dict[str, Any] = {"source": "s", "stated_on": date(2026, 1, 1), "measured_by": "m", "unit": "u"}
    return Benchmark(name="MTEB", value=value, **said)


ROWS = [
    row("a", price_nano=10, batch_nano=5, parameters=4, votes=2, benchmark=scored("67.06")),
    row("b", price_nano=2_000_000_000, lang=("zh-Hans", "de"), languages="Chinese and German", widths=(4,)),
    row("c", figures=Figures(41.0, 90.0, 1.0, 0.9921, 0.99), providers=("alpha", "beta"), regions=("eu",)),
    row("d", estimate=Estimate(8_000_000, "s", date(2026, 1, 1)), status=Standing.COMING_SOON, chip=Chip.CONFLICT),
    row("e", benchmark=scored("-1.50"), dimensions=4096, aliases=("ada-002",), input_tokens=8192),
]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, "abcde"),
        ({"q": "ADA-002"}, "e"),
        ({"q": "german acme"}, "b"),
        ({"q": "german nobody"}, ""),
        ({"status": ("soon", "cold")}, "d"),
        ({"license": ("conflict",)}, "d"),
        ({"lang": "zh"}, "b"),
        ({"lang": "z"}, ""),
        ({"price_max": 0.008}, "ad"),
        ({"price_max": 2.0}, "abd"),
        ({"dims_max": 8}, "abcd"),
        ({"shortens": True}, "b"),
        ({"input_min": 8192}, "e"),
        ({"size_max": 1}, "a"),
        ({"score_min": -2.0}, "ae"),
        ({"p50_max": 40}, ""),
        ({"p50_max": 41}, "c"),
        ({"availability_min": 99.21}, "c"),
        ({"provider": "beta"}, "c"),
        ({"region": "eu", "providers_min": 3}, ""),
        ({"votes_min": 1}, "a"),
    ],
)
def test_a_filter_takes_what_is_known_to_fit(wanted: dict[str, Any], found: str) -> None:
    chosen = matching(ROWS, msgspec.convert(wanted, CatalogueFilter))
    assert "".join(one.name for one in chosen) == found


@pytest.mark.parametrize("by", sorted(KEYS))
def test_what_is_not_known_comes_last_in_both_directions(by: str) -> None:
    mixed = random.Random(by).sample(ROWS, len(ROWS))
    up, down = in_order(mixed, by), in_order(mixed, by, is_down=True)
    known = [one.name for one in up if KEYS[by](one) is not None]
    assert [one.name for one in up[len(known) :]] == [one.name for one in down[len(known) :]]
    assert [KEYS[by](one) for one in up[: len(known)]] == [KEYS[by](one) for one in down[: len(known)]][::-1]


def test_a_comparison_marks_the_best_by_a_word_and_says_what_a_switch_means() -> None:
    told = compare([ROWS[0], ROWS[3], ROWS[4]], 50_000_000)
    lines = {line.name: line.cells for group in told.groups for line in group.lines}
    assert [group.name for group in told.groups] == ["Cost", "Shape", "Quality", "Speed", "Legal"]
    assert [cell.mark for cell in lines["List price per 1M tokens"]] == [Mark.LOWEST, Mark.NONE, Mark.NONE]
    assert lines["50,000,000 tokens a month"][0].number == 500
    assert (lines["List price per 1M tokens"][1].note, lines["List price per 1M tokens"][2].number) == (
        "estimate",
        None,
    )
    assert [cell.mark for cell in lines["MTEB"]] == [Mark.HIGHEST, Mark.NONE, Mark.NONE]
    assert [cell.words for cell in lines["License"]][1] == "claims conflict"
    assert not told.share_space
    assert "embed all documents anew" in told.switch
    alike = compare([ROWS[0], ROWS[0]], 1)
    assert alike.share_space
    assert {cell.mark for group in alike.groups for line in group.lines for cell in line.cells} == {Mark.NONE}


def test_costs_are_exact_and_round_as_charges_do() -> None:
    assert cost_of(1, 8_000_000, None) == cost_of(1, 8_000_000, 8_000_000)
    assert cost_of(1, 8_000_000, None).list_nano == 8
    assert cost_of(1_000_001, 8_000_000, 1).batch_nano == 2
    assert cost_of(10, None, None).list_nano is None
    [widest, narrow] = storage_of(1_000_000, (8, 2560))
    assert (widest.dimensions, widest.float32_bytes, widest.int8_bytes) == (2560, 10_240_000_000, 2_560_000_000)
    assert narrow.float32_bytes == 32_000_000


def model(model_id: str, parameters: int | None) -> Model:
    facts: dict[str, Any] = {"owned_by": model_id.partition("/")[0], "summary": "s", "published_on": None}
    facts |= {"dimensions": 8, "max_input_tokens": 8, "normalized": True, "parameters": parameters}
    return Model(id=ModelId(model_id), status=Status.COMING_SOON, space=model_id, **facts)


def test_relatives_of_f2llm_v2_4b_are_its_family_by_size_and_each_has_its_reason() -> None:
    models = [model(one.id, one.parameters) for one in shipped()]
    models.append(model("acme/almost-as-large", 4_100_000_000))
    of = next(model for model in models if model.id == "codefuse-ai/F2LLM-v2-4B")
    found = relatives_of(of, models)
    family = [one.id.rpartition("-")[2] for one in found if one.reason == "same family, other space"]
    assert family == ["80M", "160M", "330M", "0.6B", "1.7B", "8B", "14B"]
    assert [(one.id, one.reason) for one in found[7:]] == [("acme/almost-as-large", "near in size, other space")]
