"""Reads when keys were used last, which the log of calls notes at most once a minute for each."""

from collections.abc import Collection

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from router.statistics.collect import KeyUse
from store.ids import KeyId

_READ = text("SELECT key_id, used_at, network::text, client FROM key_uses WHERE key_id = ANY(CAST(:ids AS uuid[]))")


async def read_key_uses(connection: AsyncConnection, key_ids: Collection[KeyId]) -> dict[KeyId, KeyUse]:
    """Read the last use of each of some keys that was used."""
    rows = await connection.execute(_READ, {"ids": list(key_ids)})
    return {KeyId(row.key_id): KeyUse(row.used_at, row.network, row.client) for row in rows}
