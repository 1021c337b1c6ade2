"""Rotates the secret keys: wraps every data key again by the first one, while calls go on.

Data keys encrypt providers' credentials, and what answers under an Idempotency-Key show once.
"""

import msgspec
from sqlalchemy import select, tuple_, update

from router.changes.audit import Change
from router.changes.transaction import UnitOfWork
from router.registry.encryption import CredentialCipher, CredentialUnreadable
from router.tables import IdempotencyRow, ProviderRow
from store.ids import ProviderId, wire


class RewrappedCredentials(msgspec.Struct, frozen=True):
    """Names of providers: wrapped again, wrapped by the first key already, and those whose key is not set.

    ``answers`` counts the stored answers whose secrets were wrapped again. One that cannot be read is left as it is:
    its secret key is not set, and it is deleted within three days.
    """

    resealed: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    answers: int = 0


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
    answers = await _rewrap_answers(work, cipher)
    done = RewrappedCredentials(tuple(resealed), tuple(unchanged), tuple(unreadable), answers)
    work.record_change(Change("providers.reseal", "providers", after=msgspec.to_builtins(done)))
    return done


async def _rewrap_answers(work: UnitOfWork, cipher: CredentialCipher) -> int:
    primary_key = (IdempotencyRow.account_id, IdempotencyRow.operation, IdempotencyRow.key)
    query = select(*primary_key, IdempotencyRow.sealed).where(IdempotencyRow.sealed.is_not(None))
    rewrapped = 0
    for row in await work.connection.execute(query.order_by(*primary_key).with_for_update()):
        if cipher.is_wrapped_by_first(row.sealed):
            continue
        try:
            wrapped = cipher.rewrap(row.sealed)
        except CredentialUnreadable:
            continue
        this_row = tuple_(*primary_key) == (row.account_id, row.operation, row.key)
        await work.connection.execute(update(IdempotencyRow).where(this_row).values(sealed=wrapped))
        rewrapped += 1
    return rewrapped
