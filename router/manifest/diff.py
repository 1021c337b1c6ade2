"""Pure. Compares the manifest with the current state: what an apply changes, and what an operator has to decide.

Each field is merged three ways. A value that equals the file's needs nothing. A value that the last apply left is
changed to the file's. Any other value was changed elsewhere: it stays, as a conflict, until the operator says whose
value holds.
"""

from collections.abc import Iterable
from datetime import datetime

import msgspec

from catalog.values import Status
from router.manifest.schema import SECTION_OF
from router.manifest.values import (
    CurrentState,
    Decisions,
    Diff,
    Drift,
    Entry,
    Fault,
    FieldChange,
    Fields,
    Kind,
    LastApplied,
    Name,
    Orphan,
    PlanStep,
    Verb,
)
from router.registry.model_facts import REQUIRED_FACTS, SPACE_FACTS, refusal_to_edit
from router.values import EndpointState

_ORDER = (Kind.PROVIDER, Kind.MODEL, Kind.ENDPOINT, Kind.CLAIM, Kind.RESOLUTION, Kind.PRICE)


def compute_diff(entries: Iterable[Entry], state: CurrentState, decisions: Decisions, now: datetime) -> Diff:
    """What an apply of ``entries`` would change at ``now``."""
    ordered = sorted(entries, key=lambda entry: _ORDER.index(entry.kind))
    comparison = _Comparison(state, decisions, now, {entry.name for entry in ordered})
    for entry in ordered:
        comparison.add(entry)
    if not decisions.keep_drift:
        comparison.add_orphans()
    return comparison.result()


def covers(paths: tuple[str, ...], path: str) -> bool:
    """Whether ``path`` itself or something that encloses it is among ``paths``."""
    return any(path == outer or path.startswith((f"{outer}.", f"{outer}[")) for outer in paths)


