"""Makes the blocks of a model's page from its facts: figures, specifications, endpoints, texts. Pure.

Each value that is no property of ours has its sources beside it. A block without content is empty, and is not shown.
"""

from collections.abc import Iterable
from datetime import date
from typing import Final

import msgspec

from catalog.descriptions import Section, Text
from catalog.values import Model
from catalog.verdict import Verdict
from router.catalogue.values import CatalogueRow
from web.parts import money, numbers

MONTHS: Final = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
SECTIONS: Final = {
    Section.ABOUT: "About",
    Section.CAPABILITIES: "Capabilities",
    Section.PERFORMANCE: "Performance",
    Section.TRAINING: "Training",
    Section.GOOD_FOR: "Good for",
    Section.NOT_GOOD_FOR: "Not good for",
}


class Source(msgspec.Struct, frozen=True):
    """Who says so, where it stands, and when."""

    name: str
    href: str
    stated_on: date


class Fact(msgspec.Struct, frozen=True):
    """One value with what is to be said of it. ``is_code``: it is an id, to be copied."""

    name: str
    value: str
    note: str = ""
    sources: tuple[Source, ...] = ()
    is_code: bool = False


class Paragraph(msgspec.Struct, frozen=True):
    """A text of a section; ``about`` is the other model that it speaks of, if any."""

    body: str
    source: Source
    about: str = ""


class Block(msgspec.Struct, frozen=True):
    """A section with its texts."""

    id: str
    title: str
    paragraphs: tuple[Paragraph, ...]


class Question(msgspec.Struct, frozen=True):
    """One of the FAQ. ``source``: None where the answer is made from facts."""

    question: str
    answer: str
    source: Source | None = None


def month(text: date | str | None) -> str:
    """``Mar 2026`` of a day, or of a month where no day is known."""
    if text is None:
        return ""
    year, number = str(text)[:7].split("-")
    return f"{MONTHS[int(number) - 1]} {year}"


def figures(model: Model, row: CatalogueRow, verdict: Verdict) -> tuple[Fact, ...]:
    """What is asked first: price, who serves it, how much it is used, how fast and available it is."""
    return tuple(_figures(model, row, verdict))


def _figures(model: Model, row: CatalogueRow, verdict: Verdict) -> Iterable[Fact]:
    yield _price(row, verdict)
    if row.batch_nano is not None:
        yield Fact("Batch price", f"{money.exact(row.batch_nano)} per 1M tokens")
    count = len(row.providers)
    yield Fact("Providers", str(count), "none serves it yet" if not count else ", ".join(row.providers))
    if (downloads := model.downloads) is not None:
        source = Source(downloads.source, downloads.evidence, downloads.stated_on)
        when = f"a month, as of {downloads.stated_on.isoformat()}"
        yield Fact("Downloads", numbers.short(downloads.per_month), when, (source,))
    if row.figures.p50_ms is not None:
        p95 = "" if row.figures.p95_ms is None else f"p95 {row.figures.p95_ms:.0f} ms"
        yield Fact("p50, last day", f"{row.figures.p50_ms:.0f} ms", p95)
    if row.figures.availability_7d is not None:
        yield Fact("Available, 7 days", numbers.percent(row.figures.availability_7d))


def _price(row: CatalogueRow, verdict: Verdict) -> Fact:
    if row.price_nano is not None:
        return Fact("Price", f"{money.exact(row.price_nano)} per 1M tokens")
    if row.estimate is None:
        return Fact("Price", "not set")
    estimate = row.estimate
    kind = "list price of its maker: " if estimate.is_list_price else "est. "
    said = " ".join(filter(None, (estimate.note, verdict.estimate)))
    source = Source(estimate.source, "", estimate.stated_on)
    return Fact("Price", f"{kind}{money.exact(estimate.nano_per_mtok)} per 1M tokens", said, (source,))


def specifications(model: Model) -> tuple[Fact, ...]:
    """What the model is, each with who states it."""
    return tuple(_specifications(model))


