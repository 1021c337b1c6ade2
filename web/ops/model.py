"""Shows a model's entry to operators: every fact with its source, its day and who wrote it, and every text."""

from collections.abc import Mapping
from datetime import date
from typing import ClassVar, Final

import msgspec

from billing.money import to_usd
from catalog.descriptions import Section, Sourced
from catalog.lifecycle import MOVES
from catalog.values import Model, Status
from catalog.verdict import Chip, chip_of
from router.admin.launch import missing_for_launch, read_launch_facts
from router.catalogue.gaps import OLD_AFTER, missing_facts, missing_sections
from router.changes.audit import list_changes
from router.registry.endpoints import EndpointView
from router.registry.model_authors import Author, Place, list_authors
from store.ids import EndpointId, wire
from web.answers import Crumb, Page
from web.faults import NotFound
from web.ops.account import DoneQuery
from web.ops.audit import ChangeRow, rows_of
from web.ops.model_change import MODELS, model_id_of
from web.ops.model_entries import section_name, text_label
from web.ops.model_writes import FIELDS
from web.ops.write import OPERATIONS
from web.parts.tables import Column
from web.request import PageRequest

CHANGES_SHOWN: Final = 5
FACTS_HEAD = (
    Column("Fact"),
    Column("What stands here"),
    Column("Who says so"),
    Column("Written"),
    Column("What to do"),
)
# The move that leads to a state.
ACTIONS: Final = {
    Status.LIVE: ("launch", "Launch it"),
    Status.DEPRECATED: ("deprecate", "Deprecate it"),
    Status.RETIRED: ("retire", "Retire it"),
    Status.COMING_SOON: ("announce", "Announce it again"),
}


class Source(msgspec.Struct, frozen=True):
    """Who says so, and who wrote it here. ``words``: what it says in its words; ``href``: where it is changed."""

    source: Sourced
    words: str
    is_old: bool
    author: Author | None
    href: str | None = None


class FactRow(msgspec.Struct, frozen=True):
    """A fact with its sources. ``is_missing``: it is one that readers ask for."""

    name: str
    label: str
    value: str
    is_missing: bool
    author: Author | None
    sources: tuple[Source, ...]
    href: str


class Record(msgspec.Struct, frozen=True):
    """A text or a result, with its source; ``about``: the other model that it speaks of."""

    label: str
    body: str
    source: Source
    about: str = ""


class Serving(msgspec.Struct, frozen=True):
    """An endpoint of the model."""

    id: str
    provider: str
    state: str


class ModelPage(Page, frozen=True, kw_only=True):
    """A model's entry."""

    template: ClassVar[str] = "ops/model.html"

    model: Model
    chip: Chip
    price_usd: str | None
    missing: tuple[str, ...]
    lacks: tuple[str, ...]
    facts: tuple[FactRow, ...]
    sections: tuple[tuple[str, str, tuple[Record, ...]], ...]
    results: tuple[Record, ...]
    endpoints: tuple[Serving, ...]
    moves: tuple[tuple[str, str], ...]
    changes: tuple[ChangeRow, ...]
    facts_head: tuple[Column, ...] = FACTS_HEAD
    changes_head: tuple[Column, ...] = tuple(map(Column, ("What", "When", "Who", "Of what", "Reason")))
    is_done: bool = False


async def show(request: PageRequest) -> ModelPage:
    """A model as this process knows it; right after a write what was written is waited for."""
    query, reads, now = request.query_as(DoneQuery), request.context.reads, request.exchange.now
    if query.done:
        await reads.catch_up()
    model = reads.catalog.get(model_id_of(request))
    if model is None or model.id != model_id_of(request):
        raise NotFound
    async with reads.db.transaction() as connection:
        serves = await read_launch_facts(connection, model.id, now)
        authors = await list_authors(connection, model.id)
        changes = rows_of(await list_changes(connection, subject=model.id, limit=CHANGES_SHOWN))
    entry = _Entry(model, authors, now.date())
    return ModelPage(
        title=model.id,
        crumbs=(OPERATIONS, MODELS, Crumb(model.id)),
        model=model,
        chip=chip_of(model, now),
        price_usd=None if serves.price is None else to_usd(serves.price.nano_per_mtok),
        missing=() if model.status is Status.LIVE else missing_for_launch(model, serves, now),
        lacks=_words((*missing_facts(model), *(f"text: {one.value}" for one in missing_sections(model)))),
        facts=entry.facts(),
        sections=entry.sections(),
        results=entry.results(),
        endpoints=tuple(map(_serving, serves.endpoints)),
        moves=tuple(ACTIONS[to] for to in Status if to in MOVES[model.status]),
        changes=changes,
        is_done=query.done,
    )