class _Comparison:
    def __init__(self, state: CurrentState, decisions: Decisions, now: datetime, in_file: set[Name]) -> None:
        self._state, self._decisions, self._now, self._in_file = state, decisions, now, in_file
        self._steps: list[PlanStep] = []
        self._launches: list[PlanStep] = []
        self._conflicts: list[Drift] = []
        self._accepted: list[Drift] = []
        self._orphans: list[Orphan] = []
        self._faults: list[Fault] = []
        self._applied: dict[Name, LastApplied] = {}
        self._stale: list[Name] = []

    def result(self) -> Diff:
        ends = [step for step in self._steps if step.verb in (Verb.DRAIN, Verb.OFF)]
        steps = [step for step in self._steps if step.verb not in (Verb.DRAIN, Verb.OFF)]
        return Diff(
            # A model is launched with the endpoints that stay.
            steps=(*steps, *ends, *self._launches),
            conflicts=tuple(self._conflicts),
            accepted=tuple(self._accepted),
            orphans=tuple(self._orphans),
            faults=tuple(self._faults),
            applied=self._applied,
            stale=tuple(self._stale),
        )

    def add(self, entry: Entry) -> None:
        current = self._state.fields.get(entry.name)
        match entry.kind:
            case Kind.PROVIDER:
                self._provider(entry, current)
            case Kind.MODEL:
                self._model(entry, current)
            case Kind.ENDPOINT:
                self._endpoint(entry, current)
            case Kind.CLAIM:
                self._append_only(entry, current, "A claim is never edited: record what another source says.")
            case Kind.PRICE if entry.effective_at is not None:
                self._dated_price(entry, current)
            case Kind.RESOLUTION | Kind.PRICE:
                if self._knows_model(entry):
                    self._create_or_merge(entry, current)

    def _provider(self, entry: Entry, current: Fields | None) -> None:
        if current is not None and entry.fields["kind"] != current["kind"]:
            message = f"{entry.subject} has the kind {current['kind']}, which stays: give this one another name."
            self._fault(entry, "kind", message)
            return
        self._create_or_merge(entry, current)

    def _model(self, entry: Entry, current: Fields | None) -> None:
        launches = entry.fields.get("status") == "live"
        facts = {name: value for name, value in entry.fields.items() if name != "status"}
        without_status = msgspec.structs.replace(entry, fields=facts)
        if current is None:
            if missing := [name for name in REQUIRED_FACTS if name not in facts]:
                message = f"{entry.subject} is not in the catalogue yet, so it needs {', '.join(missing)} too."
                self._fault(entry, "", message)
                return
            self._create_or_merge(without_status, None)
        elif not self._decisions.keep_drift:
            self._check_facts(entry, self._create_or_merge(without_status, current), current)
        elif current["status"] == Status.COMING_SOON.value:
            # What names the space stays as the endpoints were registered for it.
            others = {name: value for name, value in facts.items() if name not in SPACE_FACTS}
            self._create_or_merge(msgspec.structs.replace(entry, fields=others), current)
        if launches:
            self._launch(entry, "coming_soon" if current is None else str(current["status"]))

    def _check_facts(self, entry: Entry, changes: tuple[FieldChange, ...], current: Fields) -> None:
        status = str(current["status"])
        has_endpoints = any(endpoint.model_id == entry.subject for endpoint in self._state.endpoints.values())
        for change in changes:
            message = refusal_to_edit(entry.subject, status, change.field, change.before, has_endpoints=has_endpoints)
            if message is not None:
                self._fault(entry, change.field, message)

    def _launch(self, entry: Entry, status: str) -> None:
        old = self._state.last_applied.get(entry.name, LastApplied({}))
        last = old.fields.get("status")
        # Nobody has taken an announced model back, unless this file had launched it.
        if status not in ("live", "coming_soon") or (status == "coming_soon" and last == "live"):
            drift = Drift(
                f"{entry.path}.status", entry.kind, entry.subject, "status", last, last is not None, status, "live"
            )
            if last == status and old.declined.get("status") == "live":
                self._accepted.append(drift)
                self._record_status(entry, status, "live")
                return
            if not self._decides_for_file(drift):
                if covers(self._decisions.take_theirs, drift.path):
                    self._record_status(entry, status, "live")
                return
        if status != "live":
            change = FieldChange("status", status, "live")
            step = PlanStep(
                Verb.LAUNCH, entry.kind, entry.subject, entry.path, entry.identity, (change,), {"status": "live"}
            )
            self._launches.append(step)
        self._record_status(entry, "live")

    def _record_status(self, entry: Entry, status: str, declined: str | None = None) -> None:
        old = self._applied[entry.name]
        values = old.declined | ({"status": declined} if declined else {})
        self._applied[entry.name] = LastApplied(old.fields | {"status": status}, values, old.origin)

    def _endpoint(self, entry: Entry, current: Fields | None) -> None:
        provider = entry.identity["provider"]
        if not self._knows_model(entry):
            return
        if not self._exists((Kind.PROVIDER, provider)):
            self._fault(entry, "provider", f"There is no provider {provider}, neither registered nor in this file.")
        elif current is None and "cost_usd_per_mtok" not in entry.fields:
            self._fault(entry, "cost_usd_per_mtok", 'A new endpoint says what it costs us; write "0.00" for nothing.')
        elif current is not None and (claimed := entry.identity.get("space")):
            serves = self._state.endpoints[entry.subject].space
            if claimed != serves:
                self._fault(entry, "space", f"The endpoint serves {serves}: vectors of the two cannot be compared.")
                return
            self._create_or_merge(entry, current)
        else:
            self._create_or_merge(entry, current)

    def _dated_price(self, entry: Entry, current: Fields | None) -> None:
        assert entry.effective_at is not None
        if current is None and entry.effective_at < self._now and self._knows_model(entry):
            message = (
                "It starts in the past, and calls keep the price they had. Write a day to come, or leave out `from`."
            )
            self._fault(entry, "from", message)
        elif self._knows_model(entry):
            self._append_only(entry, current, "A price is never edited: write another one that starts later.")

    def _append_only(self, entry: Entry, current: Fields | None, rule: str) -> None:
        if not self._knows_model(entry):
            return
        if current is None:
            self._create_or_merge(entry, None)
            return
        for field, value in entry.fields.items():
            if current.get(field) != value:
                self._fault(entry, field, f"It is recorded as {current.get(field)!r}. {rule}")
        self._applied[entry.name] = LastApplied(dict(entry.fields))

    def _create_or_merge(self, entry: Entry, current: Fields | None) -> tuple[FieldChange, ...]:
        if current is None:
            fields_after = self._state.defaults.get(entry.kind, {}) | entry.fields
            changes = tuple(FieldChange(field, None, value) for field, value in entry.fields.items())
            self._step(Verb.CREATE, entry, changes, fields_after)
            self._applied[entry.name] = LastApplied(fields_after, origin=entry.origin)
            return changes
        changes = self._merge(entry, current)
        if changes:
            self._step(Verb.CHANGE, entry, changes, current | {change.field: change.after for change in changes})
        return changes

    def _merge(self, entry: Entry, current: Fields) -> tuple[FieldChange, ...]:
        old = self._state.last_applied.get(entry.name, LastApplied({}))
        fields, declined, changes = dict(old.fields), {}, []
        for field, value in entry.fields.items():
            value_now = current.get(field)
            if value != value_now:
                was_applied = field in old.fields
                last = old.fields.get(field)
                drift = Drift(
                    f"{entry.path}.{field}", entry.kind, entry.subject, field, last, was_applied, value_now, value
                )
                if was_applied and last == value_now and field in old.declined and old.declined[field] == value:
                    declined[field] = value
                    self._accepted.append(drift)
                    continue
                if not (was_applied and last == value_now) and not self._decides_for_file(drift):
                    if covers(self._decisions.take_theirs, drift.path):
                        fields[field], declined[field] = value_now, value
                    continue
                changes.append(FieldChange(field, value_now, value))
            fields[field] = value
        self._applied[entry.name] = LastApplied(fields, declined, entry.origin or old.origin)
        return tuple(changes)

    def _decides_for_file(self, drift: Drift) -> bool:
        """Whether the file's value replaces the drifted one; a drift that nobody decides becomes a conflict."""
        if self._decisions.keep_drift or covers(self._decisions.take_theirs, drift.path):
            self._accepted.append(drift)
            return False
        if covers(self._decisions.take_file, drift.path):
            return True
        self._conflicts.append(drift)
        return False

    def add_orphans(self) -> None:
        """Find the subjects that an earlier file had and this one has not, among those that can be ended."""
        for name in self._state.last_applied:
            if name in self._in_file or name[0] not in (Kind.PROVIDER, Kind.ENDPOINT):
                continue
            end = self._end_of(name)
            if end is None:
                self._stale.append(name)
            elif self._decisions.prune:
                self._stale.append(name)
                identity = {"name": name[1]} if name[0] is Kind.PROVIDER else {}
                self._steps.append(PlanStep(end, *name, SECTION_OF[name[0]], identity, (), {}))
            else:
                self._orphans.append(Orphan(*name, end))

    def _end_of(self, name: Name) -> Verb | None:
        kind, subject = name
        if kind is Kind.PROVIDER:
            provider = self._state.providers.get(subject)
            return Verb.OFF if provider is not None and provider.enabled else None
        endpoint = self._state.endpoints.get(subject)
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
        return name in self._state.fields or name in self._in_file

    def _step(self, verb: Verb, entry: Entry, changes: tuple[FieldChange, ...], fields_after: Fields) -> None:
        step = PlanStep(
            verb, entry.kind, entry.subject, entry.path, entry.identity, changes, fields_after, entry.effective_at
        )
        self._steps.append(step)

    def _fault(self, entry: Entry, field: str, message: str) -> None:
        self._faults.append(Fault(f"{entry.path}.{field}".rstrip("."), entry.line, message))
