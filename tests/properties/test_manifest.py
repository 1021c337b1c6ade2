"""Random files and random edits by operators: a second apply has nothing to do, and no edit is overwritten unasked."""

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from router.manifest.current_state import defaults
from router.manifest.diff import compute_diff, covers
from router.manifest.schema import subject_of
from router.manifest.values import (
    CurrentState,
    Decisions,
    Diff,
    Entry,
    Fields,
    Kind,
    LastApplied,
    Name,
    ProviderState,
    Verb,
)
from router.values import EndpointState
from store.ids import ModelId, ProviderId, new_id
from tests.builders.values import an_endpoint

NOW = datetime(2026, 11, 24, tzinfo=UTC)
DEFAULTS = defaults()
MODELS, PROVIDERS = ("acme/one", "acme/two"), ("alpha", "beta")

# What a file may state of each kind, from few values, so that files and operators meet.
FIELDS: dict[Kind, dict[str, st.SearchStrategy[object]]] = {
    Kind.PROVIDER: {"enabled": st.booleans(), "retention_days": st.sampled_from([None, 0, 30])},
    Kind.MODEL: {"summary": st.sampled_from(["a", "b"]), "note": st.sampled_from(["", "n"])},
    Kind.ENDPOINT: {
        "cost_usd_per_mtok": st.sampled_from(["0.00", "0.01"]),
        "priority": st.sampled_from([100, 1, 2]),
        "max_batch": st.sampled_from([None, 8]),
    },
    Kind.PRICE: {
        "usd_per_mtok": st.sampled_from(["0.02", "0.03"]),
        "batch_usd_per_mtok": st.sampled_from([None, "0.01"]),
    },
    Kind.RESOLUTION: {
        "license": st.sampled_from(["MIT", "Apache-2.0"]),
        "reason": st.just("r"),
        "evidence": st.just("e"),
    },
}
IDENTITIES: dict[Kind, list[dict[str, str]]] = {
    Kind.PROVIDER: [{"name": name} for name in PROVIDERS],
    Kind.MODEL: [{"id": name} for name in MODELS],
    Kind.ENDPOINT: [
        {"model": model, "provider": provider, "upstream_model": "up"} for model in MODELS for provider in PROVIDERS
    ],
    Kind.PRICE: [{"model": name} for name in MODELS],
    Kind.RESOLUTION: [{"model": name} for name in MODELS],
}
ALWAYS: dict[Kind, Fields] = {
    Kind.PROVIDER: {"kind": "openai", "base_url": "https://a.example"},
    Kind.MODEL: {"owned_by": "acme", "dimensions": 8, "max_input_tokens": 8, "normalized": True, "summary": "a"},
    Kind.ENDPOINT: {"cost_usd_per_mtok": "0.00"},
    Kind.PRICE: {"usd_per_mtok": "0.02", "batch_usd_per_mtok": None},
    Kind.RESOLUTION: {"license": "MIT", "reason": "r", "evidence": "e"},
}
SUBJECTS: list[tuple[Kind, dict[str, str]]] = [(kind, one) for kind, all_ in IDENTITIES.items() for one in all_]


class World:
    """The database, as far as a difference can tell."""

    def __init__(self) -> None:
        self.fields: dict[Name, Fields] = {}
        self.last_applied: dict[Name, LastApplied] = {}
        self.states: dict[str, EndpointState] = {}

    def state(self) -> CurrentState:
        providers = {
            subject: ProviderState(ProviderId(new_id()), bool(fields["enabled"]), False)
            for (kind, subject), fields in self.fields.items()
            if kind is Kind.PROVIDER
        }
        endpoints = {
            subject: an_endpoint(model_id=ModelId(subject.partition(" at ")[0]), state=state)
            for subject, state in self.states.items()
        }
        return CurrentState(self.fields, DEFAULTS, providers, {}, endpoints, {}, self.last_applied)

    def differ(self, entries: Sequence[Entry], decisions: Decisions) -> Diff:
        return compute_diff(entries, self.state(), decisions, NOW)

    def run(self, found: Diff) -> None:
        for step in found.steps:
            if step.verb in (Verb.CREATE, Verb.CHANGE):
                extra: Fields = {"status": "coming_soon"} if step.kind is Kind.MODEL else {}
                self.fields[step.kind, step.subject] = {**extra, **step.fields_after}
                if step.kind is Kind.ENDPOINT:
                    self.states.setdefault(step.subject, EndpointState.LIVE)
            elif step.kind is Kind.PROVIDER:
                self.fields[step.kind, step.subject] = {**self.fields[step.kind, step.subject], "enabled": False}
            else:
                self.states[step.subject] = EndpointState.DRAINING
        self.last_applied |= found.applied
        for name in found.stale:
            self.last_applied.pop(name, None)


