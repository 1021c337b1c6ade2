"""Builds the registered providers from their records, and rebuilds one when its record changes."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import msgspec
import structlog
from typing_extensions import override

from providers.kinds import build
from providers.litellm.kind import load
from providers.model_list import ListedModel
from providers.outcomes import CredentialRefused, Failure, Misconfigured, PassedOver
from providers.protocol import Attempt, Provider, ProviderKind, Vectors
from providers.wire import Networks, Pool
from router.errors import InvalidRequest
from router.registry.encryption import CredentialCipher, CredentialUnreadable
from router.registry.indexes import ProviderIndex, ProviderRecord
from router.registry.providers import decrypt_credential
from store.ids import ProviderId

log = structlog.get_logger("providers")

# A replaced provider keeps its connections this long, for the calls that still use it.
CLOSE_AFTER_S = 120.0
CHECK_EVERY_S = 1.0


class UnusableProvider:
    """Stands for a provider that cannot be used, and fails every call with the reason.

    A provider that is switched off is passed over, and serves again as before when it is switched on. Where this
    process cannot use a record, calls go elsewhere and the log says why; never a quarantine, as other processes may
    have the key.
    """

    def __init__(self, failure: Callable[[], Failure]) -> None:
        self._failure = failure

    async def embed(self, attempt: Attempt, deadline_s: float) -> Vectors:
        """Raise the reason."""
        raise self._failure()

    async def count(self, attempt: Attempt, deadline_s: float) -> int | None:
        """Return None."""
        return None

    async def list_models(self, deadline_s: float) -> tuple[ListedModel, ...] | None:
        """Raise the reason."""
        raise self._failure()

    async def close(self) -> None:
        """Do nothing."""


class OutdatedProvider:
    """A provider with its old credential, where the new one is encrypted under a secret key that is not set here."""

    def __init__(self, before: Provider) -> None:
        self.before = before

    async def embed(self, attempt: Attempt, deadline_s: float) -> Vectors:
        """Embed with the old credential; if that is refused, this says nothing of the new one."""
        try:
            return await self.before.embed(attempt, deadline_s)
        except CredentialRefused as refused:
            raise Misconfigured(
                "this process cannot read the provider's new credential", detail=refused.detail, status=refused.status
            ) from refused

    async def count(self, attempt: Attempt, deadline_s: float) -> int | None:
        """Count with the old credential."""
        return await self.before.count(attempt, deadline_s)

    async def list_models(self, deadline_s: float) -> tuple[ListedModel, ...] | None:
        """Ask with the old credential."""
        return await self.before.list_models(deadline_s)

    async def close(self) -> None:
        """Close the provider."""
        await self.before.close()


class ProviderSet(Mapping[ProviderId, Provider]):
    """One provider per record; call :meth:`refresh` after the index has changed."""

    def __init__(
        self, index: ProviderIndex, cipher: CredentialCipher | None, allowed_networks: Networks, pool: Pool
    ) -> None:
        self._index = index
        self._cipher = cipher
        self._allowed_networks = allowed_networks
        self._pool = pool
        self._built: dict[ProviderId, tuple[ProviderRecord, Provider]] = {}
        self._retired: list[tuple[float, Provider]] = []
        self.refresh()

    @override
    def __getitem__(self, provider_id: ProviderId) -> Provider:
        return self._built[provider_id][1]

    @override
    def __iter__(self) -> Iterator[ProviderId]:
        return iter(self._built)

    @override
    def __len__(self) -> int:
        return len(self._built)

    def with_record(self, provider_id: ProviderId) -> tuple[ProviderRecord, Provider] | None:
        """A provider and the record that it was built from; None where there is no such record."""
        return self._built.get(provider_id)

    def refresh(self) -> None:
        """Build what is new or changed; :meth:`run` closes what was replaced."""
        built: dict[ProviderId, tuple[ProviderRecord, Provider]] = {}
        for record in self._index.all():
            known = self._built.get(record.id)
            built[record.id] = known if known is not None and known[0] == record else (record, self._build(record))
        in_use = {id(provider) for _, provider in built.values()}
        in_use |= {id(provider.before) for _, provider in built.values() if isinstance(provider, OutdatedProvider)}
        for _, provider in self._built.values():
            if id(provider) not in in_use:
                self._retired.append((asyncio.get_running_loop().time(), provider))
        self._built = built

    async def check(self, record: ProviderRecord) -> None:
        """Raise ``InvalidRequest`` where no provider could be built from the record. Connects to nothing."""
        try:
            provider = self._construct(record)
        except (ValueError, CredentialUnreadable) as fault:
            raise InvalidRequest(f"{record.name} cannot be spoken to: {fault}.") from fault
        await provider.close()

    def _construct(self, record: ProviderRecord) -> Provider:
        credential = decrypt_credential(record, self._cipher)
        return build(
            record.kind,
            base_url=record.base_url,
            credential=credential,
            options=record.options,
            allowed_networks=self._allowed_networks,
            pool=self._pool,
        )

    def _build(self, record: ProviderRecord) -> Provider:
        if not record.enabled:
            return UnusableProvider(partial(PassedOver, "its provider is switched off"))
        try:
            return self._construct(record)
        except CredentialUnreadable as fault:
            log.error("provider_unusable", provider=record.name, reason=str(fault))
            return self._with_old_credential(record) or _misconfigured(fault)
        except ValueError as fault:
            log.error("provider_unusable", provider=record.name, reason=str(fault))
            return _misconfigured(fault)

    def _with_old_credential(self, record: ProviderRecord) -> Provider | None:
        """The present provider, where only the credential of its record has changed."""
        known = self._built.get(record.id)
        if known is None or isinstance(known[1], UnusableProvider):
            return None
        old_record, provider = known
        if msgspec.structs.replace(record, sealed=old_record.sealed) != old_record:
            return None
        return provider if isinstance(provider, OutdatedProvider) else OutdatedProvider(provider)

    async def run(self) -> None:
        """Until cancelled, close replaced providers once their calls are over; load litellm before its first call."""
        while True:
            if any(record.kind == ProviderKind.LITELLM for record, _ in self._built.values()):
                await load()
            await asyncio.sleep(CHECK_EVERY_S)
            before = asyncio.get_running_loop().time() - CLOSE_AFTER_S
            unused = [provider for since, provider in self._retired if since < before]
            self._retired = [(since, provider) for since, provider in self._retired if since >= before]
            for provider in unused:
                await provider.close()

    async def close(self) -> None:
        """Close every provider."""
        for provider in (*(p for _, p in self._built.values()), *(p for _, p in self._retired)):
            await provider.close()


def _misconfigured(fault: Exception) -> UnusableProvider:
    return UnusableProvider(partial(Misconfigured, "the provider cannot be used from this process", detail=str(fault)))
