"""Writes one record of a model's entry as a page: a text, a source of a fact, a result of a benchmark, and the like.

The operation takes lists whole, so the page reads the list, puts the record into it, and sends it with the version that
was read. Which record is meant is known by its place in the address, and once it was read by a digest of it and by what
it is called: where somebody else has put another before it meanwhile, it is still the one that was opened.
"""

import re
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, Literal, TypeAlias

import msgspec
from typing_extensions import override

from router.api.in_process import OperationRefused, Outcome
from web.answers import Crumb
from web.faults import NotFound
from web.forms import Form, form_of
from web.ops.model_change import PAGE, ModelWrite, model_id_of
from web.ops.model_writes import CRUMBS, FIELDS
from web.ops.write import WAS, Json, WritePage
from web.parts.curl import curl
from web.parts.hidden import restored
from web.request import PageRequest

# Fields of the form that are not the record's.
POSITION, HERE, CLEARS, REASON_GIVEN = "position", "here", "clears", "reason"
NOT_OF_THE_RECORD = frozenset({POSITION, HERE, CLEARS, REASON_GIVEN})
_OF_A_RECORD = re.compile(r"^(?:statements|benchmarks|texts)[.\[]\d+\]?\.|^(?:estimate|downloads)\.")


Part: TypeAlias = Literal["statements", "benchmarks", "texts", "estimate", "downloads"]
Action: TypeAlias = Literal["add", "set", "withdraw"]


