"""Refreshes a process's memory from Postgres: keys, operators, catalogue, prices, endpoints, providers. Not per call.

One connection of its own LISTENs. Every two seconds it runs a query, whose answer also proves that all earlier
notifications have arrived; every ten, the short lists and the keys that changed of late are read again all the same.
While that does not work the key index says so, and an unknown key is then "we cannot tell" and not "no".
"""

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from uuid import UUID

import asyncpg
import structlog
from sqlalchemy import ColumnElement
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.contracts.store import list_terms
from billing.prices import list_prices
from catalog.models import Catalog, load_models
from router.errors import StoreUnavailable
from router.identity.authenticate import KeyIndex
from router.identity.key_loading import NOT_REVOKED, by_account, by_change, by_key, read_keys
from router.identity.operators import OperatorIndex, load_operators
from router.registry.endpoints import list_endpoints
from router.registry.indexes import EndpointIndex, PriceIndex, ProviderIndex
from router.registry.providers import load_provider_records
from store.ids import KeyId
from store.postgres import CONNECTION_LOST, Connection, Database

__all__ = ["EndpointIndex", "KeyIndex", "PriceIndex", "ProviderIndex", "Refresher"]

CHANNEL = "gigarouter_changed"
HEARTBEAT_S = 2.0
POLL_S = 10.0
CATCH_UP_PAUSE_S = 0.02
READ_DEADLINE_S = 10.0
# A hundred thousand keys take about five seconds.
READ_ALL_DEADLINE_S = 60.0
# A transaction that took longer than this between its change and its commit is only seen by notification.
OVERLAP_S = 60.0
RECONNECT_MIN_S, RECONNECT_MAX_S = 0.1, 5.0
# Above so many changed keys and accounts, one full load is cheaper than reading each.
FULL_LOAD_ABOVE = 1_000

FAULTS = (SQLAlchemyError, asyncpg.PostgresError, *CONNECTION_LOST)
CATALOG_TABLES = frozenset({"models", "model_aliases", "license_claims", "license_resolutions", "license_waivers"})
ENDPOINT_TABLES = frozenset({"endpoints", "providers"})
PRICE_TABLES = frozenset({"prices", "contracts", "contract_ends"})
OPERATOR_TABLES = frozenset({"operator_keys", "members"})
ACCOUNT_TABLES = frozenset({"accounts", "account_caps", "license_acceptances"})

log = structlog.get_logger("router.registry.refresh")


