"""What a serve process keeps in memory beside its keys and the catalogue: prices, endpoints, providers. No I/O.

Each index is replaced as a whole; readers see the old or the new one, never half of each. ``registry.refresh`` keeps
them fresh.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from uuid import UUID

import msgspec

from billing.money import Price, price_at
from catalog.values import Model
from router.values import Endpoint, EndpointState, Key
from store.ids import EndpointId, ModelId, ProviderId

# Test keys (`gr_test_…`) are answered by a provider that is always there, in memory only.
SANDBOX_PROVIDER = ProviderId(UUID("00000000-0000-7000-8000-00005a4d0b01"))
SANDBOX_ENDPOINT = EndpointId(UUID("00000000-0000-7000-8000-00005a4d0b02"))


class ProviderRecord(msgspec.Struct, frozen=True):
    """A provider as it is registered. ``sealed`` is its encrypted credential (:mod:`router.registry.encryption`)."""

    id: ProviderId
    name: str
    kind: str
    base_url: str | None = None
    sealed: bytes | None = msgspec.field(default=None)
    enabled: bool = True
    options: dict[str, object] = {}


class PriceIndex:
    """The versions of every model's price, known future ones included."""

    __slots__ = ("_versions",)

    def __init__(self, prices: Iterable[Price] = ()) -> None:
        self.replace(prices)

    def replace(self, prices: Iterable[Price]) -> None:
        """All prices anew."""
        versions: dict[ModelId, list[Price]] = {}
        for price in sorted(prices, key=lambda p: (p.effective_at, p.id)):
            versions.setdefault(price.model_id, []).append(price)
        self._versions = versions

    def current(self, model_id: ModelId, now: datetime) -> Price | None:
        """The price in force: the latest one whose instant has come."""
        return price_at(self._versions.get(model_id, []), now)


class EndpointIndex:
    """The endpoints of every model, first choice first."""

    __slots__ = ("_by_model",)

    def __init__(self, endpoints: Iterable[Endpoint] = ()) -> None:
        self.replace(endpoints)

    def replace(self, endpoints: Iterable[Endpoint]) -> None:
        """All endpoints anew; drafts and those that are off are no candidates for anything."""
        by_model: dict[ModelId, list[Endpoint]] = {}
        for endpoint in sorted(endpoints, key=lambda e: (e.priority, e.id)):
            if endpoint.state in (EndpointState.DRAFT, EndpointState.OFF):
                continue
            by_model.setdefault(endpoint.model_id, []).append(endpoint)
        self._by_model = by_model

    def serving(self, model: Model, key: Key) -> list[Endpoint]:
        """The candidates for this key's calls of a model, of any state and space; the sandbox alone for a test key.

        :func:`router.routing.choose.choose` leaves out those that may not be called, with the reason.
        """
        if key.is_test:
            return [sandbox(model)]
        return self._by_model.get(model.id, [])

    def of_provider(self, provider_id: ProviderId) -> list[Endpoint]:
        """Every candidate that a provider serves."""
        return [one for endpoints in self._by_model.values() for one in endpoints if one.provider_id == provider_id]


class ProviderIndex:
    """The registered providers by id, and the sandbox."""

    __slots__ = ("_by_id",)

    def __init__(self, providers: Iterable[ProviderRecord] = ()) -> None:
        self.replace(providers)

    def replace(self, providers: Iterable[ProviderRecord]) -> None:
        """All providers anew."""
        records: dict[ProviderId, ProviderRecord] = {provider.id: provider for provider in providers}
        records[SANDBOX_PROVIDER] = ProviderRecord(id=SANDBOX_PROVIDER, name="sandbox", kind="sandbox")
        self._by_id: Mapping[ProviderId, ProviderRecord] = records

    def get(self, provider_id: ProviderId) -> ProviderRecord | None:
        """The provider of this id."""
        return self._by_id.get(provider_id)

    def all(self) -> list[ProviderRecord]:
        """All providers."""
        return list(self._by_id.values())


def sandbox(model: Model) -> Endpoint:
    """The endpoint that answers test keys: free, deterministic, in the model's own space and width."""
    return Endpoint(
        id=SANDBOX_ENDPOINT,
        model_id=model.id,
        provider_id=SANDBOX_PROVIDER,
        provider_name="sandbox",
        upstream_model=model.id,
        space=model.space,
        state=EndpointState.LIVE,
        priority=0,
        cost_nano_per_mtok=0,
    )
