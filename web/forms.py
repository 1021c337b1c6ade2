"""Holds a form as a page shows it, with what was typed and what is wrong with it; and the way of a write.

A write has two steps: the form is posted and run dry, which gives a page that shows what would change; its button posts
the same with ``confirm``. Refused, the form comes back with what was typed and a sentence at each field at fault.
"""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from router.api.in_process import FieldFault, OperationRefused
from store.ids import new_id
from web.answers import Page
from web.request import PageRequest

# Fields of ours among a form's own.
MISMATCH = "idempotency_mismatch"
SENT_BEFORE = (
    "This form was sent before with something else in it, and that was done. If you want this as well, send it again."
)
CONFIRM, VERSION, ONCE = "confirm", "version", "once"
SHOWN_MAX = 400


class Form(msgspec.Struct, frozen=True):
    """What was typed in each field, and what is wrong; ``fault`` is of the form as a whole."""

    values: Mapping[str, str] = {}
    errors: Mapping[str, str] = {}
    fault: str = ""

    def value(self, name: str) -> str:
        """What stands in a field."""
        return self.values.get(name, "")

    def error(self, name: str) -> str:
        """What is wrong with a field; empty where nothing is."""
        return self.errors.get(name, "")


class Change(msgspec.Struct, frozen=True):
    """A field before and after, as people read it."""

    name: str
    before: str
    after: str


class Hidden(msgspec.Struct, frozen=True):
    """A field that is sent again as it is."""

    name: str
    value: str


class ConfirmPage(Page, frozen=True, kw_only=True):
    """What a write would change, before it does: shown by every write of ops and finance.

    ``action`` is the form's address, ``button`` names the object, ``back`` is where nothing happens. ``changes_more``:
    what would change is shown below, too.
    """

    template = "parts/confirm.html"

    action: str
    button: str
    back: str
    changes: tuple[Change, ...]
    hidden: tuple[Hidden, ...]
    is_dangerous: bool = False
    needs_second_person: bool = False
    notes: tuple[str, ...] = ()
    changes_more: bool = False


def form_of(
    request: PageRequest,
    refused: OperationRefused | None = None,
    fields: Mapping[str, str] | None = None,
    typed: Mapping[str, str] | None = None,
) -> Form:
    """The form as it was typed, with what an operation refused; ``typed`` is what a GET form's address says.

    ``fields`` maps the operation's names of fields to the form's, where they differ; a fault of a field that the form
    does not have is one of the form as a whole.
    """
    typed = dict(request.form) if typed is None else typed
    if refused is None:
        return Form(typed)
    if refused.error.code == MISMATCH:
        return Form(typed, fault=SENT_BEFORE)
    errors: dict[str, str] = {}
    whole: list[str] = []
    for fault in refused.faults:
        name = (fields or {}).get(fault.param or "", fault.param or "")
        # A part of a field, or of a list, is at fault: `options.vendor` is typed in `options`.
        name = name if name in typed else re.split(r"[.\[]", name)[0]
        if name in typed and name not in errors:
            errors[name] = _of_field(fault)
        else:
            whole.append(fault.message)
    return Form(typed, errors, " ".join(whole))


def _of_field(fault: FieldFault) -> str:
    """A sentence of the API about one of its fields, as it stands at the field, where its name is not said again."""
    message = fault.message
    if fault.param is None or not message.startswith(name := f"'{fault.param}' is "):
        return message
    rest = message.removeprefix(name).replace(" as text", "", 1)
    return f"It is {rest}" if rest.startswith(("missing", "invalid", "not ")) else f"It has to be {rest}"


def once_after(refused: OperationRefused, once: str) -> str:
    """The Idempotency-Key of the form that comes back: another one where what was sent under it is done."""
    return str(new_id()) if refused.error.code == MISMATCH else once


def is_confirmed(request: PageRequest) -> bool:
    """Whether the reader has seen what would change, and pressed the button."""
    return request.typed(CONFIRM) == "1"


def hidden_fields(request: PageRequest, **more: str) -> tuple[Hidden, ...]:
    """The posted fields to send again, with ``confirm`` and the Idempotency-Key of this intent."""
    given = dict(request.form) | more | {CONFIRM: "1"}
    return tuple(Hidden(name, value) for name, value in given.items())


def changes_of(before: Mapping[str, Any], after: Mapping[str, Any], names: Mapping[str, str]) -> tuple[Change, ...]:
    """The fields that differ between a thing as it is and as a dry run answers it; ``names`` are a person's words."""
    return tuple(
        Change(name, _shown(before.get(field)), _shown(after.get(field)))
        for field, name in names.items()
        if before.get(field) != after.get(field)
    )


def _shown(value: object) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case list() | tuple():
            return ", ".join(map(_shown, value)) or "none"
        case dict():
            return ", ".join(f"{name}={_shown(part)}" for name, part in value.items()) or "none"
        case _:
            text = str(value)
            return text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}…"
