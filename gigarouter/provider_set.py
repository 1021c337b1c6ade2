"""The registered providers as things that embed: built from their records, rebuilt when a record changes."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import msgspec
import structlog
from typing_extensions import override

from providers.kinds import build
from providers.litellm.kind import load
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
TEND_EVERY_S = 1.0


class Unusable:
    """Stands for a provider that cannot be used: every call learns why.

    One that is switched off is passed over, and is as it was when it is switched on again. Where this
    process cannot use its record, calls go elsewhere and ops are told; never a quarantine, as others may have the key.
    """

    def __init__(self, why: Callable[[], Failure]) -> None:
        self._why = why

    async def embed(self, attempt: Attempt, deadline_s: float) -> Vectors:
        """Always raises."""
        raise self._why()

    async def count(self, attempt: Attempt, deadline_s: float) -> int | None:
        """Cannot tell."""
        return None

    async def close(self) -> None:
        """Nothing to close."""


class Outdated:
    """A provider with the credential of before, where the new one is sealed under a secret key that is not set here."""

    def __init__(self, before: Provider) -> None:
        self.before = before

    async def embed(self, attempt: Attempt, deadline_s: float) -> Vectors:
        """As before; that the old credential is refused says nothing of the new one."""
        try:
            return await self.before.embed(attempt, deadline_s)
        except CredentialRefused as refused:
            raise Misconfigured(
                "this process cannot read the provider's new credential", detail=refused.detail, status=refused.status
            ) from refused

    async def count(self, attempt: Attempt, deadline_s: float) -> int | None:
        """As before."""
        return await self.before.count(attempt, deadline_s)

    async def close(self) -> None:
        """Close it."""
        await self.before.close()


class ProviderSet(Mapping[ProviderId, Provider]):
    """One provider per record; :meth:`refresh` after the index was."""

    def __init__(
        self, index: ProviderIndex, cipher: CredentialCipher | None, allowed_networks: Networks, pool: Pool
    ) -> None:
        self._index = index
        self._seal = cipher
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

    def built(self, provider_id: ProviderId) -> tuple[ProviderRecord, Provider] | None:
        """What speaks to a provider, after the record that it was built from; None where there is no such record."""
        return self._built.get(provider_id)

    def refresh(self) -> None:
        """Build what is new or changed; what was replaced is closed later by :meth:`run`."""
        built: dict[ProviderId, tuple[ProviderRecord, Provider]] = {}
        for record in self._index.all():
            known = self._built.get(record.id)
            built[record.id] = known if known is not None and known[0] == record else (record, self._build(record))
        kept = {id(provider.before if isinstance(provider, Outdated) else provider) for _, provider in built.values()}
        kept |= {id(provider) for _, provider in built.values()}
        for _, provider in self._built.values():
            if id(provider) not in kept:
                self._retired.append((asyncio.get_running_loop().time(), provider))
        self._built = built

    async def check(self, record: ProviderRecord) -> None:
        """Raise ``InvalidRequest`` where nothing could speak to such a provider. Connects to nothing."""
        try:
            provider = self._made(record)
        except (ValueError, CredentialUnreadable) as fault:
            raise InvalidRequest(f"{record.name} cannot be spoken to: {fault}.") from fault
        await provider.close()

    def _made(self, record: ProviderRecord) -> Provider:
        credential = decrypt_credential(record, self._seal)
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
            return Unusable(partial(PassedOver, "its provider is switched off"))
        try:
            return self._made(record)
        except CredentialUnreadable as fault:
            log.error("provider_unusable", provider=record.name, reason=str(fault))
            return self._as_before(record) or _unusable(fault)
        except ValueError as fault:
            log.error("provider_unusable", provider=record.name, reason=str(fault))
            return _unusable(fault)

    def _as_before(self, record: ProviderRecord) -> Provider | None:
        """What spoke to it until now, where nothing but the credential has changed."""
        known = self._built.get(record.id)
        if known is None or isinstance(known[1], Unusable):
            return None
        was, provider = known
        if msgspec.structs.replace(record, sealed=was.sealed) != was:
            return None
        return provider if isinstance(provider, Outdated) else Outdated(provider)

    async def run(self) -> None:
        """Until cancelled: close replaced providers once their calls are over; load litellm before its first call."""
        while True:
            if any(record.kind == ProviderKind.LITELLM for record, _ in self._built.values()):
                await load()
            await asyncio.sleep(TEND_EVERY_S)
            before = asyncio.get_running_loop().time() - CLOSE_AFTER_S
            over = [provider for since, provider in self._retired if since < before]
            self._retired = [(since, provider) for since, provider in self._retired if since >= before]
            for provider in over:
                await provider.close()

    async def close(self) -> None:
        """Close them all."""
        for provider in (*(p for _, p in self._built.values()), *(p for _, p in self._retired)):
            await provider.close()


def _unusable(fault: Exception) -> Unusable:
    return Unusable(partial(Misconfigured, "the provider cannot be used from this process", detail=str(fault)))