@st.composite
def files(draw: st.DrawFn) -> list[Entry]:
    """Whole in its references, of any part of the things."""
    chosen = draw(st.lists(st.sampled_from(range(len(SUBJECTS))), unique=True))
    entries: list[Entry] = []
    endpoints = any(SUBJECTS[index][0] is Kind.ENDPOINT for index in chosen)
    needed = range(0 if endpoints else len(PROVIDERS), len(PROVIDERS) + len(MODELS))
    for index in sorted({*chosen, *needed}):
        kind, identity = SUBJECTS[index]
        stated = {name: draw(values) for name, values in FIELDS[kind].items() if draw(st.booleans())}
        path = f"{kind.value}s[{len(entries)}]"
        entries.append(Entry(kind, subject_of(kind, identity), path, 1, identity, ALWAYS[kind] | stated))
    return entries


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_second_apply_has_nothing_to_do_and_no_edit_is_overwritten_unasked(data: st.DataObject) -> None:
    world = World()
    # What file and database agreed on last, kept here apart from what the product remembers.
    agreed: dict[tuple[Name, str], object] = {}
    for _ in range(data.draw(st.integers(1, 5))):
        entries = data.draw(files())
        paths = [f"{entry.path}.{field}" for entry in entries for field in entry.fields]
        decisions = Decisions(
            take_file=tuple(data.draw(st.lists(st.sampled_from(paths), max_size=3))),
            take_theirs=tuple(data.draw(st.lists(st.sampled_from(paths), max_size=3))),
            prune=data.draw(st.booleans()),
        )
        found = world.differ(entries, decisions)
        assert not found.faults
        for step in found.steps:
            there = world.fields.get((step.kind, step.subject))
            for change in step.changes:
                asked = covers(decisions.take_file, f"{step.path}.{change.field}")
                if there is not None and not asked:
                    assert agreed[(step.kind, step.subject), change.field] == there[change.field]
        if not found.conflicts:
            world.run(found)
            settle(agreed, world, entries, found)
            again = world.differ(entries, Decisions(prune=decisions.prune))
            assert not again.steps
            assert not again.conflicts
            assert again.applied.items() <= world.last_applied.items()
        else:
            assert all(agreed.get(((d.kind, d.subject), d.field), "never") != d.current for d in found.conflicts)
        operate(data, world)


def settle(agreed: dict[tuple[Name, str], object], world: World, entries: list[Entry], found: Diff) -> None:
    created = {(step.kind, step.subject) for step in found.steps if step.verb is Verb.CREATE}
    for entry in entries:
        for field, value in world.fields[entry.name].items():
            if entry.name in created or field in entry.fields:
                agreed[entry.name, field] = value
    for name in found.stale:
        for key in [key for key in agreed if key[0] == name]:
            del agreed[key]


def operate(data: st.DataObject, world: World) -> None:
    """An operator edits and registers things by hand."""
    for kind, identity in data.draw(st.lists(st.sampled_from(SUBJECTS), max_size=3)):
        name = (kind, subject_of(kind, identity))
        fields = {field: data.draw(values) for field, values in FIELDS[kind].items() if data.draw(st.booleans())}
        if name in world.fields:
            world.fields[name] = {**world.fields[name], **fields}
        elif kind in (Kind.PROVIDER, Kind.PRICE, Kind.RESOLUTION):
            world.fields[name] = {**DEFAULTS.get(kind, {}), **ALWAYS[kind], **fields}


def test_a_file_of_an_importer_never_changes_what_is_not_its_own() -> None:
    world = World()
    entry = Entry(Kind.PROVIDER, "alpha", "alpha", 0, {"name": "alpha"}, {"kind": "litellm", "enabled": False})
    world.run(world.differ([entry], Decisions(keep_drift=True)))
    world.fields[entry.name] = {**world.fields[entry.name], "enabled": True}
    found = world.differ([entry], Decisions(keep_drift=True))
    assert not found.steps
    assert not found.conflicts
    assert msgspec.structs.asdict(found.accepted[0])["current"] is True
