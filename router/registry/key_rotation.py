"""Rotates the secret keys: wraps every credential's data key again by the first one, while calls go on."""

import msgspec
from sqlalchemy import select, update

from router.changes.audit import Change
from router.changes.transaction import UnitOfWork
from router.registry.encryption import CredentialCipher, CredentialUnreadable
from router.tables import ProviderRow
from store.ids import ProviderId, wire


class RewrappedCredentials(msgspec.Struct, frozen=True):
    """Names of providers: wrapped again, wrapped by the first key already, and those whose key is not set."""

    resealed: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()


async def rewrap_credentials(work: UnitOfWork, cipher: CredentialCipher) -> RewrappedCredentials:
    """Wrap all that the first key does not wrap yet; a credential that cannot be read stops no other one.

    The rows are locked in one order until the transaction ends. An audit row tells of the whole, also of nothing done.
    """
    query = select(ProviderRow.id, ProviderRow.name, ProviderRow.sealed).where(ProviderRow.sealed.is_not(None))
    resealed, unchanged, unreadable = [], [], []
    for row in await work.connection.execute(query.order_by(ProviderRow.name).with_for_update()):
        if cipher.is_wrapped_by_first(row.sealed):
            unchanged.append(row.name)
            continue
        try:
            wrapped = cipher.rewrap(row.sealed)
        except CredentialUnreadable:
            unreadable.append(row.name)
            continue
        await work.connection.execute(update(ProviderRow).where(ProviderRow.id == row.id).values(sealed=wrapped))
        work.record_change(Change("provider.reseal", wire(ProviderId, ProviderId(row.id))))
        resealed.append(row.name)
    done = RewrappedCredentials(tuple(resealed), tuple(unchanged), tuple(unreadable))
    work.record_change(Change("providers.reseal", "providers", after=msgspec.to_builtins(done)))
    return done
