"""Holds the statistics of all endpoints in a process's memory, read again when they are a quarter of a minute old.

So a page that anybody may read costs Postgres no more than a few statements a minute.
"""

import asyncio
from datetime import datetime, timedelta

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from router.statistics.read import (
    NO_STATISTICS,
    EndpointStatistics,
    StatisticsState,
    read_endpoint_statistics,
    read_state,
)
from store.ids import EndpointId
from store.postgres import STORE_FAULTS, Database

FRESH_FOR = timedelta(seconds=15)
_LAST_CHECKS = text("""
    SELECT e.id, last.at, last.verdict FROM endpoints e CROSS JOIN LATERAL (
        SELECT at, verdict FROM probes WHERE endpoint_id = e.id ORDER BY at DESC LIMIT 1
    ) last
""")


class SpaceCheck(msgspec.Struct, frozen=True):
    """The latest verification of an endpoint: whether it serves the space that it claims."""

    at: datetime
    verdict: str


class StatisticsSnapshot(msgspec.Struct, frozen=True):
    """The statistics and the latest checks of all endpoints, of one instant."""

    read_at: datetime
    state: StatisticsState
    endpoints: dict[EndpointId, EndpointStatistics]
    checks: dict[EndpointId, SpaceCheck]

    def of(self, endpoint: EndpointId) -> EndpointStatistics:
        """The statistics of one endpoint."""
        return self.endpoints.get(endpoint, NO_STATISTICS)


class StatisticsMemory:
    """The snapshot that a process has. Raises what Postgres does, where it has to be read and cannot be."""

    def __init__(self) -> None:
        self._snapshot: StatisticsSnapshot | None = None
        self._reading = asyncio.Lock()

    async def known(self, db: Database) -> StatisticsSnapshot | None:
        """The same; None where Postgres cannot be read, so that a page can say that figures are not known."""
        try:
            return await self.snapshot(db)
        except STORE_FAULTS:
            return None

    async def snapshot(self, db: Database) -> StatisticsSnapshot:
        """The statistics as of at most a quarter of a minute ago."""
        async with self._reading:
            now = db.clock.now()
            if self._snapshot is None or now - self._snapshot.read_at > FRESH_FOR:
                async with db.transaction() as tx:
                    self._snapshot = await read_snapshot(tx, now)
            return self._snapshot


async def read_snapshot(tx: AsyncConnection, now: datetime) -> StatisticsSnapshot:
    """Read the statistics and the latest checks of all endpoints."""
    checks = {EndpointId(row.id): SpaceCheck(row.at, row.verdict) for row in await tx.execute(_LAST_CHECKS)}
    return StatisticsSnapshot(now, await read_state(tx), await read_endpoint_statistics(tx), checks)
