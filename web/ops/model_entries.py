"""Declares what is written in a model's entry record by record: texts, facts with sources, results, and the like."""

from collections.abc import Mapping
from typing import Final

from catalog.descriptions import Section
from web.ops.model_change import REASON
from web.ops.model_preview import HEAD
from web.ops.model_records import CLEARS, HERE, POSITION, Action, Part, RecordWrite
from web.ops.model_writes import FIELDS
from web.ops.write import Field, Json
from web.public.model_blocks import SECTIONS

FAQ = "FAQ"
_SECTION_NAMES: Final = {section.value: SECTIONS.get(section, FAQ) for section in Section}
SOURCE = Field(name="source", label="Who says so", is_required=True)
STATED_ON = Field(
    name="stated_on", label="On", is_required=True, hint="The day on which it was said, or read, such as 2026-11-24."
)
EVIDENCE = Field(name="evidence", label="Link to where it stands")
_POSITION = Field(name=POSITION, label="Position", kind="count", hint="1 is the first; empty: the last.")


def section_name(section: str) -> str:
    """What the page calls a section."""
    return _SECTION_NAMES.get(section, section)


def text_label(record: Json) -> str:
    """A text by its section; a question by its words."""
    title = record.get("title") or ""
    section = section_name(record.get("section", ""))
    return f"{section}: {title}" if title else section


def statement_label(record: Json) -> str:
    """A source by its fact and who says so."""
    return f"{record.get('fact', '')} by {record.get('source', '')}"


def _text_blocks(record: Json) -> frozenset[str]:
    return frozenset({record["section"].replace("_", "-")})


def _text(action: Action, verb: str, explanation: str, fields: tuple[Field, ...]) -> RecordWrite:
    return RecordWrite(
        part="texts",
        action=action,
        verb=verb,
        what="the text",
        label=text_label,
        group=lambda record: record["section"],
        blocks_of=_text_blocks,
        explanation=explanation,
        fields=fields,
        names={
            "listed": "Texts of the page",
            "section": "Section",
            "title": "Question",
            POSITION: "Position",
            "source": "Who says so",
            "stated_on": "On",
            "evidence": "Link",
            "about": "About another model",
        },
        long={"body": "Text"},
        is_dangerous=action == "withdraw",
    )


_TEXT_FIELDS: Final = (
    Field(name="section", label="Section", kind="choice", options=tuple(_SECTION_NAMES.items()), is_required=True),
    Field(name="title", label="Question", hint="In the section FAQ alone, and there always."),
    Field(name="body", label="Text", kind="area", rows=16, is_required=True, hint="Markdown, at most 8000 characters."),
    SOURCE,
    STATED_ON,
    EVIDENCE,
    Field(name="about", label="About another model", hint="Its id, where the text speaks of that one."),
    _POSITION,
    REASON,
)
TEXTS: Final[Mapping[str, RecordWrite]] = {
    "new": _text("add", "Add a text to", "A text of its page, with who says so. Nothing of it is HTML.", _TEXT_FIELDS),
    "edit": _text("set", "Change", "A text of its page. Its source is who says it as it stands then.", _TEXT_FIELDS),
    "withdraw": _text("withdraw", "Withdraw", "The page has it no longer; the audit keeps it.", (REASON,)),
}


def _statement(action: Action, verb: str, explanation: str, fields: tuple[Field, ...]) -> RecordWrite:
    return RecordWrite(
        part="statements",
        action=action,
        verb=verb,
        what="the fact",
        label=statement_label,
        blocks_of=lambda _: HEAD,
        explanation=explanation,
        fields=fields,
        names={
            "listed": "Facts with a source",
            "fact": "Fact",
            HERE: "What stands here",
            "value": "In the source's words",
            "source": "Who says so",
            "stated_on": "On",
            "evidence": "Link",
        },
        is_dangerous=action == "withdraw",
    )