def _serving(view: EndpointView) -> Serving:
    one = view.endpoint
    state = one.state.value if view.is_enabled else f"{one.state.value}, at a provider that is switched off"
    return Serving(wire(EndpointId, one.id), one.provider_name, state)


def _words(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name.replace("_", " ") for name in names)


class _Entry(msgspec.Struct, frozen=True):
    """The rows of a model's entry. Pure."""

    model: Model
    authors: Mapping[Place, Author]
    today: date

    def _source(self, part: str, place: int, stated: Sourced, words: str = "") -> Source:
        folder = {"statements": "facts"}.get(part, part)
        href = f"/ops/models/{self.model.id}/{folder}/{place}" if place else f"/ops/models/{self.model.id}/{folder}"
        is_old = self.today - stated.stated_on > OLD_AFTER
        return Source(stated, words, is_old, self.authors.get((part, place)), href)

    def facts(self) -> tuple[FactRow, ...]:
        """Every fact, in the order of the form; those of sources beside it."""
        missing = frozenset(missing_facts(self.model))
        stated = [*self.model.statements]
        rows = [
            FactRow(
                name,
                field.label,
                _shown(getattr(self.model, name)),
                name in missing,
                self.authors.get((name, 0)),
                tuple(
                    self._source("statements", place, one, one.value)
                    for place, one in enumerate(stated, 1)
                    if one.fact == name
                ),
                f"/ops/models/{self.model.id}/facts/new?fact={name}",
            )
            for name, field in FIELDS.items()
        ]
        return (*rows, self._single("estimate"), self._single("downloads"), *self._others())

    def _single(self, part: str) -> FactRow:
        model = self.model
        estimate, downloads = model.estimate, model.downloads
        href, value, sources = f"/ops/models/{model.id}/{part}", "", tuple[Source, ...]()
        if part == "estimate" and estimate is not None:
            value = f"{to_usd(estimate.nano_per_mtok)} USD per 1M tokens"
            stated = Sourced(source=estimate.source, stated_on=estimate.stated_on)
            sources = (self._source(part, 0, stated, estimate.note),)
        if part == "downloads" and downloads is not None:
            value, sources = f"{downloads.per_month:,} a month", (self._source(part, 0, downloads),)
        is_missing = part in missing_facts(model)
        return FactRow(part, part.capitalize(), value, is_missing, self.authors.get((part, 0)), sources, href)

    def _others(self) -> list[FactRow]:
        """What sources state of facts that no form has."""
        return [
            FactRow(one.fact, one.fact, "", False, None, (self._source("statements", place, one, one.value),), "")
            for place, one in enumerate(self.model.statements, 1)
            if one.fact not in FIELDS
        ]

    def sections(self) -> tuple[tuple[str, str, tuple[Record, ...]], ...]:
        """Every section with its name and texts, empty ones too."""
        return tuple(
            (
                section.value,
                section_name(section.value),
                tuple(
                    Record(
                        text_label(msgspec.to_builtins(one)),
                        one.body,
                        self._source("texts", place, one),
                        "" if one.about == self.model.id else one.about,
                    )
                    for place, one in enumerate(self.model.texts, 1)
                    if one.section is section
                ),
            )
            for section in Section
        )

    def results(self) -> tuple[Record, ...]:
        """The benchmarks in their order."""
        return tuple(
            Record(
                one.name,
                f"{one.value} ({one.unit}), measured by {one.measured_by}",
                self._source("benchmarks", place, one),
            )
            for place, one in enumerate(self.model.benchmarks, 1)
        )


def _shown(value: object) -> str:
    match value:
        case None | "" | () | []:
            return ""
        case bool():
            return "yes" if value else "no"
        case tuple():
            return ", ".join(map(str, value))
        case dict():
            return "; ".join(f"{name}: {text!r}" for name, text in value.items())
        case int():
            return f"{value:,}"
        case _:
            return str(value)
