"""The file, what there is and what was applied last -> changes, and what a person has to decide. Pure.

Each field is merged three ways. Equal to the file: nothing to do. As we left it at the last apply: ours to change.
Anything else was changed elsewhere, and stays until the operator says whose value holds.
"""

from collections.abc import Iterable
from datetime import datetime

import msgspec

from catalog.values import Status
from router.manifest.schema import SECTION_OF
from router.manifest.values import (
    Decisions,
    Difference,
    Drift,
    Entry,
    Fault,
    FieldChange,
    Fields,
    Kind,
    Name,
    Present,
    Remembered,
    Step,
    Vanished,
    Verb,
)
from router.registry.model_facts import REQUIRED_FACTS, SPACE_FACTS, refusal_to_edit
from router.values import EndpointState

_ORDER = (Kind.PROVIDER, Kind.MODEL, Kind.ENDPOINT, Kind.CLAIM, Kind.RESOLUTION, Kind.PRICE)


def difference(entries: Iterable[Entry], present: Present, decisions: Decisions, now: datetime) -> Difference:
    """What an apply would change now."""
    stated = tuple(entries)
    found = _Found(present, decisions, now, {entry.name for entry in stated})
    for entry in sorted(stated, key=lambda entry: _ORDER.index(entry.kind)):
        found.take(entry)
    if not decisions.yields:
        found.take_vanished()
    return found.done()


def covers(paths: tuple[str, ...], path: str) -> bool:
    """Whether a path, or something that it is inside of, is among these."""
    return any(path == one or path.startswith((f"{one}.", f"{one}[")) for one in paths)


