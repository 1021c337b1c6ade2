"""Bounds how long the keys of an account may work: a setting of its owners, for keys and management keys alike.

The bound holds for what is made, edited or rotated from then on. A key that there was before is listed as exceeding it,
and stays as it is until somebody edits or rotates it.
"""

from datetime import datetime, timedelta

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from router.changes.audit import Change
from router.changes.transaction import UnitOfWork
from router.errors import InvalidRequest, NotFound
from router.tables import Json
from store.ids import AccountId, wire

MAX_DAYS_MOST = 3_650

_READ = text("SELECT max_days FROM key_policies WHERE account_id = :account")
_READ_WITH_COUNTS = text("""
    SELECT p.max_days,
        (SELECT count(*) FROM keys k WHERE k.account_id = a.id AND k.revoked_at IS NULL AND p.max_days IS NOT NULL
            AND coalesce(k.expires_at, 'infinity') > now() + make_interval(days => p.max_days)) AS keys,
        (SELECT count(*) FROM management_keys k WHERE k.account_id = a.id AND k.revoked_at IS NULL
            AND p.max_days IS NOT NULL
            AND coalesce(k.expires_at, 'infinity') > now() + make_interval(days => p.max_days)) AS management_keys
    FROM accounts a LEFT JOIN key_policies p ON p.account_id = a.id
    WHERE a.id = :account
""")
_LOCK = text("SELECT id FROM accounts WHERE id = :account FOR NO KEY UPDATE")
_WRITE = text("""
    INSERT INTO key_policies (account_id, max_days) VALUES (:account, :days)
    ON CONFLICT (account_id) DO UPDATE SET max_days = EXCLUDED.max_days, changed_at = now()
""")


class KeyPolicy(msgspec.Struct, frozen=True):
    """The longest life of a new key in days, None without a bound, and how many keys that work exceed it now."""

    max_days: int | None = None
    exceeding_keys: int = 0
    exceeding_management_keys: int = 0


def exceeds(expires_at: datetime | None, max_days: int | None, now: datetime) -> bool:
    """Whether a key that ends then works for longer than a new one may."""
    return max_days is not None and (expires_at is None or expires_at > latest_expiry(max_days, now))


def latest_expiry(max_days: int, now: datetime) -> datetime:
    """When a key ends at the latest that is made now, to the second."""
    return (now + timedelta(days=max_days)).replace(microsecond=0)


async def read_key_policy(connection: AsyncConnection, account_id: AccountId) -> KeyPolicy:
    """Read an account's bound, with what exceeds it. Raises ``NotFound``."""
    row = (await connection.execute(_READ_WITH_COUNTS, {"account": account_id})).one_or_none()
    if row is None:
        raise NotFound("There is no such account.", param="account")
    return KeyPolicy(row.max_days, row.keys, row.management_keys)


async def change_key_policy(work: UnitOfWork, account_id: AccountId, max_days: int | None) -> KeyPolicy:
    """Set an account's bound, or take it away. Raises ``NotFound``, ``InvalidRequest``."""
    if max_days is not None and not 1 <= max_days <= MAX_DAYS_MOST:
        raise InvalidRequest(f"A key may work for 1 to {MAX_DAYS_MOST} days.", param="max_days")
    before = await locked_key_policy(work.connection, account_id)
    await work.connection.execute(_WRITE, {"account": account_id, "days": max_days})
    after = await read_key_policy(work.connection, account_id)
    facts: tuple[Json, Json] = {"max_days": before.max_days}, {"max_days": after.max_days}
    work.record_change(Change("key_policy.change", wire(AccountId, account_id), account_id, *facts))
    return after


async def locked_key_policy(connection: AsyncConnection, account_id: AccountId) -> KeyPolicy:
    """Read an account's bound once no other may change it. Raises ``NotFound``."""
    await connection.execute(_LOCK, {"account": account_id})
    return await read_key_policy(connection, account_id)


async def bounded_expiry(
    connection: AsyncConnection, account_id: AccountId, wanted: datetime | None, now: datetime
) -> datetime | None:
    """When a key ends that shall end at ``wanted``: without one at the account's bound, where it has one.

    Raises ``InvalidRequest`` for a time beyond the bound, and names that.
    """
    max_days = await _max_days(connection, account_id)
    if max_days is None:
        return wanted
    latest = latest_expiry(max_days, now)
    if wanted is not None and wanted > latest:
        raise InvalidRequest(
            f"Keys of this account work for at most {max_days} days: until {latest:%Y-%m-%dT%H:%M:%SZ}. An owner of it "
            "can change that.",
            param="expires_at",
        )
    return wanted or latest


async def clamped_expiry(
    connection: AsyncConnection, account_id: AccountId, expires_at: datetime | None, now: datetime
) -> datetime | None:
    """When a key ends that exists, or whose end nobody has chosen: no later than the account's bound."""
    max_days = await _max_days(connection, account_id)
    return latest_expiry(max_days, now) if max_days is not None and exceeds(expires_at, max_days, now) else expires_at


async def _max_days(connection: AsyncConnection, account_id: AccountId) -> int | None:
    found: int | None = await connection.scalar(_READ, {"account": account_id})
    return found
