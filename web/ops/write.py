"""A write of the console as a page: its form, what it would change, its confirmation, and the same as `curl`.

An operation is declared here once as a :class:`Write`; its page reads the object, carries its version, runs dry,
shows before and after, and carries out what was confirmed. Where somebody else changed the object meanwhile it is
refused with the difference, and what was typed stays.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import msgspec

from router.api.in_process import OperationRefused, Outcome
from store.ids import new_id, parse
from web.answers import Answer, Crumb, Page, Redirect
from web.faults import NotFound
from web.forms import (
    CONFIRM,
    ONCE,
    VERSION,
    Change,
    ConfirmPage,
    Form,
    changes_of,
    form_of,
    hidden_fields,
    is_confirmed,
)
from web.ops.impact import Impact, TouchingPage
from web.parts.curl import curl
from web.parts.difference import Difference
from web.parts.hidden import restored
from web.parts.tables import address
from web.request import PageRequest

Json = dict[str, Any]
# What a reader saw in a field comes back under its name with this before it.
WAS = "was-"
# It waits for a second person, and the answer is the proposal.
PROPOSED = 202
OPERATIONS = Crumb("Operations", "/ops")


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """A field of a form and of the operation's body.

    Left empty it is not sent, and what it says stays; ``is_empty_null`` sends null, ``is_empty_sent`` the empty text,
    list or map. A checkbox is sent always.
    """

    name: str
    label: str
    hint: str = ""
    kind: Literal["text", "area", "choice", "check", "count", "list", "numbers", "map", "file"] = "text"
    options: tuple[tuple[str, str], ...] = ()
    rows: int = 4
    is_required: bool = False
    is_empty_null: bool = False
    is_empty_sent: bool = False
    initial: str = ""
    autocomplete: str = "off"

    def value(self, typed: str) -> Any:  # noqa: ANN401 - JSON
        """What the operation gets: a whole number that is none, it refuses itself."""
        match self.kind:
            case "check":
                return typed == "1"
            case "count":
                return _whole(typed)
            case "list" | "numbers":
                parts = [part.strip() for part in typed.split(",") if part.strip()]
                return parts if self.kind == "list" else [_whole(part) for part in parts]
            case "map":
                return dict(map(_pair, filter(str.strip, typed.splitlines())))
            case _:
                return typed

    def shown(self, value: object) -> str:
        """A value of the object as it stands in the form."""
        match value:
            case None | False:
                return ""
            case True:
                return "1"
            case list():
                return ", ".join(map(str, value))
            case dict():
                return "\n".join(f"{name}={_typed(part)}" for name, part in value.items())
            case _:
                return str(value)


class WritePage(Page, frozen=True, kw_only=True):
    """The form. ``theirs``: what somebody else changed since it was read, long texts as ``their_texts``."""

    template: ClassVar[str] = "ops/write.html"

    write: "Write"
    action: str
    back: str
    form: Form
    version: str
    was: tuple[tuple[str, str], ...]
    curl: str
    theirs: tuple[Change, ...] = ()
    their_texts: tuple[Difference, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()


class Write(msgspec.Struct, frozen=True, kw_only=True):
    """One operation that changes something.

    ``values`` maps the operation's names of its path's values to those of the page's path, ``from_path`` fields of its
    body. ``reads`` is the operation that answers the object as it is, ``name`` the field with its name; where nothing
    is read, ``noun`` names it, and ``kinds`` says of which kind the ids of the path are. ``names`` are the fields to
    show before and after, ``carries`` further ones that the form sends back as they were read. ``back`` and ``done``
    are addresses with the path's values, and ``done`` with those of the answer, too.
    """

    operation: str
    verb: str
    explanation: str
    noun: str = ""
    name: str = "name"
    values: Mapping[str, str] = {}
    from_path: Mapping[str, str] = {}
    reads: str | None = None
    kinds: Mapping[str, object] = {}
    fields: tuple[Field, ...] = ()
    names: Mapping[str, str] = {}
    carries: tuple[str, ...] = ()
    back: str
    done: str = ""
    crumbs: tuple[Crumb, ...] = ()
    has_body: bool = True
    is_dangerous: bool = False
    notes: tuple[str, ...] = ()
    # Where all are listed whom the change touches, by the names of the fields that say which it is.
    touches: str = ""
    touches_by: tuple[str, ...] = ()

    @property
    def has_file(self) -> bool:
        """Whether a file is sent with the form."""
        return any(field.kind == "file" for field in self.fields)

    def _read_back(self) -> tuple[str, ...]:
        """The fields of the object that the form sends back as they were read."""
        return (*self.names, *self.carries)

    async def show(self, request: PageRequest) -> Answer:
        """The form, with the object's values; a field's value in the address stands before them."""
        before, version = await self._read(request)
        known = {field.name for field in self.fields}
        which = {name: value for name, value in request.query if name in known}
        values = {
            field.name: field.shown(before[field.name]) if field.name in before else field.initial
            for field in self.fields
        }
        return self._page(request, before, version, Form(values | self._initials(request, before) | which))

    def _initials(self, request: PageRequest, before: Json) -> dict[str, str]:
        """What stands in fields when the form is opened, where no declaration can say it."""
        del request, before
        return {}

    async def act(self, request: PageRequest) -> Answer:
        """Show what would change, or change it."""
        request.form_as(self._form_type())
        version = request.typed(VERSION) or None
        try:
            if is_confirmed(request):
                done = await self._run(request, if_match=version, idempotency_key=request.typed(ONCE))
                if done.status == PROPOSED:
                    return Redirect(to=f"/ops/proposals/{done.value['id']}?done=1")
                return Redirect(to=self._address(self.done or self.back, request, done.value) + "?done=1")
            before, _ = await self._read(request)
            after = await self._run(request, dry_run=True, if_match=version)
        except OperationRefused as refused:
            if refused.status == 404 and refused.error.param not in {field.name for field in self.fields}:
                raise NotFound from None
            now, version = await self._read(request)
            theirs = self._theirs(request, now) if refused.error.code == "version_conflict" else ()
            form = self._refused(request, refused)
            return self._page(request, now, version, form, theirs=theirs, status=refused.status)
        return await self._confirmation(request, before, after)

    def _refused(self, request: PageRequest, refused: OperationRefused) -> Form:
        return form_of(request, refused)

    async def _confirmation(self, request: PageRequest, before: Json, after: Outcome[Json]) -> ConfirmPage:
        what = self._button(request, before or after.value)
        impact = self._impact(request, after.value)
        facts: dict[str, Any] = {
            "title": what,
            "crumbs": (*self.crumbs, Crumb(what)),
            "action": request.path,
            "button": what,
            "back": self._address(self.back, request, before),
            "changes": changes_of(before, after.value, self.names),
            "hidden": hidden_fields(request, **{ONCE: str(new_id())}),
            "is_dangerous": self.is_dangerous,
            "needs_second_person": after.needs_second_person,
            "notes": self.notes,
        }
        return ConfirmPage(**facts) if impact is None else TouchingPage(**facts, impact=impact)

    def _impact(self, request: PageRequest, after: Json) -> Impact | None:
        """Whom it touches, where the dry run says so."""
        if after.get("impact") is None:
            return None
        which = tuple((name, request.typed(name).strip()) for name in self.touches_by if request.typed(name).strip())
        found = msgspec.convert(after["impact"], Impact)
        return msgspec.structs.replace(found, all_href=address(self.touches, which) if self.touches else "")

    def _page(self, request: PageRequest, before: Json, version: str, form: Form, **more: Any) -> WritePage:  # noqa: ANN401
        what = self._button(request, before)
        return WritePage(
            title=what,
            crumbs=(*self.crumbs, Crumb(what)),
            write=self,
            action=request.path,
            back=self._address(self.back, request, before),
            form=form,
            version=version,
            was=tuple((f"{WAS}{field}", _text(before.get(field))) for field in self._read_back() if field in before),
            facts=tuple((name, _text(before.get(field))) for field, name in self.names.items() if field in before),
            curl=self._curl(request, form, version, before),
            **more,
        )

    def _button(self, request: PageRequest, thing: Json) -> str:
        noun = self.noun.format_map(request.values)
        return f"{self.verb} {thing.get(self.name) or noun}".strip()

    def _theirs(self, request: PageRequest, now: Json) -> tuple[Change, ...]:
        posted = {name for name, _ in request.form}
        return tuple(
            Change(name, was, _text(now.get(field)))
            for field, name in self.names.items()
            if f"{WAS}{field}" in posted and (was := restored(request.typed(f"{WAS}{field}"))) != _text(now.get(field))
        )

    async def _read(self, request: PageRequest) -> tuple[Json, str]:
        if self.reads is None:
            self._require_kind(request)
            return {}, ""
        try:
            read = await request.run(self.reads, Json, path=self._path(request))
        except OperationRefused as refused:
            if refused.status == 404:
                raise NotFound from None
            raise
        return read.value, read.etag or ""

    def _require_kind(self, request: PageRequest) -> None:
        """Raise ``NotFound`` for an id of another kind, where no operation reads what it is the id of."""
        for name, kind in self.kinds.items():
            try:
                parse(kind, request.values[name])
            except ValueError:
                raise NotFound from None

    async def _run(self, request: PageRequest, **how: Any) -> Outcome[Json]:  # noqa: ANN401 - those of PageRequest.run
        return await request.run(
            self.operation, Json, path=self._path(request), body=self._body(request, request.form), **how
        )

    def _path(self, request: PageRequest) -> dict[str, str]:
        return {theirs: request.values[ours] for theirs, ours in self.values.items()}

    def _body(self, request: PageRequest, form: tuple[tuple[str, str], ...]) -> Json | None:
        """The fields that were filled in; a checkbox that was not ticked says no."""
        if not self.has_body:
            return None
        typed = dict(form)
        body: Json = {field: request.values[name] for field, name in self.from_path.items()}
        for field in self.fields:
            given = restored(typed.get(field.name, "")).strip()
            if given or field.kind == "check" or field.is_empty_sent:
                body[field.name] = field.value(given)
            elif field.is_empty_null:
                body[field.name] = None
        return body

    def _address(self, pattern: str, request: PageRequest, thing: Json) -> str:
        return pattern.format_map({**thing, **request.values})

    def _form_type(self) -> type[msgspec.Struct]:
        ours = [VERSION, CONFIRM, ONCE, *(f"{WAS}{field}" for field in self._read_back())]
        renamed = {f"f{number}": name for number, name in enumerate([*ours, *(field.name for field in self.fields)])}
        return msgspec.defstruct("WriteForm", [(name, str, "") for name in renamed], rename=renamed)

    def _curl(self, request: PageRequest, form: Form, version: str, before: Json) -> str:
        del before
        declared = request.operations.declared(self.operation)
        body = self._body(request, tuple(form.values.items()))
        for field in self.fields:
            if body and field.kind == "file" and field.name in body:
                body[field.name] = "the file in base64"
        return curl(declared.method, declared.path_of(self._path(request)), body=body, if_match=version)


def _pair(line: str) -> tuple[str, object]:
    """``name=value`` of a line; the value as JSON where it is JSON, else as text."""
    name, _, value = line.partition("=")
    try:
        return name.strip(), msgspec.json.decode(value)
    except msgspec.DecodeError:
        return name.strip(), value.strip()


def _whole(typed: str) -> int | str:
    return int(typed) if typed.isascii() and typed.isdecimal() and len(typed) < 19 else typed


def _typed(value: object) -> str:
    """A value as :func:`_pair` reads it back; a text of several lines is JSON, since each line is a pair."""
    as_json = msgspec.json.encode(value).decode()
    is_plain = isinstance(value, str) and len(value.splitlines()) < 2 and _pair(f"={value}") == ("", value)
    return str(value) if is_plain else as_json


def _text(value: object) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(map(str, value)) or "none"
        case dict():
            return ", ".join(f"{name}={_typed(part)}" for name, part in value.items()) or "none"
        case _:
            return str(value)