_STATEMENT_FIELDS: Final = (
    Field(
        name="fact",
        label="Fact",
        kind="choice",
        options=tuple((name, field.label) for name, field in FIELDS.items()),
        is_required=True,
    ),
    Field(
        name=HERE,
        label="What stands here",
        kind="area",
        hint="As its field has it: a number, 1 for yes, a list with commas. Empty: what stands there stays.",
    ),
    Field(
        name="value",
        label="In the source's words",
        hint="Where it says something else than what stands here, such as More than 200 languages.",
    ),
    SOURCE,
    STATED_ON,
    EVIDENCE,
    REASON,
)
STATEMENTS: Final[Mapping[str, RecordWrite]] = {
    "new": _statement(
        "add",
        "Add a fact to",
        "Who states which fact. A second source of a fact stands beside the first.",
        _STATEMENT_FIELDS,
    ),
    "edit": _statement("set", "Change", "The fact, or who states it.", _STATEMENT_FIELDS),
    "withdraw": _statement(
        "withdraw",
        "Withdraw",
        "This source is named no longer. A fact that needs one goes with its last source.",
        (Field(name=CLEARS, label="What stands here goes, too", kind="check"), REASON),
    ),
}


def _benchmark(action: Action, verb: str, explanation: str, fields: tuple[Field, ...]) -> RecordWrite:
    return RecordWrite(
        part="benchmarks",
        action=action,
        verb=verb,
        what="the result",
        label=lambda record: record.get("name", ""),
        blocks_of=lambda _: frozenset({"benchmarks"}),
        explanation=explanation,
        fields=fields,
        names={
            "listed": "Results",
            "name": "Benchmark",
            "value": "Result",
            "unit": "Unit",
            "measured_by": "Measured by",
            "revision": "Revision that was measured",
            POSITION: "Position",
            "source": "Who says so",
            "stated_on": "On",
            "evidence": "Link",
        },
        is_dangerous=action == "withdraw",
    )


_BENCHMARK_FIELDS: Final = (
    Field(name="name", label="Benchmark", is_required=True, hint="With its version where it has one."),
    Field(name="value", label="Result", is_required=True, hint="A decimal number such as 67.06; higher is better."),
    Field(name="unit", label="Unit", is_required=True, hint="Such as mean of tasks, of 100."),
    Field(name="measured_by", label="Measured by", is_required=True),
    Field(name="revision", label="Revision that was measured", hint="Empty: not known."),
    SOURCE,
    STATED_ON,
    EVIDENCE,
    _POSITION,
    REASON,
)
BENCHMARKS: Final[Mapping[str, RecordWrite]] = {
    "new": _benchmark("add", "Add a result to", "The first is the catalogue's column.", _BENCHMARK_FIELDS),
    "edit": _benchmark("set", "Change", "The first is the catalogue's column.", _BENCHMARK_FIELDS),
    "withdraw": _benchmark("withdraw", "Withdraw", "The page names it no longer.", (REASON,)),
}


def _single(part: Part, action: Action, verb: str, explanation: str, fields: tuple[Field, ...]) -> RecordWrite:
    return RecordWrite(
        part=part,
        action=action,
        is_single=True,
        verb=verb,
        what=f"the {part}",
        label=lambda _: "",
        blocks_of=lambda _: frozenset({"figures"}),
        explanation=explanation,
        fields=(*fields, REASON),
        names={field.name: field.label for field in (_ESTIMATE if part == "estimate" else _DOWNLOADS)},
        is_dangerous=action == "withdraw",
    )


_ESTIMATE: Final = (
    Field(name="usd_per_mtok", label="USD per 1M tokens", is_required=True, hint="Shown, never charged."),
    SOURCE,
    STATED_ON,
    Field(name="is_list_price", label="It is its maker's public list price", kind="check"),
    Field(name="note", label="Note"),
)
_DOWNLOADS: Final = (
    Field(name="per_month", label="Downloads a month", kind="count", is_required=True),
    SOURCE,
    STATED_ON,
    EVIDENCE,
)
SINGLES: Final[Mapping[str, RecordWrite]] = {
    "estimate": _single("estimate", "set", "Set", "What it is said to cost before it has a price of ours.", _ESTIMATE),
    "estimate/withdraw": _single("estimate", "withdraw", "Withdraw", "Its page says that no price is set.", ()),
    "downloads": _single("downloads", "set", "Set", "How often its weights are downloaded in a month.", _DOWNLOADS),
    "downloads/withdraw": _single("downloads", "withdraw", "Withdraw", "Its page says nothing of downloads.", ()),
}
