"""Proposes endpoints for the models that a provider has, each fact with its source. Nothing is guessed.

A provider's model is one of ours by id or alias, by the name under which another provider serves it, or where
``litellm.toml`` says so. What a provider's own list says stands before litellm's price map, which speaks of this vendor
alone; what neither says is unknown. Facts of a model that the catalogue has are the catalogue's, and a list that says
otherwise is reported: the endpoint may serve another model under that name.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

import msgspec

from billing.money import to_usd
from catalog.model_edits import MODEL_ID
from catalog.models import Catalog
from catalog.values import Model
from providers.litellm.price_map import MapEntry, PriceMap, nano_per_mtok
from providers.model_list import ListedModel
from providers.protocol import ProviderKind
from router.manifest.litellm_import import KnownFacts, offer_of, slug
from router.registry.indexes import ProviderRecord
from router.values import Endpoint, EndpointState
from store.ids import EndpointId, ProviderId

UNKNOWN: Final = "unknown"
THE_LIST: Final = "the provider's list"
THE_CATALOGUE: Final = "the catalogue"
# Whose prices hold at which host, by litellm's names of vendors. A host that is not here has no known prices.
VENDORS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "api.cohere.ai": "cohere",
        "api.cohere.com": "cohere",
        "api.deepinfra.com": "deepinfra",
        "api.fireworks.ai": "fireworks_ai",
        "api.jina.ai": "jina_ai",
        "api.mistral.ai": "mistral",
        "api.openai.com": "openai",
        "api.studio.nebius.ai": "nebius",
        "api.together.ai": "together_ai",
        "api.together.xyz": "together_ai",
        "api.voyageai.com": "voyage",
        "generativelanguage.googleapis.com": "gemini",
        "integrate.api.nvidia.com": "nvidia_nim",
        "openrouter.ai": "openrouter",
    }
)


class FoundFact(msgspec.Struct, frozen=True):
    """A number and who states it; None with the source ``unknown``."""

    value: int | None = None
    source: str = UNKNOWN


class FoundModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model of a provider, and the endpoint that is proposed for it.

    ``model`` is the catalogue's, ``matched_by`` how that is known; ``new_model`` is the id under which it could be
    added where the catalogue has none. ``endpoint``: the one that it has here already. ``is_embedding`` None: nobody
    says what it makes. ``cost`` is in nano-USD per million tokens.
    """

    upstream_model: str
    model: str | None = None
    matched_by: str = ""
    new_model: str | None = None
    endpoint: EndpointId | None = None
    state: EndpointState | None = None
    is_embedding: bool | None = None
    cost: FoundFact = FoundFact()
    dimensions: FoundFact = FoundFact()
    max_input_tokens: FoundFact = FoundFact()
    notes: tuple[str, ...] = ()


def vendor_of(record: ProviderRecord) -> str | None:
    """Litellm's name of the vendor whose prices hold at this provider; None where none is known to."""
    if record.kind == ProviderKind.LITELLM:
        return str(record.options.get("vendor"))
    return VENDORS.get(urlsplit(record.base_url or "").hostname or "") if record.kind == ProviderKind.OPENAI else None


def list_of_vendor(record: ProviderRecord, price_map: PriceMap, today: date) -> tuple[ListedModel, ...]:
    """The models of a vendor that litellm calls, by its price map, without those that were ended."""
    now = today.isoformat()
    offered = (entry for entry in _of_vendor(price_map, vendor_of(record)) if (entry.deprecation_date or "9") > now)
    return tuple(
        ListedModel(name, is_embedding=True) for name in dict.fromkeys(offer_of(one).upstream for one in offered)
    )


def propose(
    record: ProviderRecord,
    listed: Iterable[ListedModel],
    catalog: Catalog,
    endpoints: Iterable[Endpoint],
    price_map: PriceMap | None,
    known: KnownFacts,
) -> list[FoundModel]:
    """A proposal for each listed model, embedding models first. ``price_map`` None: litellm is not installed."""
    proposals = _Proposals(record, catalog, list(endpoints), price_map, known)
    found = [proposals.of(model) for model in listed]
    return sorted(found, key=lambda one: (one.is_embedding is not True, one.model is None, one.upstream_model))


