"""Postgres changes -> this process's memory: keys, operators, catalogue, prices, endpoints, providers. Not per call.

One connection of its own LISTENs. Every two seconds it is asked for a sign of life, whose answer also proves that all
earlier notifications have arrived; every ten, everything is read again all the same. While that does not work the key
index says so, and an unknown key is then "we cannot tell" and not "no".
"""

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from uuid import UUID

import asyncpg
import structlog
from sqlalchemy import ColumnElement
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.prices import list_prices
from catalog.models import Catalog, load_models
from router.errors import StoreUnavailable
from router.identity.authenticate import KeyIndex
from router.identity.key_loading import IN_FORCE, changed_within, of_accounts, of_keys, read_keys
from router.identity.operators import OperatorIndex, read_operators
from router.registry.endpoints import list_endpoints
from router.registry.indexes import EndpointIndex, PriceIndex, ProviderIndex
from router.registry.providers import provider_records
from store.ids import KeyId
from store.postgres import CONNECTION_LOST, Connection, Database

__all__ = ["EndpointIndex", "KeyIndex", "PriceIndex", "ProviderIndex", "Refresher"]

CHANNEL = "gigarouter_changed"
BEAT_S = 2.0
POLL_S = 10.0
CATCH_UP_PAUSE_S = 0.02
READ_DEADLINE_S = 10.0
# A hundred thousand keys take about five seconds.
READ_ALL_DEADLINE_S = 60.0
# A transaction that took longer than this between its change and its commit is only seen by notification.
OVERLAP_S = 60.0
BACKOFF_S = (0.1, 5.0)
# Above it, one full load is cheaper than asking for each.
MANY = 1_000

FAULTS = (SQLAlchemyError, asyncpg.PostgresError, *CONNECTION_LOST)
CATALOG = frozenset({"models", "model_aliases", "license_claims", "license_resolutions", "license_waivers"})
ENDPOINTS = frozenset({"endpoints", "providers"})
OPERATORS = frozenset({"operator_keys", "members"})
OF_ACCOUNTS = frozenset({"accounts", "license_acceptances"})

log = structlog.get_logger("router.registry.refresh")


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


