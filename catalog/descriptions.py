"""Pure. What sources state of a model beside what a call needs: downloads, benchmarks, texts, and who says which fact.

None of it is a property of ours, so each has its source and the day on which it was stated or read. Where two sources
state a fact differently, both stand there.
"""

import re
from collections.abc import Iterator
from datetime import date
from enum import StrEnum

import msgspec

MANY = 100
TEXT_MAX = 8_000
# Facts that no endpoint and no price proves: whoever sets one says who states it.
SOURCED = ("updated_on", "architecture", "language_codes", "programming_languages")
_CODE = re.compile(r"[a-z]{2,3}(-[A-Z][a-z]{3})?(-[A-Z]{2})?")
_MONTH_OR_DAY = re.compile(r"\d{4}-\d{2}(-\d{2})?", re.ASCII)
_NUMBER = re.compile(r"-?\d{1,12}(\.\d{1,6})?", re.ASCII)
_LINK = re.compile(r"https?://[!-~]{1,990}")
_WORD = re.compile(r"[a-z0-9-]{1,40}")


class Section(StrEnum):
    """Where a text stands on the model's page, in the order of the page."""

    ABOUT = "about"
    CAPABILITIES = "capabilities"
    PERFORMANCE = "performance"
    TRAINING = "training"
    GOOD_FOR = "good_for"
    NOT_GOOD_FOR = "not_good_for"
    FAQ = "faq"


class Sourced(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """``source`` is who says so, ``stated_on`` the day, or the day on which it was read; ``evidence`` is a link."""

    source: str
    stated_on: date
    evidence: str = ""


class Downloads(Sourced, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """How often the weights were downloaded in a month, as of ``stated_on``."""

    per_month: int


class Statement(Sourced, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Who states a fact. ``value`` is what this source says, in its words; empty where it is what stands here."""

    fact: str
    value: str = ""


class Benchmark(Sourced, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One result. ``value`` is a decimal number as text; ``revision`` is empty where it is not known what was measured.

    A higher value is better.
    """

    name: str
    value: str
    unit: str
    measured_by: str
    revision: str = ""


class Text(Sourced, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Markdown for one section; ``title`` is the question of an FAQ.

    ``about`` is the id of the model that the text speaks of where that is another one.
    """

    section: Section
    body: str
    title: str = ""
    about: str = ""


def is_month_or_day(text: str) -> bool:
    """Whether a text is a day such as 2026-05-01, or a month such as 2026-05 where no day is known."""
    if _MONTH_OR_DAY.fullmatch(text) is None:
        return False
    try:
        date.fromisoformat(text if len(text) == 10 else f"{text}-01")
    except ValueError:
        return False
    return True


def is_word(text: str) -> bool:
    """Whether a text is lower-case letters, digits and dashes."""
    return _WORD.fullmatch(text) is not None


def language_faults(codes: tuple[str, ...]) -> Iterator[str]:
    """A sentence for each fault of a list of languages."""
    if len(codes) > 400 or len(set(codes)) < len(codes):
        yield "At most 400 languages, each given once."
    if wrong := [code for code in codes if _CODE.fullmatch(code) is None]:
        yield f"A language is a code such as de, zh-Hans or pt-BR, not {wrong[0][:20]!r}."


def sourced_faults(stated: Sourced) -> Iterator[str]:
    """A sentence for each fault of where something is from."""
    if not 1 <= len(stated.source.strip()) <= 300:
        yield "It says its source in 1 to 300 characters."
    if stated.evidence and _LINK.fullmatch(stated.evidence) is None:
        yield "Its evidence is a link that begins with https:// or http://, at most 1000 characters."


def statement_faults(statement: Statement, facts: frozenset[str]) -> Iterator[str]:
    """A sentence for each fault of a statement about one of ``facts``."""
    if statement.fact not in facts:
        yield f"There is no fact {statement.fact[:40]!r}."
    if len(statement.value) > 500:
        yield "What a source says has at most 500 characters."


def benchmark_faults(benchmark: Benchmark) -> Iterator[str]:
    """A sentence for each fault of a result."""
    if _NUMBER.fullmatch(benchmark.value) is None:
        yield f"A result is a decimal number such as 67.06, not {benchmark.value[:20]!r}."
    for name, longest in (("name", 120), ("unit", 60), ("measured_by", 200)):
        if not 1 <= len(getattr(benchmark, name).strip()) <= longest:
            yield f"Its '{name}' has 1 to {longest} characters."
    if len(benchmark.revision) > 200:
        yield "Its 'revision' has at most 200 characters."


def text_faults(text: Text) -> Iterator[str]:
    """A sentence for each fault of a text."""
    if not 1 <= len(text.body.strip()) <= TEXT_MAX:
        yield f"A text has 1 to {TEXT_MAX} characters."
    if (text.section is Section.FAQ) != bool(text.title):
        yield "A text of the FAQ has its question as 'title', and no other text has one."
    if len(text.title) > 300 or len(text.about) > 200:
        yield "A title has at most 300 characters, the id of another model 200."


def downloads_faults(downloads: Downloads) -> Iterator[str]:
    """A sentence for each fault of a number of downloads."""
    if not 0 <= downloads.per_month < 2**63:
        yield "Downloads a month are a whole number."