class _Proposals:
    def __init__(
        self,
        record: ProviderRecord,
        catalog: Catalog,
        endpoints: list[Endpoint],
        price_map: PriceMap | None,
        known: KnownFacts,
    ) -> None:
        self._record, self._catalog, self._known = record, catalog, known
        self._vendor = vendor_of(record)
        self._source = "" if price_map is None else f"LiteLLM {price_map.release}'s price map"
        self._others = frozenset() if price_map is None else price_map.others
        entries = () if price_map is None else _of_vendor(price_map, self._vendor)
        region = record.options.get("aws_region_name")
        # Of a model that is offered in several regions, the price of ours is taken, else that of no region.
        self._entries: dict[str, MapEntry] = {}
        for entry in sorted(entries, key=lambda entry: (offer_of(entry).region == region, not offer_of(entry).region)):
            self._entries[offer_of(entry).upstream.lower()] = entry
        self._here = {one.upstream_model: one for one in endpoints if one.provider_id == record.id}
        self._elsewhere = _names_elsewhere(endpoints, record.id)
        self._ids = {model.id.lower(): model for model in catalog.all()}
        self._same = {key: same.model for same in known.same for key in same.keys}
        self._taken = {model.id for model in catalog.all()}

    def of(self, listed: ListedModel) -> FoundModel:
        """The proposal for one model."""
        entry = self._entries.get(listed.id.lower())
        here = self._here.get(listed.id)
        model, how = self._match(listed.id, entry, here)
        widths = [FoundFact(listed.dimensions, THE_LIST), *self._map_facts(entry, "dimensions"), *self._width(entry)]
        lengths = [FoundFact(listed.max_input_tokens, THE_LIST), *self._map_facts(entry, "input_tokens")]
        width, length = _first(widths), _first(lengths)
        notes = [*self._price_notes(listed, entry)]
        if model is not None:
            notes += _differences("dimensions", model.dimensions, model.id, width)
            width = FoundFact(model.dimensions, THE_CATALOGUE)
            length = FoundFact(model.max_input_tokens, THE_CATALOGUE)
        return FoundModel(
            upstream_model=listed.id,
            model=None if model is None else model.id,
            matched_by=how,
            new_model=self._new_id(listed.id, entry) if model is None else None,
            endpoint=None if here is None else here.id,
            state=None if here is None else here.state,
            is_embedding=self._is_embedding(listed, entry, model),
            cost=self._cost(listed, entry),
            dimensions=width,
            max_input_tokens=length,
            notes=tuple(notes),
        )

    def _match(self, name: str, entry: MapEntry | None, here: Endpoint | None) -> tuple[Model | None, str]:
        plain = name.removeprefix("models/")
        by_map = None if entry is None else self._same.get(entry.key)
        ways: tuple[tuple[Model | None, str], ...] = (
            (None if here is None else self._catalog.get(here.model_id), "its endpoint here"),
            (self._catalog.get(plain), "id" if plain in self._taken else "alias"),
            (self._ids.get(plain.lower()), "id, in other letters"),
            (None if by_map is None else self._catalog.get(by_map), "litellm's name of it"),
            (
                self._catalog.get(self._elsewhere.get(name, ("", ""))[0]),
                f"{self._elsewhere.get(name, ('', ''))[1]}'s name",
            ),
        )
        return next(((model, how) for model, how in ways if model is not None), (None, ""))

    def _is_embedding(self, listed: ListedModel, entry: MapEntry | None, model: Model | None) -> bool | None:
        if model is not None or entry is not None:
            return True
        is_other = self._vendor is not None and {listed.id, f"{self._vendor}/{listed.id}"} & self._others
        return listed.is_embedding if listed.is_embedding is not None else False if is_other else None

    def _cost(self, listed: ListedModel, entry: MapEntry | None) -> FoundFact:
        if listed.usd_per_token is not None:
            return FoundFact(nano_per_mtok(listed.usd_per_token)[0], THE_LIST)
        if entry is not None and entry.input_cost_per_token:
            return FoundFact(nano_per_mtok(entry.input_cost_per_token)[0], self._map_source(entry))
        return FoundFact()

    def _price_notes(self, listed: ListedModel, entry: MapEntry | None) -> Iterator[str]:
        if entry is None:
            return
        if units := entry.other_units:
            yield f"It is also charged per {', '.join(units)}: the cost by tokens holds for text."
        if entry.deprecation_date:
            yield f"Its provider ends it on {entry.deprecation_date}, says {self._map_source(entry)}."
        theirs = entry.input_cost_per_token
        if listed.usd_per_token is not None and theirs and theirs != listed.usd_per_token:
            yield f"{self._map_source(entry)} says {to_usd(nano_per_mtok(theirs)[0])} USD per million tokens."

    def _map_facts(self, entry: MapEntry | None, name: str) -> Iterator[FoundFact]:
        if entry is not None:
            yield FoundFact(getattr(entry, name), self._map_source(entry))

    def _width(self, entry: MapEntry | None) -> Iterator[FoundFact]:
        for width in self._known.known if entry is not None else ():
            if entry is not None and entry.key in width.keys:
                yield FoundFact(width.dimensions, width.source)

    def _map_source(self, entry: MapEntry) -> str:
        return f"{self._source}, {entry.source}" if entry.source else self._source

    def _new_id(self, name: str, entry: MapEntry | None) -> str | None:
        """An id that the catalogue does not have yet: the provider's own where it is one, else its maker's or ours."""
        plain = name.removeprefix("models/")
        same = None if entry is None else self._same.get(entry.key)
        maker = None if entry is None else self._known.makers.get(entry.vendor)
        owner = maker or self._record.name
        names = (same, plain, f"{owner}/{slug(plain.rpartition('/')[2])}", f"{self._record.name}/{slug(plain)}")
        ids = (one for one in names if one and MODEL_ID.fullmatch(one) and one not in self._taken)
        return next(ids, None)


def _of_vendor(price_map: PriceMap, vendor: str | None) -> Iterator[MapEntry]:
    return (
        entry
        for entry in price_map.entries
        if entry.vendor == vendor and "language-models" not in entry.litellm_provider
    )


def _names_elsewhere(endpoints: Iterable[Endpoint], provider: ProviderId) -> dict[str, tuple[str, str]]:
    """The models that other providers serve under a name that is not the model's id, and who; ambiguous ones not."""
    found: dict[str, dict[str, str]] = {}
    for one in endpoints:
        if one.provider_id != provider:
            found.setdefault(one.upstream_model, {})[one.model_id] = one.provider_name
    return {name: next(iter(models.items())) for name, models in found.items() if len(models) == 1}


def _first(facts: Iterable[FoundFact]) -> FoundFact:
    return next((fact for fact in facts if fact.value is not None), FoundFact())


def _differences(what: str, ours: int, model: str, theirs: FoundFact) -> Iterator[str]:
    if theirs.value is not None and theirs.value != ours:
        yield f"{theirs.source} says {theirs.value} {what}, and {model} has {ours}: it may be another model."