class _Found:
    def __init__(self, present: Present, decisions: Decisions, now: datetime, stated: set[Name]) -> None:
        self._present, self._decisions, self._now, self._stated = present, decisions, now, stated
        self._steps: list[Step] = []
        self._launches: list[Step] = []
        self._conflicts: list[Drift] = []
        self._kept: list[Drift] = []
        self._vanished: list[Vanished] = []
        self._faults: list[Fault] = []
        self._remember: dict[Name, Remembered] = {}
        self._forget: list[Name] = []

    def done(self) -> Difference:
        ends = [step for step in self._steps if step.verb in (Verb.DRAIN, Verb.OFF)]
        steps = [step for step in self._steps if step.verb not in (Verb.DRAIN, Verb.OFF)]
        return Difference(
            # A model is launched with the endpoints that stay.
            steps=(*steps, *ends, *self._launches),
            conflicts=tuple(self._conflicts),
            kept=tuple(self._kept),
            vanished=tuple(self._vanished),
            faults=tuple(self._faults),
            remember=self._remember,
            forget=tuple(self._forget),
        )

    def take(self, entry: Entry) -> None:
        theirs = self._present.fields.get(entry.name)
        match entry.kind:
            case Kind.PROVIDER:
                self._provider(entry, theirs)
            case Kind.MODEL:
                self._model(entry, theirs)
            case Kind.ENDPOINT:
                self._endpoint(entry, theirs)
            case Kind.CLAIM:
                self._append_only(entry, theirs, "A claim is never edited: record what another source says.")
            case Kind.PRICE if entry.effective_at is not None:
                self._dated_price(entry, theirs)
            case Kind.RESOLUTION | Kind.PRICE:
                if self._knows_model(entry):
                    self._create_or_merge(entry, theirs)

    def _provider(self, entry: Entry, theirs: Fields | None) -> None:
        if theirs is not None and entry.fields["kind"] != theirs["kind"]:
            says = f"{entry.subject} has the kind {theirs['kind']}, which stays: give this one another name."
            self._fault(entry, "kind", says)
            return
        self._create_or_merge(entry, theirs)

    def _model(self, entry: Entry, theirs: Fields | None) -> None:
        launches = entry.fields.get("status") == "live"
        facts = {name: value for name, value in entry.fields.items() if name != "status"}
        stated = msgspec.structs.replace(entry, fields=facts)
        if theirs is None:
            if missing := [name for name in REQUIRED_FACTS if name not in facts]:
                says = f"{entry.subject} is not in the catalogue yet, so it needs {', '.join(missing)} too."
                self._fault(entry, "", says)
                return
            self._create_or_merge(stated, None)
        elif not self._decisions.yields:
            self._check_facts(entry, self._create_or_merge(stated, theirs), theirs)
        elif theirs["status"] == Status.COMING_SOON.value:
            # What names the space stays as the endpoints were registered for it.
            said = {name: value for name, value in facts.items() if name not in SPACE_FACTS}
            self._create_or_merge(msgspec.structs.replace(entry, fields=said), theirs)
        if launches:
            self._launch(entry, "coming_soon" if theirs is None else str(theirs["status"]))

    def _check_facts(self, entry: Entry, changes: tuple[FieldChange, ...], theirs: Fields) -> None:
        status = str(theirs["status"])
        has_endpoints = any(one.model_id == entry.subject for one in self._present.endpoints.values())
        for change in changes:
            says = refusal_to_edit(entry.subject, status, change.field, change.before, has_endpoints=has_endpoints)
            if says is not None:
                self._fault(entry, change.field, says)

    def _launch(self, entry: Entry, status: str) -> None:
        old = self._present.remembered.get(entry.name, Remembered({}))
        ours = old.fields.get("status")
        # An announced model was not taken back by anyone, unless this file had launched it.
        if status not in ("live", "coming_soon") or (status == "coming_soon" and ours == "live"):
            drift = Drift(
                f"{entry.path}.status", entry.kind, entry.subject, "status", ours, ours is not None, status, "live"
            )
            if ours == status and old.declined.get("status") == "live":
                self._kept.append(drift)
                self._remember_status(entry, status, "live")
                return
            if not self._decides_for_file(drift):
                if covers(self._decisions.take_theirs, drift.path):
                    self._remember_status(entry, status, "live")
                return
        if status != "live":
            change = FieldChange("status", status, "live")
            step = Step(
                Verb.LAUNCH, entry.kind, entry.subject, entry.path, entry.identity, (change,), {"status": "live"}
            )
            self._launches.append(step)
        self._remember_status(entry, "live")

    def _remember_status(self, entry: Entry, status: str, declined: str | None = None) -> None:
        old = self._remember[entry.name]
        turned_down = old.declined | ({"status": declined} if declined else {})
        self._remember[entry.name] = Remembered(old.fields | {"status": status}, turned_down, old.origin)

    def _endpoint(self, entry: Entry, theirs: Fields | None) -> None:
        provider = entry.identity["provider"]
        if not self._knows_model(entry):
            return
        if not self._exists((Kind.PROVIDER, provider)):
            self._fault(entry, "provider", f"There is no provider {provider}, neither registered nor in this file.")
        elif theirs is None and "cost_usd_per_mtok" not in entry.fields:
            self._fault(entry, "cost_usd_per_mtok", 'A new endpoint says what it costs us; write "0.00" for nothing.')
        elif theirs is not None and (claimed := entry.identity.get("space")):
            serves = self._present.endpoints[entry.subject].space
            if claimed != serves:
                self._fault(entry, "space", f"The endpoint serves {serves}: vectors of the two cannot be compared.")
                return
            self._create_or_merge(entry, theirs)
        else:
            self._create_or_merge(entry, theirs)

    def _dated_price(self, entry: Entry, theirs: Fields | None) -> None:
        assert entry.effective_at is not None
        if theirs is None and entry.effective_at < self._now and self._knows_model(entry):
            says = "It starts in the past, and calls keep the price they had. Write a day to come, or leave out `from`."
            self._fault(entry, "from", says)
        elif self._knows_model(entry):
            self._append_only(entry, theirs, "A price is never edited: write another one that starts later.")

    def _append_only(self, entry: Entry, theirs: Fields | None, sentence: str) -> None:
        if not self._knows_model(entry):
            return
        if theirs is None:
            self._create_or_merge(entry, None)
            return
        for field, value in entry.fields.items():
            if theirs.get(field) != value:
                self._fault(entry, field, f"It is recorded as {theirs.get(field)!r}. {sentence}")
        self._remember[entry.name] = Remembered(dict(entry.fields))

    def _create_or_merge(self, entry: Entry, theirs: Fields | None) -> tuple[FieldChange, ...]:
        if theirs is None:
            whole = self._present.defaults.get(entry.kind, {}) | entry.fields
            changes = tuple(FieldChange(field, None, value) for field, value in entry.fields.items())
            self._step(Verb.CREATE, entry, changes, whole)
            self._remember[entry.name] = Remembered(whole, origin=entry.origin)
            return changes
        changes = self._merge(entry, theirs)
        if changes:
            self._step(Verb.CHANGE, entry, changes, theirs | {change.field: change.after for change in changes})
        return changes

    def _merge(self, entry: Entry, theirs: Fields) -> tuple[FieldChange, ...]:
        old = self._present.remembered.get(entry.name, Remembered({}))
        fields, declined, changes = dict(old.fields), {}, []
        for field, value in entry.fields.items():
            now = theirs.get(field)
            if value != now:
                known = field in old.fields
                ours = old.fields.get(field)
                drift = Drift(f"{entry.path}.{field}", entry.kind, entry.subject, field, ours, known, now, value)
                if known and ours == now and field in old.declined and old.declined[field] == value:
                    declined[field] = value
                    self._kept.append(drift)
                    continue
                if not (known and ours == now) and not self._decides_for_file(drift):
                    if covers(self._decisions.take_theirs, drift.path):
                        fields[field], declined[field] = now, value
                    continue
                changes.append(FieldChange(field, now, value))
            fields[field] = value
        self._remember[entry.name] = Remembered(fields, declined, entry.origin or old.origin)
        return tuple(changes)

    def _decides_for_file(self, drift: Drift) -> bool:
        """Whether the file's value holds against one that was set elsewhere; what is not decided is a conflict."""
        if self._decisions.yields or covers(self._decisions.take_theirs, drift.path):
            self._kept.append(drift)
            return False
        if covers(self._decisions.take_file, drift.path):
            return True
        self._conflicts.append(drift)
        return False

    def take_vanished(self) -> None:
        """What a file had applied and has no longer. Only what can be ended is asked about."""
        for name in self._present.remembered:
            if name in self._stated or name[0] not in (Kind.PROVIDER, Kind.ENDPOINT):
                continue
            end = self._end_of(name)
            if end is None:
                self._forget.append(name)
            elif self._decisions.prune:
                self._forget.append(name)
                identity = {"name": name[1]} if name[0] is Kind.PROVIDER else {}
                self._steps.append(Step(end, *name, SECTION_OF[name[0]], identity, (), {}))
            else:
                self._vanished.append(Vanished(*name, end))

    def _end_of(self, name: Name) -> Verb | None:
        kind, subject = name
        if kind is Kind.PROVIDER:
            provider = self._present.providers.get(subject)
            return Verb.OFF if provider is not None and provider.enabled else None
        endpoint = self._present.endpoints.get(subject)
        if endpoint is None or endpoint.state in (EndpointState.OFF, EndpointState.DRAINING):
            return None
        return Verb.DRAIN if endpoint.state is EndpointState.LIVE else Verb.OFF

    def _knows_model(self, entry: Entry) -> bool:
        model = entry.identity["model"]
        if self._exists((Kind.MODEL, model)):
            return True
        self._fault(entry, "model", f"There is no model {model}, neither in the catalogue nor in this file.")
        return False

    def _exists(self, name: Name) -> bool:
        return name in self._present.fields or name in self._stated

    def _step(self, verb: Verb, entry: Entry, changes: tuple[FieldChange, ...], whole: Fields) -> None:
        step = Step(verb, entry.kind, entry.subject, entry.path, entry.identity, changes, whole, entry.effective_at)
        self._steps.append(step)

    def _fault(self, entry: Entry, field: str, says: str) -> None:
        self._faults.append(Fault(f"{entry.path}.{field}".rstrip("."), entry.line, says))