class Refresher:
    """Owns the indexes. :meth:`load` once before the first call, then :meth:`run` until the process ends."""

    def __init__(self, db: Database, *, clock: Callable[[], datetime] = utc_now) -> None:
        self.keys = KeyIndex()
        self.operators = OperatorIndex()
        self.catalog = Catalog()
        self.prices = PriceIndex()
        self.endpoints = EndpointIndex()
        self.providers = ProviderIndex()
        self._db = db
        self._clock = clock
        self._changed: dict[str, set[str]] = defaultdict(set)
        self._wake = asyncio.Event()
        self._waiting: list[asyncio.Future[None]] = []
        self._callbacks: dict[str, list[Callable[[str], None]]] = defaultdict(list)

    async def catch_up(self, timeout_s: float = 1.0) -> None:
        """Wait until every change that was committed before now is in memory; at most ``timeout_s``.

        For what was made a moment ago elsewhere, such as a key. All who wait share one question to Postgres.
        """
        caught_up = asyncio.get_running_loop().create_future()
        self._waiting.append(caught_up)
        self._wake.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await caught_up

    @property
    def stale(self) -> bool:
        """Whether changes no longer arrive here."""
        return not self.keys.is_fresh(self._clock())

    def on_change(self, table: str, callback: Callable[[str], None]) -> None:
        """Call back with the id of each row of a table that changed, after memory has it; "" means any of them.

        Callbacks of ``providers`` run just before memory has the endpoints that need them.
        """
        self._callbacks[table].append(callback)

    async def load(self) -> None:
        """Read everything. Raises ``StoreUnavailable``."""
        began = self._clock()
        try:
            await self._read_all()
        except FAULTS as fault:
            raise StoreUnavailable("Postgres cannot be reached. Try again shortly.", detail=repr(fault)) from fault
        self.keys.heard(began)

    async def run(self) -> None:
        """Follow until cancelled; a lost connection is made anew, with growing pauses."""
        pause_s = BACKOFF_S[0]
        while True:
            heard_before = self.keys.is_fresh(self._clock())
            try:
                await self._follow()
            except FAULTS as fault:
                self.keys.deaf()
                pause_s = BACKOFF_S[0] if heard_before else min(pause_s * 2, BACKOFF_S[1])
                log.warning("refresh_lost", fault=type(fault).__name__, pause_s=pause_s)
                await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - spreads reconnects

    async def _follow(self) -> None:
        connection = await self._db.connect(command_timeout_s=BEAT_S)
        try:
            await connection.add_listener(CHANNEL, self._hear)
            connection.add_termination_listener(lambda _: self._wake.set())
            began = self._clock()
            await self._read_all()
            self.keys.heard(began)
            await self._follow_on(connection)
        finally:
            connection.terminate()

    async def _follow_on(self, connection: Connection) -> None:
        loop = asyncio.get_running_loop()
        poll_at = loop.time() + POLL_S
        while True:
            try:
                async with asyncio.timeout(BEAT_S):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            began = self._clock()
            waiting, self._waiting = self._waiting, []
            await connection.execute("SELECT 1")
            changed, self._changed = self._changed, defaultdict(set)
            if loop.time() >= poll_at:
                await self._poll()
                poll_at = loop.time() + POLL_S
            if changed:
                await self._read_changed(changed)
            self.keys.heard(began)
            for caught_up in waiting:
                if not caught_up.done():
                    caught_up.set_result(None)
            if waiting:
                # Unknown keys may be tried without end: one question at a time, not one each.
                await asyncio.sleep(CATCH_UP_PAUSE_S)

    def _hear(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        table, _, row_id = str(payload).partition(":")
        self._changed[table].add(row_id)
        self._wake.set()

    async def _read_all(self) -> None:
        async with asyncio.timeout(READ_ALL_DEADLINE_S), self._db.transaction() as connection:
            known = await self._read_keys(connection, IN_FORCE)
            self.keys.keep_only(known)
            await self._read_lists(connection)
        self._tell({table: {""} for table in self._callbacks if table != "providers"})

    async def _poll(self) -> None:
        """What a lost notification would have told: the short lists, and the keys that changed of late."""
        async with asyncio.timeout(READ_DEADLINE_S), self._db.transaction() as connection:
            await self._read_keys(connection, changed_within(POLL_S + OVERLAP_S))
            await self._read_lists(connection)

    async def _read_lists(self, connection: AsyncConnection) -> None:
        self.catalog.replace(await load_models(connection))
        self.prices.replace(await list_prices(connection))
        self.operators.replace(await read_operators(connection))
        await self._read_endpoints(connection, {""})

    async def _read_endpoints(self, connection: AsyncConnection, provider_ids: set[str]) -> None:
        providers = await provider_records(connection)
        enabled = {provider.id for provider in providers if provider.enabled}
        found = [view.endpoint for view in await list_endpoints(connection)]
        endpoints = [endpoint for endpoint in found if endpoint.provider_id in enabled]
        # No await from here on: an endpoint is never there before what speaks to its provider.
        self.providers.replace(providers)
        self._tell({"providers": provider_ids})
        self.endpoints.replace(endpoints)

    async def _read_changed(self, changed: dict[str, set[str]]) -> None:
        keys, accounts = changed.get("keys", set()), set().union(*(changed.get(table, set()) for table in OF_ACCOUNTS))
        if "" in keys | accounts or len(keys) + len(accounts) > MANY:
            await self._read_all()
            return
        async with asyncio.timeout(READ_DEADLINE_S), self._db.transaction() as connection:
            if keys:
                await self._read_keys(connection, of_keys([UUID(key) for key in keys]))
            if accounts:
                await self._read_keys(connection, of_accounts([UUID(account) for account in accounts]))
            if changed.keys() & CATALOG:
                self.catalog.replace(await load_models(connection))
            if changed.keys() & OPERATORS:
                self.operators.replace(await read_operators(connection))
            if "prices" in changed:
                self.prices.replace(await list_prices(connection))
            if changed.keys() & ENDPOINTS:
                await self._read_endpoints(connection, changed.get("providers", {""}))
        self._tell({table: ids for table, ids in changed.items() if table != "providers"})

    async def _read_keys(self, connection: AsyncConnection, which: ColumnElement[bool]) -> set[KeyId]:
        seen: set[KeyId] = set()
        async for page in read_keys(connection, which):
            for key_id, by_digest in page.items():
                self.keys.put(key_id, by_digest)
            seen |= page.keys()
        return seen

    def _tell(self, changed: dict[str, set[str]]) -> None:
        for table, row_ids in changed.items():
            for callback in self._callbacks[table]:
                for row_id in row_ids:
                    callback(row_id)
