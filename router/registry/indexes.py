"""Holds prices, endpoints and providers in a serve process's memory, beside its keys and the catalogue. Pure.

Each index is replaced as a whole; readers see the old or the new one, never half of each. ``registry.refresh`` keeps
them fresh.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from uuid import UUID

import msgspec

from billing.contracts.rules import Term, by_scope, price_under, term_for
from billing.money import Price, price_at
from catalog.values import Model
from router.values import Endpoint, EndpointState, Key
from store.ids import AccountId, EndpointId, ModelId, PriceId, ProviderId, TermId

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
    """The versions of every model's price, known future ones included, and the terms of accounts with a contract."""

    __slots__ = ("_agreed", "_terms", "_versions")

    def __init__(self, prices: Iterable[Price] = (), terms: Iterable[Term] = ()) -> None:
        self.replace(prices, terms)

    def replace(self, prices: Iterable[Price], terms: Iterable[Term]) -> None:
        """Replace all prices and terms."""
        versions: dict[ModelId, list[Price]] = {}
        for price in sorted(prices, key=lambda p: (p.effective_at, p.id)):
            versions.setdefault(price.model_id, []).append(price)
        by_account: dict[AccountId, list[Term]] = {}
        for term in terms:
            by_account.setdefault(term.account_id, []).append(term)
        self._versions = versions
        self._terms = {account: by_scope(found) for account, found in by_account.items()}
        # Prices under terms, as calls needed them.
        self._agreed: dict[tuple[TermId, PriceId | None], Price | None] = {}

    def current(self, model_id: ModelId, now: datetime) -> Price | None:
        """Return the list price in force: the latest one whose instant has come."""
        return price_at(self._versions.get(model_id, []), now)

    def of_account(self, account_id: AccountId, model_id: ModelId, now: datetime) -> Price | None:
        """Return what an account pays: by the term of its contract that is in force, else the list price."""
        listed = self.current(model_id, now)
        terms = self._terms.get(account_id)
        if terms is None:
            return listed
        term = term_for(terms, model_id, now)
        if term is None:
            return listed
        known = term.id, None if listed is None else listed.id
        if known not in self._agreed:
            self._agreed[known] = price_under(term, listed)
        return self._agreed[known]


class EndpointIndex:
    """The endpoints of every model, first choice first."""

    __slots__ = ("_by_model",)

    def __init__(self, endpoints: Iterable[Endpoint] = ()) -> None:
        self.replace(endpoints)

    def replace(self, endpoints: Iterable[Endpoint]) -> None:
        """Replace all endpoints; DRAFT and OFF ones are candidates for nothing."""
        by_model: dict[ModelId, list[Endpoint]] = {}
        for endpoint in sorted(endpoints, key=lambda e: (e.priority, e.id)):
            if endpoint.state in (EndpointState.DRAFT, EndpointState.OFF):
                continue
            by_model.setdefault(endpoint.model_id, []).append(endpoint)
        self._by_model = by_model

    def candidates(self, model: Model, key: Key) -> list[Endpoint]:
        """List the candidates for a key's calls of a model, in any state and space; for a test key the sandbox alone.

        :func:`router.routing.choose.choose` leaves out those that may not be called, with the reason.
        """
        if key.is_test:
            return [sandbox_endpoint(model)]
        return self.of_model(model)

    def of_model(self, model: Model) -> list[Endpoint]:
        """List the candidates for the calls of every key but test keys, in any state and space."""
        return self._by_model.get(model.id, [])

    def of_provider(self, provider_id: ProviderId) -> list[Endpoint]:
        """List every candidate that a provider serves."""
        return [one for endpoints in self._by_model.values() for one in endpoints if one.provider_id == provider_id]


class ProviderIndex:
    """The registered providers by id, and the sandbox."""

    __slots__ = ("_by_id",)

    def __init__(self, providers: Iterable[ProviderRecord] = ()) -> None:
        self.replace(providers)

    def replace(self, providers: Iterable[ProviderRecord]) -> None:
        """Replace all providers."""
        records: dict[ProviderId, ProviderRecord] = {provider.id: provider for provider in providers}
        records[SANDBOX_PROVIDER] = ProviderRecord(id=SANDBOX_PROVIDER, name="sandbox", kind="sandbox")
        self._by_id: Mapping[ProviderId, ProviderRecord] = records

    def get(self, provider_id: ProviderId) -> ProviderRecord | None:
        """Return the provider of this id; None where it is not known."""
        return self._by_id.get(provider_id)

    def all(self) -> list[ProviderRecord]:
        """List all providers."""
        return list(self._by_id.values())


def sandbox_endpoint(model: Model) -> Endpoint:
    """Build the endpoint that answers test keys: free, deterministic, in the model's own space and width."""
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
