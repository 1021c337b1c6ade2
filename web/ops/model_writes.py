"""Adds a model, edits its fields and moves it between its states, each as a page with its dry run.

Facts that nothing but a source proves are set with their source: :mod:`web.ops.model_records`.
"""

from collections.abc import Mapping
from typing import Final

from web.ops.model_change import MODELS, PAGE, REASON, ModelWrite
from web.ops.model_preview import HEAD
from web.ops.write import OPERATIONS, Field

CRUMBS = (OPERATIONS, MODELS)
_SUMMARY = Field(
    name="summary", label="Summary", kind="area", is_required=True, hint="One sentence for those who look."
)
_DAY = "A day, such as 2026-05-01; empty: not known."
# Facts that a form can hold, in the order of the form.
_PLAIN: Final = (
    Field(name="owned_by", label="Maker", is_required=True),
    _SUMMARY,
    Field(name="published_on", label="Published on", is_empty_null=True, hint=_DAY),
    Field(name="dimensions", label="Dimensions", kind="count", is_required=True),
    Field(
        name="trained_dimensions",
        label="Trained widths",
        kind="numbers",
        is_empty_sent=True,
        hint="Such as 64, 128, 256.",
    ),
    Field(name="only_trained_dimensions", label="No other widths may be asked for", kind="check"),
    Field(
        name="max_input_tokens",
        label="Input limit, tokens",
        kind="count",
        is_required=True,
        hint="Its prompt and special tokens included.",
    ),
    Field(
        name="max_input_tokens_ceiling",
        label="What its architecture could take, tokens",
        kind="count",
        is_empty_null=True,
    ),
    Field(name="normalized", label="Vectors have length 1", kind="check"),
    Field(name="pooling", label="Pooling", initial="undisclosed", hint="Such as mean or last-token."),
    Field(name="numerics", label="Numbers", initial="undisclosed", hint="Such as bf16."),
    Field(name="task", label="Task", initial="embedding"),
    Field(name="tokenizer", label="Tokenizer", is_empty_null=True, hint="Together with the size of its vocabulary."),
    Field(name="vocabulary_size", label="Size of the vocabulary", kind="count", is_empty_null=True),
    Field(name="special_tokens", label="Special tokens of an input", kind="count", initial="0"),
    Field(
        name="prompts",
        label="Prompts",
        kind="map",
        is_empty_sent=True,
        hint='A line each, as query=search: or, with line breaks and blanks at its ends, query="find:\\n".',
    ),
    Field(name="revision", label="Revision of the weights", is_empty_null=True, hint="A commit or a digest."),
    Field(name="parameters", label="Parameters", kind="count", is_empty_null=True),
    Field(name="languages", label="Languages, in a sentence", is_empty_sent=True),
    Field(
        name="aliases",
        label="Other names",
        kind="list",
        is_empty_sent=True,
        hint="With commas between them, without a slash.",
    ),
    Field(name="note", label="Note", kind="area", is_empty_sent=True, hint="What else is to be said of it."),
)
# Facts that are set with their source.
_SOURCED: Final = (
    Field(name="updated_on", label="Updated on", is_empty_null=True, hint="A day, or a month such as 2026-05."),
    Field(name="architecture", label="Architecture", is_empty_null=True),
    Field(name="language_codes", label="Languages, by code", kind="list", is_empty_sent=True),
    Field(name="programming_languages", label="Programming languages", kind="list", is_empty_sent=True),
)
FIELDS: Final[Mapping[str, Field]] = {field.name: field for field in (*_PLAIN, *_SOURCED)}
NAMES: Final = {field.name: field.label for field in _PLAIN if field.name != "summary"}

NEW = ModelWrite(
    operation="create_model",
    verb="Add",
    noun="a model",
    name="id",
    explanation="It is announced, coming soon. Its license is recorded at the license desk; it launches when it lacks "
    "nothing.",
    fields=(Field(name="id", label="Id", is_required=True, hint="As org/name."), *_PLAIN, REASON),
    names={"id": "Id", "status": "Status", **NAMES, "space": "Vector space"},
    long={"summary": "Summary"},
    blocks=HEAD,
    back="/ops/models",
    done="/ops/models/{id}",
    crumbs=CRUMBS,
)
EDIT = ModelWrite(
    operation="edit_model",
    verb="Edit",
    name="id",
    noun="{owner}/{name}",
    explanation="Of a served model only what no call rests on can change: summary, note, day of publication, task and "
    "languages. What names the vector space stays from the first endpoint on.",
    reads="admin_retrieve_model",
    fields=(*_PLAIN, REASON),
    names={**NAMES, "space": "Vector space"},
    long={"summary": "Summary"},
    blocks=HEAD,
    shows_facts=False,
    back=PAGE,
    crumbs=CRUMBS,
)


def _move(operation: str, verb: str, explanation: str, *fields: Field, is_dangerous: bool = False) -> ModelWrite:
    return ModelWrite(
        operation=operation,
        verb=verb,
        name="id",
        noun="{owner}/{name}",
        explanation=explanation,
        reads="admin_retrieve_model",
        fields=(*fields, REASON),
        names={"status": "Status", "successor": "Successor", "missing": "What it lacks to go live"},
        blocks=frozenset({"headline"}),
        back=PAGE,
        crumbs=CRUMBS,
        is_dangerous=is_dangerous,
    )


_SUCCESSOR = Field(
    name="successor", label="Successor", hint="The model that takes its place, by id or alias; empty: none is named."
)
MOVES: Final[Mapping[str, ModelWrite]] = {
    "launch": _move(
        "launch_model",
        "Launch",
        "It needs a settled license, a price in force and a live endpoint. Who wanted a mail at its launch gets one.",
    ),
    "deprecate": _move(
        "deprecate_model",
        "Deprecate",
        "It is served on, and those who called it in the last 30 days are told by mail to leave.",
        _SUCCESSOR,
    ),
    "retire": _move(
        "retire_model",
        "Retire",
        "It is served no longer from this moment on, and those who called it in the last 30 days are told by mail.",
        _SUCCESSOR,
        is_dangerous=True,
    ),
    "announce": _move("announce_model", "Announce", "A retired model is coming soon again. It has to launch anew."),
}
