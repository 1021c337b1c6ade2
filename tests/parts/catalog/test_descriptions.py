"""What sources state of a model: the shipped facts of F2LLM-v2-4B, and that nothing is stated without its source."""

from datetime import date
from typing import Any

import msgspec
import pytest

from catalog import model_edits
from catalog.descriptions import SOURCED, Benchmark, Downloads, Section, Statement, Text
from catalog.model_columns import columns_of
from catalog.seed import _digest, shipped

DAY = date(2026, 11, 24)
THE_4B = next(model for model in shipped() if model.id == "codefuse-ai/F2LLM-v2-4B")


def faults(**facts: object) -> dict[str, str]:
    return dict(model_edits.faults(msgspec.structs.replace(THE_4B, **facts)))


def test_f2llm_v2_4b_is_described_with_the_values_of_its_sources() -> None:
    assert (THE_4B.published_on, THE_4B.updated_on) == (date(2026, 3, 9), "2026-05")
    assert THE_4B.downloads is not None
    assert (THE_4B.downloads.per_month, THE_4B.downloads.stated_on) == (41_100, DAY)
    assert (THE_4B.task, THE_4B.architecture, THE_4B.numerics) == ("embedding", "Qwen3", "bf16")
    assert "200+ languages" in THE_4B.summary
    said = [statement.value for statement in THE_4B.statements if statement.fact == "languages"]
    assert said == ["More than 200 languages", "282 natural languages", "40+ programming languages"]
    lengths = [statement.value for statement in THE_4B.statements if statement.fact.startswith("max_input_tokens")]
    assert [length.split(" tokens")[0] for length in lengths] == ["8,192", "40,960", "trained near 1,000"]
    assert {text.section for text in THE_4B.texts} == set(Section) - {Section.NOT_GOOD_FOR}
    [first_on_11] = [text for text in THE_4B.texts if "ranks first on 11 MTEB benchmarks" in text.body]
    assert first_on_11.about == "codefuse-ai/F2LLM-v2-14B"
    assert next((one.name, one.value) for one in THE_4B.benchmarks) == ("MTEB, multilingual", "67.06")
    assert {"de", "zh-Hans", "sw"} <= set(THE_4B.language_codes)


def test_the_seven_others_state_nothing_that_is_known_of_the_4b_alone() -> None:
    others = [model for model in shipped() if "F2LLM" in model.id and model != THE_4B]
    assert len(others) == 7
    assert {(model.updated_on, model.downloads) for model in others} == {(None, None)}
    assert {model.architecture for model in others} == {"Qwen3"}
    assert not [one for model in others for one in (*model.statements, *model.texts) if "4B" in one.evidence]


def test_each_shipped_fact_has_its_source() -> None:
    for model in shipped():
        assert not list(model_edits.faults(model)), model.id


@pytest.mark.parametrize("fact", SOURCED)
def test_a_fact_that_nothing_of_ours_proves_needs_a_statement(fact: str) -> None:
    without = tuple(statement for statement in THE_4B.statements if statement.fact != fact)
    assert faults(statements=without) == {fact: f"'{fact}' needs a source: one of 'statements' with this fact."}


def test_what_is_stated_badly_is_refused_by_its_name() -> None:
    said: dict[str, Any] = {"source": "its maker", "stated_on": DAY}
    mean = Benchmark(name="MTEB", value="67.06", unit="mean", measured_by="its authors", **said)
    bad: dict[str, list[object]] = {
        "updated_on": ["2026-13", "May 2026", "2026-02-30", "٢٠٢٦-05"],
        "task": ["", "Embedding!"],
        "architecture": ["", "x" * 201],
        "language_codes": [("german",), ("de", "de"), ("DE",)],
        "programming_languages": [("C++",)],
        "downloads": [Downloads(per_month=-1, **said), Downloads(per_month=1, source=" ", stated_on=DAY)],
        "statements": [(Statement(fact="colour", **said),), (Statement(fact="summary", value="x" * 501, **said),)],
        "benchmarks": [
            (msgspec.structs.replace(mean, value="67,06"),),
            (msgspec.structs.replace(mean, measured_by=""),),
            (msgspec.structs.replace(mean, evidence="javascript:alert(1)"),),
            (mean,) * 101,
        ],
        "texts": [
            (Text(section=Section.FAQ, body="An answer without a question.", **said),),
            (Text(section=Section.ABOUT, body=" ", **said),),
            (Text(section=Section.ABOUT, body="x", title="A title", **said),),
        ],
    }
    for field, values in bad.items():
        for value in values:
            assert field in faults(**{field: value}), (field, value)


def test_a_row_of_the_release_before_keeps_the_digest_that_it_was_seeded_with() -> None:
    """Else every model of an older installation would pass for changed by an operator, and get no new facts."""
    younger = {"updated_on", "downloads", "task", "architecture", "language_codes", "programming_languages"}
    younger |= {"statements", "benchmarks", "texts"}
    plain = next(model for model in shipped() if not model.texts)
    columns = columns_of(plain)
    older = {name: value for name, value in columns.items() if name not in younger}
    assert len(older) == len(columns) - 9
    assert _digest(older, plain.aliases) == _digest(columns, plain.aliases)
    assert _digest(columns | {"task": "reranking"}, plain.aliases) != _digest(columns, plain.aliases)
