"""The forms of what sources state of a model (:mod:`catalog.descriptions`): the same for operators and for readers."""

from datetime import date
from typing import Any, Final

import msgspec
from pydantic import Field

from catalog import descriptions
from catalog.descriptions import Section
from catalog.values import Estimate, ModelFacts
from router.api.fields import Usd
from router.api.forms import Form, answer_of, struct_of


class EstimateFacts(Form):
    """What the model is said to cost before it has a price of ours; shown, never charged."""

    usd_per_mtok: Usd = Field(description="USD per million tokens.")
    source: str = Field(description="Who says so.")
    stated_on: date = Field(description="The day on which it was said.")
    is_list_price: bool = Field(False, description="Whether it is its maker's public list price, not a guess.")
    note: str = Field("", description="What else is to be said of it.")


class DownloadsFacts(Form):
    """How often the weights were downloaded in a month."""

    per_month: int = Field(description="How often.")
    source: str = Field(description="Who says so.")
    stated_on: date = Field(description="As of which day.")
    evidence: str = Field("", description="A link to where it stands.")


class StatementFacts(Form):
    """What a source says of one fact."""

    fact: str = Field(description="The fact's name, such as architecture.")
    source: str = Field(description="Who says so.")
    stated_on: date = Field(description="The day on which it was said, or read.")
    value: str = Field("", description="What this source says, in its words; empty: what stands here.")
    evidence: str = Field("", description="A link to where it stands.")


class BenchmarkFacts(Form):
    """One result of a benchmark; higher is better."""

    name: str = Field(description="The benchmark, with its version where it has one.")
    value: str = Field(description="A decimal number as text, such as 67.06.")
    unit: str = Field(description="Unit of the number, such as mean of tasks, of 100.")
    measured_by: str = Field(description="Who measured it.")
    source: str = Field(description="Who says so.")
    stated_on: date = Field(description="The day on which it was said.")
    evidence: str = Field("", description="A link to where it stands.")
    revision: str = Field("", description="Revision of the weights that were measured; empty: not known.")


class TextFacts(Form):
    """Markdown for one section of the model's page."""

    section: Section = Field(description="Where it stands.", strict=False)
    body: str = Field(description="Markdown.")
    source: str = Field(description="Who says so.")
    stated_on: date = Field(description="The day on which it was said, or read.")
    evidence: str = Field("", description="A link to where it stands.")
    title: str = Field("", description="The question, in the section faq.")
    about: str = Field("", description="Id of the model that it speaks of, where that is another one.")


class DescribedFacts(Form):
    """What sources state of a model, beside what a call needs."""

    updated_on: str | None = Field(None, description="A day such as 2026-05-01, or a month such as 2026-05.")
    downloads: DownloadsFacts | None = Field(None, description="How often its weights were downloaded in a month.")
    task: str = Field("embedding", description="What it is for.")
    architecture: str | None = Field(None, description="Such as Qwen3.")
    language_codes: tuple[str, ...] = Field((), description="Natural languages known one by one, as BCP 47.")
    programming_languages: tuple[str, ...] = Field((), description="Programming languages known one by one.")
    statements: tuple[StatementFacts, ...] = Field((), description="Which source states which fact.")
    benchmarks: tuple[BenchmarkFacts, ...] = Field((), description="Results, the one to compare by first.")
    texts: tuple[TextFacts, ...] = Field((), description="Texts of its page, by section.")


_RECORDS: Final[dict[str, tuple[type[msgspec.Struct], type[Form]]]] = {
    "estimate": (Estimate, EstimateFacts),
    "downloads": (descriptions.Downloads, DownloadsFacts),
    "statements": (descriptions.Statement, StatementFacts),
    "benchmarks": (descriptions.Benchmark, BenchmarkFacts),
    "texts": (descriptions.Text, TextFacts),
}


def records_in(form: Form) -> dict[str, Any]:
    """The records that a form states, as the catalogue has them; what it leaves out or empties is not among them."""
    found: dict[str, Any] = {}
    for name, (struct, _) in _RECORDS.items():
        stated = getattr(form, name, None)
        if isinstance(stated, tuple):
            found[name] = tuple(struct_of(struct, one) for one in stated)
        elif stated is not None:
            found[name] = struct_of(struct, stated)
    return found


def records_of(facts: ModelFacts) -> dict[str, Any]:
    """The records of a model, as forms."""
    found: dict[str, Any] = {}
    for name, (_, form) in _RECORDS.items():
        stated = getattr(facts, name)
        if isinstance(stated, tuple):
            found[name] = tuple(answer_of(form, one) for one in stated)
        else:
            found[name] = None if stated is None else answer_of(form, stated)
    return found