class Refresher:
    """Owns the indexes and keeps them fresh: :meth:`load` before the first call, then :meth:`run` until the end."""

    def __init__(self, db: Database, *, clock: Callable[[], datetime] | None = None) -> None:
        self.keys = KeyIndex()
        self.operators = OperatorIndex()
        self.catalog = Catalog()
        self.prices = PriceIndex()
        self.endpoints = EndpointIndex()
        self.providers = ProviderIndex()
        self._db = db
        self._clock = clock or db.clock.now
        self._changed: dict[str, set[str]] = defaultdict(set)
        self._wake = asyncio.Event()
        self._waiters: list[asyncio.Future[None]] = []
        self._callbacks: dict[str, list[Callable[[str], None]]] = defaultdict(list)

    async def catch_up(self, timeout_s: float = 1.0) -> None:
        """Wait until every change that was committed before now is in memory; at most ``timeout_s``.

        For a row that another process made a moment ago, such as a key. All callers share one query.
        """
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._wake.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await waiter

    @property
    def stale(self) -> bool:
        """Whether changes no longer arrive in this process."""
        return not self.keys.is_fresh(self._clock())

    def on_change(self, table: str, callback: Callable[[str], None]) -> None:
        """Call ``callback`` with the id of each row of a table that changed, once it is in memory; "" means any row.

        Callbacks of ``providers`` run just before memory has the endpoints that need them.
        """
        self._callbacks[table].append(callback)

    async def load(self) -> None:
        """Load everything. Raises ``StoreUnavailable``."""
        began = self._clock()
        try:
            await self._read_all()
        except FAULTS as fault:
            raise StoreUnavailable("Postgres cannot be reached. Try again shortly.", detail=repr(fault)) from fault
        self.keys.mark_fresh(began)

    async def run(self) -> None:
        """Follow Postgres' changes until cancelled, and reconnect with growing pauses where the connection is lost."""
        pause_s = RECONNECT_MIN_S
        while True:
            was_fresh = self.keys.is_fresh(self._clock())
            try:
                await self._listen()
            except FAULTS as fault:
                self.keys.mark_stale()
                pause_s = RECONNECT_MIN_S if was_fresh else min(pause_s * 2, RECONNECT_MAX_S)
                log.warning("refresh_lost", fault=type(fault).__name__, pause_s=pause_s)
                await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - spreads reconnects

    async def _listen(self) -> None:
        connection = await self._db.connect(command_timeout_s=HEARTBEAT_S)
        try:
            await connection.add_listener(CHANNEL, self._on_notification)
            connection.add_termination_listener(lambda _: self._wake.set())
            began = self._clock()
            await self._read_all()
            self.keys.mark_fresh(began)
            await self._apply_changes(connection)
        finally:
            connection.terminate()

    async def _apply_changes(self, connection: Connection) -> None:
        """Read what notifications name, until the connection is lost."""
        loop = asyncio.get_running_loop()
        poll_at = loop.time() + POLL_S
        while True:
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            began = self._clock()
            waiters, self._waiters = self._waiters, []
            await connection.execute("SELECT 1")
            changed, self._changed = self._changed, defaultdict(set)
            if loop.time() >= poll_at:
                await self._poll()
                poll_at = loop.time() + POLL_S
            if changed:
                await self._read_changed(changed)
            self.keys.mark_fresh(began)
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)
            if waiters:
                # Unknown keys may be tried without end: one query at a time, not one each.
                await asyncio.sleep(CATCH_UP_PAUSE_S)

    def _on_notification(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        table, _, row_id = str(payload).partition(":")
        self._changed[table].add(row_id)
        self._wake.set()

    async def _read_all(self) -> None:
        async with asyncio.timeout(READ_ALL_DEADLINE_S), self._db.transaction() as connection:
            key_ids = await self._read_keys(connection, NOT_REVOKED)
            self.keys.retain(key_ids)
            await self._read_lists(connection)
        self._call_back({table: {""} for table in self._callbacks if table != "providers"})

    async def _poll(self) -> None:
        """Read what a lost notification would have named: the short lists, and the keys that changed of late."""
        async with asyncio.timeout(READ_DEADLINE_S), self._db.transaction() as connection:
            await self._read_keys(connection, by_change(POLL_S + OVERLAP_S))
            await self._read_lists(connection)

    async def _read_lists(self, connection: AsyncConnection) -> None:
        self.catalog.replace(await load_models(connection))
        self.prices.replace(await list_prices(connection), await list_terms(connection))
        self.operators.replace(await load_operators(connection))
        await self._read_endpoints(connection, {""})

    async def _read_endpoints(self, connection: AsyncConnection, provider_ids: set[str]) -> None:
        providers = await load_provider_records(connection)
        enabled = {provider.id for provider in providers if provider.enabled}
        views = await list_endpoints(connection)
        endpoints = [view.endpoint for view in views if view.endpoint.provider_id in enabled]
        # No await from here on: an endpoint is never there before what speaks to its provider.
        self.providers.replace(providers)
        self._call_back({"providers": provider_ids})
        self.endpoints.replace(endpoints)

    async def _read_changed(self, changed: dict[str, set[str]]) -> None:
        keys, accounts = changed.get("keys", set()), set().union(*(changed.get(name, set()) for name in ACCOUNT_TABLES))
        if "" in keys | accounts or len(keys) + len(accounts) > FULL_LOAD_ABOVE:
            await self._read_all()
            return
        async with asyncio.timeout(READ_DEADLINE_S), self._db.transaction() as connection:
            if keys:
                await self._read_keys(connection, by_key([UUID(key) for key in keys]))
            if accounts:
                await self._read_keys(connection, by_account([UUID(account) for account in accounts]))
            if changed.keys() & CATALOG_TABLES:
                self.catalog.replace(await load_models(connection))
            if changed.keys() & OPERATOR_TABLES:
                self.operators.replace(await load_operators(connection))
            if changed.keys() & PRICE_TABLES:
                self.prices.replace(await list_prices(connection), await list_terms(connection))
            if changed.keys() & ENDPOINT_TABLES:
                await self._read_endpoints(connection, changed.get("providers", {""}))
        self._call_back({table: ids for table, ids in changed.items() if table != "providers"})

    async def _read_keys(self, connection: AsyncConnection, which: ColumnElement[bool]) -> set[KeyId]:
        key_ids: set[KeyId] = set()
        async for page in read_keys(connection, which):
            for key_id, by_digest in page.items():
                self.keys.put(key_id, by_digest)
            key_ids |= page.keys()
        return key_ids

    def _call_back(self, changed: dict[str, set[str]]) -> None:
        for table, row_ids in changed.items():
            for callback in self._callbacks[table]:
                for row_id in row_ids:
                    callback(row_id)