class RecordWrite(ModelWrite, frozen=True, kw_only=True):
    """A write to one record of the list ``part``, or to the record that ``part`` is (``is_single``).

    ``what`` and ``label`` name a record; ``group`` are those among which it has its position.
    """

    operation: str = "edit_model"
    reads: str = "admin_retrieve_model"
    carries: tuple[str, ...] = ("record",)
    back: str = PAGE
    crumbs: tuple[Crumb, ...] = CRUMBS
    part: Part
    action: Action
    what: str
    label: Callable[[Json], str]
    group: Callable[[Json], object] = lambda record: None
    blocks_of: Callable[[Json], frozenset[str]]
    is_single: bool = False

    @override
    async def _read(self, request: PageRequest) -> tuple[Json, str]:
        answer, version = await ModelWrite._read(self, request)
        at = self._place(request, answer)
        if at is None and self.action != "add" and not self.is_single and request.method == "GET":
            raise NotFound
        if at is None and self.action == "withdraw" and request.method == "GET":
            raise NotFound
        return self._object(answer, None if at is None else self._records(answer)[at]), version

    @override
    async def _run(self, request: PageRequest, **how: Any) -> Outcome[Json]:
        answer, _ = await ModelWrite._read(self, request)
        body, at = self._patch(dict(request.form), answer, self._place(request, answer))
        outcome = await request.run(self.operation, Json, path=self._path(request), body=body, **how)
        record = None if at is None else self._records(outcome.value)[at]
        return msgspec.structs.replace(outcome, value=self._object(outcome.value, record))

    def _object(self, answer: Json, record: Json | None) -> Json:
        """The record as the form has it; ``listed`` names all of its list, ``here`` is the fact's value."""
        records = self._records(answer)
        found: Json = {"id": answer["id"], "answer": answer, "listed": [self.label(one) for one in records]}
        if record is None:
            return dict.fromkeys((*self.names, *self.long), "") | found
        if self.part == "statements":
            found[HERE] = _here(answer, record["fact"])
        if not self.is_single:
            alike = [one for one in records if self.group(one) == self.group(record)]
            found[POSITION] = 1 + alike.index(record)
        return {**record, **found, "record": _digest(record)}

    def _records(self, answer: Json) -> list[Json]:
        stated = answer[self.part]
        return ([] if stated is None else [stated]) if self.is_single else stated

    def _place(self, request: PageRequest, answer: Json) -> int | None:
        """Where the record stands: the one that was read; else the nearest that is called so; else none."""
        records = self._records(answer)
        if self.action == "add":
            return None
        place = 0 if self.is_single else _number(request.values["place"]) - 1
        was = request.typed(f"{WAS}record")
        if not was:
            return place if 0 <= place < len(records) else None
        found = [at for at, record in enumerate(records) if _digest(record) == was]
        if not found:
            label = self.label({name: restored(request.typed(f"{WAS}{name}")) for name in self.names})
            found = [at for at, record in enumerate(records) if self.label(record) == label]
        return min(found, key=lambda at: abs(at - place), default=None)

    def _patch(self, typed: Mapping[str, str], answer: Json, at: int | None) -> tuple[Json, int | None]:
        """The body, and where the record stands in its list then."""
        records = [record for place, record in enumerate(self._records(answer)) if place != at]
        body: Json = {"reason": _given(typed, REASON_GIVEN)}
        after: int | None = None
        if self.action != "withdraw":
            record = self._record(typed)
            after = self._insertion(records, record, self._wanted(typed, answer, at), at)
            records.insert(after, record)
        body[self.part] = (records[0] if records else None) if self.is_single else records
        if self.part == "statements":
            body |= self._fact(typed, answer, at)
        return body, after

    def _record(self, typed: Mapping[str, str]) -> Json:
        record = {}
        for field in self.fields:
            given = _given(typed, field.name)
            if field.name not in NOT_OF_THE_RECORD and (given or field.is_required or field.kind == "check"):
                record[field.name] = field.value(given)
        return record

    def _wanted(self, typed: Mapping[str, str], answer: Json, at: int | None) -> int:
        """The position that is asked for, from 1 on; 0 where it is to stay, or to be the last as a new one is."""
        wanted = _number(_given(typed, POSITION))
        if at is None:
            return wanted
        now = self._object(answer, self._records(answer)[at]).get(POSITION)
        return 0 if wanted == now else wanted

    def _insertion(self, records: list[Json], record: Json, wanted: int, at: int | None) -> int:
        """Where it goes among those of its group."""
        group = [place for place, one in enumerate(records) if self.group(one) == self.group(record)]
        if wanted == 0 or not group:
            return len(records) if at is None else at
        return group[wanted - 1] if wanted <= len(group) else group[-1] + 1

    def _fact(self, typed: Mapping[str, str], answer: Json, at: int | None) -> Json:
        """What of the fact itself changes with its source."""
        if self.action == "withdraw":
            if at is None or not typed.get(CLEARS):
                return {}
            fact = self._records(answer)[at]["fact"]
            is_list = fact in FIELDS and FIELDS[fact].kind in ("list", "numbers", "map")
            return {fact: [] if is_list else None}
        fact, here = _given(typed, "fact"), _given(typed, HERE)
        if not here or fact not in FIELDS or here == _here(answer, fact):
            return {}
        return {fact: FIELDS[fact].value(here)}

    @override
    def _button(self, request: PageRequest, thing: Json) -> str:
        model = model_id_of(request)
        if self.action == "add":
            return f"{self.verb} {model}"
        return " ".join(filter(None, (self.verb, self.what, self.label(thing), "of", model)))

    @override
    def _refused(self, request: PageRequest, refused: OperationRefused) -> Form:
        fact = request.typed("fact")
        renamed = {fault.param: _OF_A_RECORD.sub("", fault.param) for fault in refused.faults if fault.param}
        if fact in FIELDS:
            renamed[fact] = HERE
        return form_of(request, refused, renamed)

    @override
    def _blocks(self, before: Json, after: Json) -> frozenset[str]:
        return frozenset[str]().union(*(self.blocks_of(one) for one in (before, after) if "record" in one))

    @override
    def _page(self, request: PageRequest, before: Json, version: str, form: Form, **more: Any) -> WritePage:
        page = ModelWrite._page(self, request, before, version, form, **more)
        declared = request.operations.declared(self.operation)
        body, _ = self._patch(form.values, before["answer"], self._place(request, before["answer"]))
        same = curl(declared.method, declared.path_of(self._path(request)), body=body, if_match=version)
        facts = tuple((name, value) for name, value in page.facts if value)
        return msgspec.structs.replace(page, curl=same, facts=facts)

    @override
    def _curl(self, request: PageRequest, form: Form, version: str, before: Json) -> str:
        return ""

    @override
    def _initials(self, request: PageRequest, before: Json) -> dict[str, str]:
        today = request.exchange.now.date().isoformat()
        return {} if "record" in before else {"stated_on": today}


def _given(typed: Mapping[str, str], name: str) -> str:
    return restored(typed.get(name, "")).strip()


def _here(answer: Json, fact: str) -> str:
    """The value that stands in the entry, as a form has it."""
    field = FIELDS.get(fact)
    return "" if field is None else field.shown(answer[fact])


def _digest(record: Json) -> str:
    return sha256(msgspec.json.encode(record, order="sorted")).hexdigest()[:32]


def _number(text: str) -> int:
    """A number from 1 on; 0 where there is none."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 5 else 0
