"""Rules of what an account's own people may do with its keys, beside what :mod:`router.identity.key_commands` says."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.values import Limits
from router.changes.transaction import UnitOfWork
from router.errors import Conflict, InvalidRequest, NotFound
from router.identity.key_views import KeySpec, KeyView, get_key
from store.ids import AccountId, KeyId, wire

# Those that are not revoked; each is in the memory of every process.
KEYS_MAX = 5_000
# Each change is a row of the audit, which stays.
CHANGES_A_DAY_MAX = 1_000
_COUNT = text("SELECT count(*) FROM keys WHERE account_id = :account AND revoked_at IS NULL")
_CHANGES = text(
    "SELECT count(*) FROM audit WHERE account_id = :account AND action LIKE 'key.%' AND at > now() - interval '1 day'"
)


async def get_own_key(
    connection: AsyncConnection, account_id: AccountId, key_id: KeyId, *, locked: bool = False
) -> KeyView:
    """Read a key of the account. Raises ``NotFound``, the same for one of another account."""
    try:
        view = await get_key(connection, key_id, locked=locked)
    except NotFound:
        view = None
    if view is None or view.account_id != account_id:
        raise NotFound(f"This account has no key {wire(KeyId, key_id)}.", param="key")
    return view


async def require_room_for_key(work: UnitOfWork, account_id: AccountId) -> None:
    """Raise ``Conflict`` where the account has as many keys as it may have."""
    if (await work.connection.execute(_COUNT, {"account": account_id})).scalar_one() >= KEYS_MAX:
        raise Conflict(f"The account has {KEYS_MAX} keys that are not revoked. Revoke those that nobody uses.")


async def require_few_key_changes(work: UnitOfWork, account_id: AccountId) -> None:
    """Raise ``Conflict`` where the account's keys were changed so often within a day that it is enough."""
    if (await work.connection.execute(_CHANGES, {"account": account_id})).scalar_one() >= CHANGES_A_DAY_MAX:
        raise Conflict(f"The account's keys were changed {CHANGES_A_DAY_MAX} times within a day. Try tomorrow.")


def require_limits(spec: KeySpec, before: Limits) -> None:
    """Raise ``InvalidRequest`` for a limit above the usual one and above what the key has: operators raise them."""
    usual = Limits()
    for name in Limits.__struct_fields__:
        most = max(getattr(usual, name), getattr(before, name))
        if getattr(spec.limits, name) > most:
            raise InvalidRequest(f"'{name}' is at most {most}; our operators can raise it.", param=name)
