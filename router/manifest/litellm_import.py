"""Pure but for its own file. Turns litellm's price map into manifest entries: providers, models and endpoints.

The import invents nothing that the map leaves out: without a width there is no model, without a price no endpoint. A
model that several vendors sell is one model only where ``litellm.toml`` says so; else each vendor's is a model of its
own, in a vector space of its own. The map's prices become what providers charge us and what makers ask of anyone; what
a customer pays is set by an operator.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from functools import cache
from importlib.resources import files

import msgspec

from billing.money import to_usd
from providers.litellm.price_map import MapEntry, PriceMap, nano_per_mtok
from providers.options import OptionsRefused, read_options
from providers.protocol import ProviderKind
from router.manifest.schema import subject_of
from router.manifest.values import CurrentState, Entry, Fields, Kind

REGION = re.compile(r"us|eu|us-gov|[a-z]{2}-(gov-)?[a-z]+-[0-9]")
# Ten dollars per million tokens: no embedding model costs as much, and a price in the map may lack three zeros.
DOUBTFUL_NANO = 10_000_000_000


class SameModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The map's keys that are one model; the facts are those of the first key."""

    model: str
    keys: tuple[str, ...]


class KnownWidth(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A width that the map leaves out, with its source."""

    keys: tuple[str, ...]
    dimensions: int
    source: str


class KnownFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What we know of the map's models beyond the map: ``litellm.toml``."""

    makers: dict[str, str]
    same: tuple[SameModel, ...]
    known: tuple[KnownWidth, ...]


class Note(msgspec.Struct, frozen=True):
    """What the import made of a key, where that is not simply an endpoint, and why."""

    key: str
    outcome: str
    message: str = msgspec.field(name="says")


class ImportResult(msgspec.Struct, frozen=True):
    """The entries that an import states, by kind, and a note for each key that needs one.

    ``matched`` are models of the map that the catalogue had before.
    """

    entries: tuple[Entry, ...]
    notes: tuple[Note, ...]
    matched: tuple[str, ...]


class Offer(msgspec.Struct, frozen=True):
    """A vendor's offer of a model: our name of the provider, and the provider's name of the model."""

    provider: str
    vendor: str
    region: str | None
    upstream: str


@cache
def known_facts() -> KnownFacts:
    """Read ``litellm.toml``, once."""
    text = files("router.manifest").joinpath("litellm.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), KnownFacts)


def import_price_map(
    price_map: PriceMap, state: CurrentState, today: date, known: KnownFacts | None = None
) -> ImportResult:
    """The entries that the price map states, given the catalogue's current state."""
    return _Import(price_map, state, today, known or known_facts()).result()


class _Import:
    def __init__(self, price_map: PriceMap, state: CurrentState, today: date, known: KnownFacts) -> None:
        self._release, self._state, self._today, self._known = price_map.release, state, today, known
        self._by_key = {entry.key: entry for entry in price_map.entries}
        self._widths = {key: width for width in known.known for key in width.keys}
        self._entries: dict[tuple[Kind, str], Entry] = {}
        self._notes: list[Note] = []
        self._used: set[str] = {same.model for same in known.same}
        self._matched: list[str] = []

    def result(self) -> ImportResult:
        remaining = dict(self._by_key)
        for same in self._known.same:
            group = [remaining.pop(key) for key in same.keys if key in remaining]
            for entry in self._add_model(same.model, group):
                remaining[entry.key] = entry
        for entry in remaining.values():
            if reason := self._refusal(entry):
                self._note(entry, "left out", reason)
            elif (model := self._free_id(entry)) is not None:
                self._add_model(model, [entry])
        order = list(Kind)
        entries = sorted(self._entries.values(), key=lambda entry: (order.index(entry.kind), entry.subject))
        notes = sorted(self._notes, key=lambda note: note.key)
        return ImportResult(tuple(entries), tuple(notes), tuple(sorted(self._matched)))

    def _add_model(self, model: str, entries: Sequence[MapEntry]) -> list[MapEntry]:
        """Add one model and its offers. Returns the entries that turn out to be another model, by their width."""
        accepted = []
        for entry in entries:
            if reason := self._refusal(entry):
                self._note(entry, "left out", reason)
            else:
                accepted.append(entry)
        if not accepted:
            return []
        width = self._width(model, accepted[0])
        if width is None:
            for entry in accepted:
                self._note(
                    entry, "left out", "The map does not say how wide its vectors are or how long an input may be."
                )
            return []
        others = [entry for entry in accepted if entry.dimensions not in (None, width)]
        for entry in others:
            message = f"The map says {entry.dimensions} dimensions, and {model} has {width}: taken for another model."
            self._note(entry, "a model of its own", message)
        for entry in accepted:
            if entry not in others:
                self._add_offer(model, entry)
        return others

    def _width(self, model: str, lead: MapEntry) -> int | None:
        """The model's width. Adds the model, unless the catalogue has it from somewhere else than an import."""
        existing = self._state.models.get(model)
        if existing is not None and (Kind.MODEL, model) not in self._state.last_applied:
            self._matched.append(model)
            return existing.dimensions
        known = self._widths.get(lead.key)
        dimensions = lead.dimensions or (known.dimensions if known else None)
        if dimensions is None or lead.input_tokens is None:
            return None
        self._add(self._model(model, lead, dimensions, known.source if known and not lead.dimensions else None))
        return dimensions

    def _model(self, model: str, lead: MapEntry, dimensions: int, width_source: str | None) -> Entry:
        offer, maker = offer_of(lead), self._known.makers.get(lead.vendor)
        owner = model.partition("/")[0]
        by = owner if maker == owner or owner != lead.vendor else f"{lead.vendor}, which does not tell the revision"
        note = [f"Imported from {self._origin(lead)}."]
        if width_source:
            note.append(f"Its width is from {width_source}.")
        if lead.deprecation_date:
            note.append(f"Its provider ends it on {lead.deprecation_date}.")
        if lead.supports_embedding_image_input or lead.supports_multimodal:
            note.append("It takes more than text; only text is offered here.")
        note.append("Pooling, normalization, tokenizer and the day of publication are not known.")
        fields: Fields = {
            "owned_by": owner,
            "summary": f"{offer.upstream} by {by}: {dimensions} dimensions, up to {lead.input_tokens} tokens an input.",
            "dimensions": dimensions,
            "max_input_tokens": lead.input_tokens,
            "normalized": False,
            "estimate": self._estimate(model, lead, is_list_price=maker is not None or owner != lead.vendor),
            "note": " ".join(note),
        }
        return self._entry(Kind.MODEL, lead, {"id": model}, fields)

    def _estimate(self, model: str, lead: MapEntry, *, is_list_price: bool) -> Fields | None:
        cost = _cost(lead)
        if not 0 < cost <= DOUBTFUL_NANO:
            return None
        estimate: Fields = {"usd_per_mtok": to_usd(cost), "source": self._origin(lead)}
        stated_on = self._today.isoformat()
        last = self._state.last_applied.get((Kind.MODEL, model))
        before = last.fields.get("estimate") if last else None
        if isinstance(before, Mapping) and {name: before.get(name) for name in estimate} == estimate:
            # The same estimate keeps the day on which it was first stated.
            stated_on = str(before["stated_on"])
        estimate["stated_on"] = stated_on
        if is_list_price:
            estimate["is_list_price"] = True
        return estimate

    def _add_offer(self, model: str, entry: MapEntry) -> None:
        offer = self._with_free_name(offer_of(entry))
        provider: Fields = {"kind": "litellm", "options": {"vendor": offer.vendor}, "enabled": False}
        if offer.region:
            provider["regions"] = [offer.region]
        cost = _cost(entry)
        if not cost:
            self._note(entry, "no endpoint", "The map says 0.00 USD, which is no price: set its cost by hand.")
            return
        assert entry.input_cost_per_token is not None
        if not nano_per_mtok(entry.input_cost_per_token)[1]:
            per_token = entry.input_cost_per_token
            message = f"{per_token} USD per token is between two nano-USD per million: taken as {to_usd(cost)}."
            self._note(entry, "endpoint", message)
        if cost > DOUBTFUL_NANO:
            self._note(
                entry,
                "endpoint",
                f"{to_usd(cost)} USD per million tokens is what the map says, and is shown to nobody: check it.",
            )
        if units := entry.other_units:
            message = (
                f"It is also charged per {', '.join(units)}: the cost by tokens holds for text, as the map has it."
            )
            self._note(entry, "endpoint", message)
        identity = {"model": model, "provider": offer.provider, "upstream_model": offer.upstream}
        endpoint = self._entry(Kind.ENDPOINT, entry, identity, {"cost_usd_per_mtok": to_usd(cost)})
        if (first := self._entries.get(endpoint.name)) is not None:
            also = "" if first.fields == endpoint.fields else f", at {first.fields['cost_usd_per_mtok']} USD"
            self._note(entry, "left out", f"The same endpoint as {first.path}{also}.")
            return
        self._add(self._entry(Kind.PROVIDER, entry, {"name": offer.provider}, provider))
        self._add(endpoint)

    def _refusal(self, entry: MapEntry) -> str | None:
        if "language-models" in entry.litellm_provider:
            return "It is a language model."
        try:
            read_options(ProviderKind.LITELLM, {"vendor": entry.vendor})
        except OptionsRefused as refused:
            return refused.sentence
        if entry.deprecation_date and entry.deprecation_date <= self._today.isoformat():
            return f"Its provider ended it on {entry.deprecation_date}."
        if entry.input_cost_per_token is None:
            if units := entry.other_units:
                return f"It is charged per {', '.join(units)} and not per token."
            return "The map has no price for it."
        return None

    def _free_id(self, entry: MapEntry) -> str | None:
        """A free id for an entry that is not known to be the same model as any other; None where there is none."""
        offer, maker = offer_of(entry), self._known.makers.get(entry.vendor)
        short, long = (slug(text) for text in (offer.upstream.rpartition("/")[2], offer.upstream.replace("/", "-")))
        region = f"{offer.region}-" if offer.region else ""
        names = [f"{entry.vendor}/{region}{short}", f"{entry.vendor}/{region}{long}"]
        if maker is not None:
            names.insert(0, f"{maker}/{short}")
        free = next((name for name in names if name not in self._used), None)
        if free is None:
            self._note(entry, "left out", f"{names[-1]} is another model's name already.")
            return None
        is_existing = free in self._state.models and (Kind.MODEL, free) not in self._state.last_applied
        if is_existing and maker is None:
            self._note(entry, "left out", f"There is a model {free} already, and whether it is this one is not known.")
            return None
        self._used.add(free)
        return free

    def _with_free_name(self, offer: Offer) -> Offer:
        """The offer under a name that no provider of another kind or vendor has."""
        existing = self._state.fields.get((Kind.PROVIDER, offer.provider))
        if existing is None:
            return offer
        options = existing["options"]
        if existing["kind"] == "litellm" and isinstance(options, Mapping) and options.get("vendor") == offer.vendor:
            return offer
        return msgspec.structs.replace(offer, provider=f"{offer.provider}-litellm")

    def _entry(self, kind: Kind, entry: MapEntry, identity: dict[str, str], fields: Fields) -> Entry:
        return Entry(kind, subject_of(kind, identity), entry.key, 0, identity, fields, origin=self._origin(entry))

    def _origin(self, entry: MapEntry) -> str:
        return f"LiteLLM {self._release}'s price map" + (f", {entry.source}" if entry.source else "")

    def _add(self, entry: Entry) -> None:
        self._entries.setdefault(entry.name, entry)

    def _note(self, entry: MapEntry, outcome: str, message: str) -> None:
        self._notes.append(Note(entry.key, outcome, message))


def offer_of(entry: MapEntry) -> Offer:
    """Who offers the model under which name, by the map's key, and in which region."""
    vendor, path = entry.vendor, entry.key
    if path.startswith(f"{vendor}/"):
        path = path.removeprefix(f"{vendor}/")
    first, slash, rest = path.partition("/")
    region = first if slash and REGION.fullmatch(first) else None
    name = vendor.replace("_", "-") + (f"-{region}" if region else "")
    return Offer(name, vendor, region, rest if region else path)


def _cost(entry: MapEntry) -> int:
    return 0 if entry.input_cost_per_token is None else max(0, nano_per_mtok(entry.input_cost_per_token)[0])


def slug(text: str) -> str:
    """A name as a part of a model's id."""
    return re.sub(r"[^A-Za-z0-9._:-]+", "-", text).strip("-._:")


def count_by_outcome(notes: Sequence[Note]) -> Iterator[tuple[str, int]]:
    """How many keys each outcome has."""
    outcomes = [note.outcome for note in notes]
    yield from ((outcome, outcomes.count(outcome)) for outcome in sorted(set(outcomes)))