def _specifications(model: Model) -> Iterable[Fact]:
    yield Fact("Task", model.task, sources=sources_of(model, "task"))
    if model.published_on:
        yield Fact("Published", month(model.published_on), sources=sources_of(model, "published_on"))
    if model.updated_on:
        yield Fact("Updated", month(model.updated_on), sources=sources_of(model, "updated_on"))
    if model.architecture:
        yield Fact("Architecture", model.architecture, sources=sources_of(model, "architecture"))
    if model.parameters:
        size = f"{model.parameters:,} ({_rounded(model.parameters)})"
        yield Fact("Parameters", size, sources=sources_of(model, "parameters"))
    widths = sorted(width for width in model.trained_dimensions if width < model.dimensions)
    shortens = f"shortens to {', '.join(map(str, widths))}" if widths else ""
    others = "and no others" if widths and model.only_trained_dimensions else ""
    stated = (*sources_of(model, "dimensions"), *sources_of(model, "trained_dimensions"))
    yield Fact("Dimensions", f"{model.dimensions:,}", " ".join(filter(None, (shortens, others))), stated)
    yield _input(model)
    yield Fact("Pooling", _words(model.pooling), sources=sources_of(model, "pooling"))
    length = "1" if model.normalized else "any: they are not normalized"
    yield Fact("Length of vectors", length, sources=sources_of(model, "normalized"))
    yield Fact("Numbers", _words(model.numerics), sources=sources_of(model, "numerics"))
    if model.languages:
        said = [f"{one.value} ({one.source})" for one in model.statements if one.fact == "languages" and one.value]
        yield Fact("Languages", "; ".join(said) or model.languages, sources=sources_of(model, "languages"))
    if model.programming_languages:
        known = ", ".join(model.programming_languages)
        yield Fact("Programming languages", known, sources=sources_of(model, "programming_languages"))
    if model.tokenizer:
        stated = sources_of(model, "tokenizer")
        yield Fact("Tokenizer", model.tokenizer, f"{model.vocabulary_size:,} ids", stated, is_code=True)
    if model.revision:
        yield Fact("Revision", model.revision, sources=sources_of(model, "revision"), is_code=True)


def _input(model: Model) -> Fact:
    stated = [one for one in model.statements if one.fact.startswith("max_input_tokens") and one.value]
    sources = (*sources_of(model, "max_input_tokens"), *sources_of(model, "max_input_tokens_ceiling"))
    said = "; ".join(one.value for one in stated)
    if said:
        return Fact("Input limit", said, sources=sources)
    ceiling = model.max_input_tokens_ceiling
    note = "" if ceiling is None else f"the architecture could take {ceiling:,}"
    return Fact("Input limit", f"{model.max_input_tokens:,} tokens", note, sources)


def sources_of(model: Model, fact: str) -> tuple[Source, ...]:
    """Who states a fact, each source once."""
    stated = [Source(one.source, one.evidence, one.stated_on) for one in model.statements if one.fact == fact]
    return tuple(dict.fromkeys(stated))


def texts(model: Model) -> tuple[Block, ...]:
    """The sections that have a text, in the order of the page."""
    return tuple(
        Block(section.value.replace("_", "-"), title, tuple(_paragraph(text, model) for text in found))
        for section, title in SECTIONS.items()
        if (found := [text for text in model.texts if text.section is section])
    )


def _paragraph(text: Text, model: Model) -> Paragraph:
    about = "" if text.about == model.id else text.about
    return Paragraph(text.body, Source(text.source, text.evidence, text.stated_on), about)


def questions(model: Model, row: CatalogueRow, verdict: Verdict) -> tuple[Question, ...]:
    """The FAQ: what sources answer, then what facts answer. What the license permits is the verdict's."""
    name = row.name
    stated = [
        Question(text.title, text.body, Source(text.source, text.evidence, text.stated_on))
        for text in model.texts
        if text.section is Section.FAQ
    ]
    return (
        *stated,
        Question(f"How large and how fast is {name}?", _size_and_speed(model, row)),
        Question(verdict.question, verdict.answer),
        Question(f"What input does {name} take for retrieval?", _retrieval(model)),
        Question(f"How is {name} called?", _call(model)),
    )


def _size_and_speed(model: Model, row: CatalogueRow) -> str:
    size = f"{model.parameters:,} parameters." if model.parameters else "Its size is not known."
    if not row.providers:
        return f"{size} How fast it is here is not known: nobody serves it here at the moment."
    if row.figures.p50_ms is None:
        return f"{size} How fast it is here is not known: too few calls were measured."
    return f"{size} Half of the calls of the last day took at most {row.figures.p50_ms:.0f} ms."


def _retrieval(model: Model) -> str:
    query, document = model.prompts.get("query", ""), model.prompts.get("document", "")
    if not query and not document:
        return "Texts as they are: it has no prompts."
    before = f"{_quoted(query)} before queries" if query else "nothing before queries"
    return (
        f"{before}, and {_quoted(document) if document else 'nothing'} before documents. `input_type` `query` or "
        "`document` puts it there; without `input_type` a text is embedded as it is."
    )


def _quoted(prompt: str) -> str:
    return f"`{prompt.encode('unicode_escape').decode()}`"


def _call(model: Model) -> str:
    return (
        f"`POST /v1/embeddings` with a key as `Authorization: Bearer …`, `model` `{model.id}` and `input`: a text or a "
        "list of texts, as OpenAI's clients send them."
    )


def _words(slug: str) -> str:
    return slug if slug != "undisclosed" else "not disclosed"


def _rounded(number: int) -> str:
    """Two significant digits: 4_022_468_096 -> ``4B``."""
    for letter, size in (("B", 10**9), ("M", 10**6), ("K", 10**3)):
        if number >= size:
            return f"{float(f'{number / size:.2g}'):g}{letter}"
    return str(number)
