"""Reads the keys of an account that work now, for whoever chooses one to try a model with."""

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog.values import Use
from router.identity.keys import LIVE, TEST
from store.ids import AccountId, KeyId

KEYS_MAX = 100

_READ = text("""
SELECT id, name, handle, last4, is_test, use FROM keys
WHERE account_id = :account AND revoked_at IS NULL AND NOT paused AND (expires_at IS NULL OR expires_at > now())
ORDER BY is_test, id DESC LIMIT :most
""")


class UsableKey(msgspec.Struct, frozen=True):
    """A key that works now. ``masked`` is its beginning and end, no secret."""

    id: KeyId
    name: str
    masked: str
    is_test: bool
    use: Use


async def read_usable_keys(connection: AsyncConnection, account_id: AccountId) -> tuple[UsableKey, ...]:
    """Read the newest keys of an account that are neither revoked, paused nor expired; those for tests come last."""
    rows = await connection.execute(_READ, {"account": account_id, "most": KEYS_MAX})
    return tuple(
        UsableKey(
            KeyId(row.id),
            row.name,
            f"{TEST if row.is_test else LIVE}{row.handle[:4]}…{row.last4}",
            row.is_test,
            Use(row.use),
        )
        for row in rows
    )
