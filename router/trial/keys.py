"""Reads the keys of accounts that work now, for whoever chooses one to try a model with."""

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog.values import Use
from router.identity.keys import LIVE, TEST
from store.ids import AccountId, KeyId

KEYS_MAX = 100

_READ = text("""
SELECT k.* FROM unnest(CAST(:accounts AS uuid[])) WITH ORDINALITY a (id, place) CROSS JOIN LATERAL (
    SELECT id, account_id, name, handle, last4, is_test, use FROM keys
    WHERE account_id = a.id AND revoked_at IS NULL AND NOT paused AND (expires_at IS NULL OR expires_at > now())
    ORDER BY is_test, id DESC LIMIT :most
) k ORDER BY a.place, k.is_test, k.id DESC
""")


class UsableKey(msgspec.Struct, frozen=True):
    """A key that works now. ``masked`` is its beginning and end, no secret."""

    id: KeyId
    account_id: AccountId
    name: str
    masked: str
    is_test: bool
    use: Use


async def read_usable_keys(connection: AsyncConnection, *account_ids: AccountId) -> tuple[UsableKey, ...]:
    """Read each account's newest keys that are neither revoked, paused nor expired; its keys for tests come last."""
    rows = await connection.execute(_READ, {"accounts": list(account_ids), "most": KEYS_MAX})
    return tuple(
        UsableKey(
            KeyId(row.id),
            AccountId(row.account_id),
            row.name,
            f"{TEST if row.is_test else LIVE}{row.handle[:4]}…{row.last4}",
            row.is_test,
            Use(row.use),
        )
        for row in rows
    )
