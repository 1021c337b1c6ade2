"""litellm's price map -> providers, models and endpoints as a file would state them. Pure.

What the map does not say is not made up: no width, no model; no price, no endpoint. A model sold at several places is
one model only where ``litellm.toml`` says so; else each place's is a model of its own, in a vector space of its own.
Its prices are what providers charge us and what makers ask of anyone: what a customer pays is set by an operator.
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
from router.manifest.schema import subject_of
from router.manifest.values import Entry, Fields, Kind, Present

REGION = re.compile(r"us|eu|us-gov|[a-z]{2}-(gov-)?[a-z]+-[0-9]")
# Ten dollars per million tokens: no embedding model costs as much, and a price in the map may lack three zeros.
DOUBTED_NANO = 10_000_000_000


class Same(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The keys of one model; the first has the facts."""

    model: str
    keys: tuple[str, ...]


class Width(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A fact that the map leaves out, with its source."""

    keys: tuple[str, ...]
    dimensions: int
    source: str


class Known(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``litellm.toml``."""

    makers: dict[str, str]
    same: tuple[Same, ...]
    known: tuple[Width, ...]


class Note(msgspec.Struct, frozen=True):
    """What became of one key that is not simply an endpoint, and why."""

    key: str
    outcome: str
    says: str


class Imported(msgspec.Struct, frozen=True):
    """What an import wants: entries in the order of their kinds, and a note for each key that needs one."""

    entries: tuple[Entry, ...]
    notes: tuple[Note, ...]
    matched: tuple[str, ...]


class _Shop(msgspec.Struct, frozen=True):
    """Where a model is sold: our name of the provider, and the provider's of the model."""

    provider: str
    vendor: str
    region: str | None
    upstream: str


@cache
def known() -> Known:
    """What is known beyond the map."""
    text = files("router.manifest").joinpath("litellm.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), Known)


def import_of(price_map: PriceMap, present: Present, today: date, beyond: Known | None = None) -> Imported:
    """Everything that the map has to say to a catalogue that stands like this."""
    return _Import(price_map, present, today, beyond or known()).done()


class _Import:
    def __init__(self, price_map: PriceMap, present: Present, today: date, beyond: Known) -> None:
        self._release, self._present, self._today, self._beyond = price_map.release, present, today, beyond
        self._by_key = {entry.key: entry for entry in price_map.entries}
        self._widths = {key: width for width in beyond.known for key in width.keys}
        self._entries: dict[tuple[Kind, str], Entry] = {}
        self._notes: list[Note] = []
        self._used: set[str] = {same.model for same in beyond.same}
        self._matched: list[str] = []

    def done(self) -> Imported:
        left = dict(self._by_key)
        for same in self._beyond.same:
            group = [left.pop(key) for key in same.keys if key in left]
            for apart in self._group(same.model, group):
                left[apart.key] = apart
        for entry in left.values():
            if why := self._refusal(entry):
                self._note(entry, "left out", why)
            elif (model := self._own_id(entry)) is not None:
                self._group(model, [entry])
        order = list(Kind)
        entries = sorted(self._entries.values(), key=lambda entry: (order.index(entry.kind), entry.subject))
        notes = sorted(self._notes, key=lambda note: note.key)
        return Imported(tuple(entries), tuple(notes), tuple(sorted(self._matched)))

    def _group(self, model: str, entries: Sequence[MapEntry]) -> list[MapEntry]:
        """One model and where it is sold; answers the entries that turn out to be another one."""
        sold = []
        for entry in entries:
            if why := self._refusal(entry):
                self._note(entry, "left out", why)
            else:
                sold.append(entry)
        if not sold:
            return []
        width = self._width(model, sold[0])
        if width is None:
            for entry in sold:
                self._note(
                    entry, "left out", "The map does not say how wide its vectors are or how long an input may be."
                )
            return []
        apart = [entry for entry in sold if entry.dimensions not in (None, width)]
        for entry in apart:
            says = f"The map says {entry.dimensions} dimensions, and {model} has {width}: taken for another model."
            self._note(entry, "a model of its own", says)
        for entry in sold:
            if entry not in apart:
                self._sell(model, entry)
        return apart

    def _width(self, model: str, lead: MapEntry) -> int | None:
        """The model's width; states the model where the import is to make it or has made it."""
        there = self._present.models.get(model)
        if there is not None and (Kind.MODEL, model) not in self._present.remembered:
            self._matched.append(model)
            return there.dimensions
        beyond = self._widths.get(lead.key)
        dimensions = lead.dimensions or (beyond.dimensions if beyond else None)
        if dimensions is None or lead.input_tokens is None:
            return None
        self._add(self._model(model, lead, dimensions, beyond.source if beyond and not lead.dimensions else None))
        return dimensions

    def _model(self, model: str, lead: MapEntry, dimensions: int, width_source: str | None) -> Entry:
        shop, maker = _shop(lead), self._beyond.makers.get(lead.vendor)
        owner = model.partition("/")[0]
        by = owner if maker == owner or owner != lead.vendor else f"{lead.vendor}, which does not tell the revision"
        said = [f"Imported from {self._origin(lead)}."]
        if width_source:
            said.append(f"Its width is from {width_source}.")
        if lead.deprecation_date:
            said.append(f"Its provider ends it on {lead.deprecation_date}.")
        if lead.supports_embedding_image_input or lead.supports_multimodal:
            said.append("It takes more than text; only text is offered here.")
        said.append("Pooling, normalization, tokenizer and the day of publication are not known.")
        fields: Fields = {
            "owned_by": owner,
            "summary": f"{shop.upstream} by {by}: {dimensions} dimensions, up to {lead.input_tokens} tokens an input.",
            "dimensions": dimensions,
            "max_input_tokens": lead.input_tokens,
            "normalized": False,
            "estimate": self._estimate(model, lead, is_list_price=maker is not None or owner != lead.vendor),
            "note": " ".join(said),
        }
        return self._entry(Kind.MODEL, lead, {"id": model}, fields)

    def _estimate(self, model: str, lead: MapEntry, *, is_list_price: bool) -> Fields | None:
        cost = _cost(lead)
        if not 0 < cost <= DOUBTED_NANO:
            return None
        estimate: Fields = {"usd_per_mtok": to_usd(cost), "source": self._origin(lead)}
        stated_on = self._today.isoformat()
        old = self._present.remembered.get((Kind.MODEL, model))
        was = old.fields.get("estimate") if old else None
        if isinstance(was, Mapping) and {name: was.get(name) for name in estimate} == estimate:
            # Said again, not said anew.
            stated_on = str(was["stated_on"])
        estimate["stated_on"] = stated_on
        if is_list_price:
            estimate["is_list_price"] = True
        return estimate

    def _sell(self, model: str, entry: MapEntry) -> None:
        shop = self._free(_shop(entry))
        provider: Fields = {"kind": "litellm", "options": {"vendor": shop.vendor}, "enabled": False}
        if shop.region:
            provider["regions"] = [shop.region]
        cost = _cost(entry)
        if not cost:
            self._note(entry, "no endpoint", "The map says 0.00 USD, which is no price: set its cost by hand.")
            return
        assert entry.input_cost_per_token is not None
        if not nano_per_mtok(entry.input_cost_per_token)[1]:
            stated = entry.input_cost_per_token
            says = f"{stated} USD per token is between two nano-USD per million: taken as {to_usd(cost)}."
            self._note(entry, "endpoint", says)
        if cost > DOUBTED_NANO:
            self._note(
                entry,
                "endpoint",
                f"{to_usd(cost)} USD per million tokens is what the map says, and is shown to nobody: check it.",
            )
        if units := entry.other_units:
            says = f"It is also charged per {', '.join(units)}: the cost by tokens holds for text, as the map has it."
            self._note(entry, "endpoint", says)
        identity = {"model": model, "provider": shop.provider, "upstream_model": shop.upstream}
        one = self._entry(Kind.ENDPOINT, entry, identity, {"cost_usd_per_mtok": to_usd(cost)})
        if (first := self._entries.get(one.name)) is not None:
            also = "" if first.fields == one.fields else f", at {first.fields['cost_usd_per_mtok']} USD"
            self._note(entry, "left out", f"The same endpoint as {first.path}{also}.")
            return
        self._add(self._entry(Kind.PROVIDER, entry, {"name": shop.provider}, provider))
        self._add(one)

    def _refusal(self, entry: MapEntry) -> str | None:
        if "language-models" in entry.litellm_provider:
            return "It is a language model."
        if entry.deprecation_date and entry.deprecation_date <= self._today.isoformat():
            return f"Its provider ended it on {entry.deprecation_date}."
        if entry.input_cost_per_token is None:
            if units := entry.other_units:
                return f"It is charged per {', '.join(units)} and not per token."
            return "The map has no price for it."
        return None

    def _own_id(self, entry: MapEntry) -> str | None:
        """A name of its own for what is not known to be the same as anything else."""
        shop, maker = _shop(entry), self._beyond.makers.get(entry.vendor)
        short, whole = (_slug(text) for text in (shop.upstream.rpartition("/")[2], shop.upstream.replace("/", "-")))
        region = f"{shop.region}-" if shop.region else ""
        names = [f"{entry.vendor}/{region}{short}", f"{entry.vendor}/{region}{whole}"]
        if maker is not None:
            names.insert(0, f"{maker}/{short}")
        free = next((name for name in names if name not in self._used), None)
        if free is None:
            self._note(entry, "left out", f"{names[-1]} is another model's name already.")
            return None
        theirs = free in self._present.models and (Kind.MODEL, free) not in self._present.remembered
        if theirs and maker is None:
            self._note(entry, "left out", f"There is a model {free} already, and whether it is this one is not known.")
            return None
        self._used.add(free)
        return free

    def _free(self, shop: _Shop) -> _Shop:
        """The shop under a name that no provider of another kind or vendor has."""
        there = self._present.fields.get((Kind.PROVIDER, shop.provider))
        if there is None:
            return shop
        options = there["options"]
        if there["kind"] == "litellm" and isinstance(options, Mapping) and options.get("vendor") == shop.vendor:
            return shop
        return msgspec.structs.replace(shop, provider=f"{shop.provider}-litellm")

    def _entry(self, kind: Kind, entry: MapEntry, identity: dict[str, str], fields: Fields) -> Entry:
        return Entry(kind, subject_of(kind, identity), entry.key, 0, identity, fields, origin=self._origin(entry))

    def _origin(self, entry: MapEntry) -> str:
        return f"LiteLLM {self._release}'s price map" + (f", {entry.source}" if entry.source else "")

    def _add(self, entry: Entry) -> None:
        self._entries.setdefault(entry.name, entry)

    def _note(self, entry: MapEntry, outcome: str, says: str) -> None:
        self._notes.append(Note(entry.key, outcome, says))


def _shop(entry: MapEntry) -> _Shop:
    vendor, path = entry.vendor, entry.key
    if path.startswith(f"{vendor}/"):
        path = path.removeprefix(f"{vendor}/")
    first, slash, rest = path.partition("/")
    region = first if slash and REGION.fullmatch(first) else None
    name = vendor.replace("_", "-") + (f"-{region}" if region else "")
    return _Shop(name, vendor, region, rest if region else path)


def _cost(entry: MapEntry) -> int:
    return 0 if entry.input_cost_per_token is None else max(0, nano_per_mtok(entry.input_cost_per_token)[0])


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._:-]+", "-", text).strip("-._:")


def counted(notes: Sequence[Note]) -> Iterator[tuple[str, int]]:
    """How many keys each outcome has."""
    outcomes = [note.outcome for note in notes]
    yield from ((outcome, outcomes.count(outcome)) for outcome in sorted(set(outcomes)))
