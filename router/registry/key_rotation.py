"""Rotates the secret keys: wraps every credential's data key again by the first one, while calls go on."""

from functools import partial

import msgspec
from sqlalchemy import select, update

from router.changes.audit import Actor, Change
from router.changes.transaction import UnitOfWork, transact
from router.registry.encryption import CredentialCipher, CredentialUnreadable
from router.registry.indexes import ProviderRecord
from router.registry.providers import load_provider_records
from router.tables import ProviderRow
from store.ids import ProviderId, wire
from store.postgres import Database


class RewrappedCredentials(msgspec.Struct, frozen=True):
    """Names of providers: wrapped again, wrapped by the first key already, and those whose key is not set."""

    resealed: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()


async def rewrap_credentials(db: Database, actor: Actor, cipher: CredentialCipher) -> RewrappedCredentials:
    """Wrap all that the first key does not wrap yet, each in a transaction of its own: one failure stops no other."""
    async with db.transaction() as connection:
        records = [record for record in await load_provider_records(connection) if record.sealed is not None]
    old = [record for record in records if record.sealed is not None and not cipher.is_wrapped_by_first(record.sealed)]
    unreadable: list[str] = []
    for record in old:
        try:
            await transact(db, actor, partial(_rewrap, cipher=cipher, record=record))
        except CredentialUnreadable:
            unreadable.append(record.name)
    names = [record.name for record in old if record.name not in unreadable]
    return RewrappedCredentials(tuple(names), tuple(r.name for r in records if r not in old), tuple(unreadable))


async def _rewrap(work: UnitOfWork, cipher: CredentialCipher, record: ProviderRecord) -> None:
    query = select(ProviderRow.sealed).where(ProviderRow.id == record.id).with_for_update()
    stored = await work.connection.scalar(query)
    if stored is not None:
        wrapped = update(ProviderRow).where(ProviderRow.id == record.id).values(sealed=cipher.rewrap(stored))
        await work.connection.execute(wrapped)
    work.record_change(Change("provider.reseal", wire(ProviderId, record.id)))
