"""Postgres for the simulation: the statements of billing, each one step, on rows in memory.

What the SQL functions do is written again here, so this proves the protocol around them; that they do it is proved by
the tests on a real Postgres (``tests/parts/billing/test_leases.py``).
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from billing import charging, debt, generation, projection, reaper
from store.clock import Clock
from tests.harness.simulation.virtual_time import Gate, Link, VirtualLoop, Wire

Row = SimpleNamespace
EPOCH_S = datetime(2026, 11, 27, tzinfo=UTC).timestamp()
# A statement on a raw connection that has no answer by then fails, and may be done all the same.
COMMAND_TIMEOUT_S = 10.0


class PostgresModel:
    """The rows, and one method per statement. ``has_leases`` False is the product without its fence at the commit."""

    def __init__(self, clock: Callable[[], float], *, has_leases: bool = True) -> None:
        self.gate = Gate()
        self._clock = clock
        self._has_leases = has_leases
        self.generation, self.run_id = 1, ""
        self.processes: dict[UUID, Row] = {}
        self.leases: set[tuple[UUID, int]] = set()
        self.loaded: set[tuple[int, UUID]] = set()
        self.asserted: Counter[tuple[int, UUID]] = Counter()
        self.accounts: dict[UUID, Row] = {}
        self.ended: dict[UUID, Row] = {}
        self.overdraft = 0
        self._statements: dict[object, Callable[..., list[Row]]] = {
            generation._READ: lambda: [Row(generation=self.generation)],
            generation._BUMP_RUN: self._bump_run,
            generation._BUMP_LOST: self._bump_lost,
            generation._JOIN: self._join,
            generation._BEAT: self._beat,
            generation._ENTER: self._enter,
            generation._OPEN: self._open,
            projection._POSTED: lambda account_id: [self._credit(account_id)],
            projection._FIRST_LOAD: self._first_load,
            debt._DEBT: lambda account_id: [Row(value=0)],
            reaper._RELEASE: self._release,
            reaper._BILLED: lambda calls: [Row(request_id=call, tokens=1) for call in calls],
            reaper._VERSIONS: lambda accounts: [self._credit(account) for account in accounts],
        }

    def now(self) -> datetime:
        return datetime.fromtimestamp(EPOCH_S + self._clock(), UTC)

    def grant(self, account: UUID, amount: int) -> None:
        credit = self.accounts.setdefault(account, Row(account_id=account, posted_nano=0, version=0, spends=[]))
        credit.posted_nano += amount
        credit.version += 1

    def execute(self, statement: object, values: Mapping[str, Any]) -> list[Row]:
        return self._statements[statement](**values)

    def _credit(self, account: UUID) -> Row:
        return Row(**vars(self.accounts[account]))

    def _bump_run(self, run_id: str, reason: str) -> list[Row]:
        if run_id != self.run_id:
            self.run_id = run_id
            self.generation += 1
        return []

    def _bump_lost(self, generation: int, reason: str) -> list[Row]:
        self.generation += self.generation == generation
        return []

    def _join(self, id: UUID, kind: str) -> list[Row]:
        self.processes.setdefault(id, Row(seen=self._clock(), asserted=0))
        return []

    def _beat(self, id: UUID, offset: float) -> list[Row]:
        if id in self.processes:
            self.processes[id].seen = self._clock()
        return [Row(generation=self.generation, members=int(id in self.processes))]

    def _enter(self, id: UUID, generation: int, accounts: list[UUID], holds: list[int]) -> list[Row]:
        if generation != self.generation:
            return [Row(value="older")]
        if id not in self.processes:
            return [Row(value="expelled")]
        self.processes[id].asserted = generation
        if (id, generation) not in self.leases:
            self.leases.add((id, generation))
            self.asserted.update({(generation, a): n for a, n in zip(accounts, holds, strict=True)})
        return [Row(value="entered")]

    def _open(self, generation: int, dead: float) -> list[Row]:
        behind = {id for id, process in self.processes.items() if process.asserted < generation}
        silent = {id for id in behind if self.processes[id].seen < self._clock() - dead}
        for id in silent:
            del self.processes[id]
        if behind == silent:
            self.leases = {lease for lease in self.leases if lease[1] >= generation}
        return [Row(value=len(behind - silent))]

    def _first_load(self, generation: int, account_id: UUID) -> list[Row]:
        if (generation, account_id) in self.loaded:
            return [Row(value=None)]
        self.loaded.add((generation, account_id))
        return [Row(value=self.asserted[generation, account_id])]

    def _release(self, calls: list[UUID], payers: list[UUID], dues: list[datetime]) -> list[Row]:
        for call, due in zip(calls, dues, strict=True):
            if due <= self.now():
                self.ended.setdefault(call, Row(request_id=call, outcome="released"))
        return [self.ended[call] for call in calls if call in self.ended]

    def charge(self, process: UUID, number: int, *columns: list[Any]) -> list[dict[str, Any]]:
        """``charge_leased_calls``: all of it is one transaction."""
        rows = []
        is_leased = (process, number) in self.leases or not self._has_leases
        versions: dict[UUID, int] = {}
        for call, payer, cost in zip(columns[0], columns[1], columns[13], strict=True):
            ended = self.ended.get(call)
            if ended is not None or not is_leased:
                outcome = charging.LEASE_LOST if ended is None else ended.outcome.replace("charged", "already")
                row = vars(ended) if ended is not None and outcome == "already" else {}
                charged, version = row.get("charged_nano", 0), row.get("version")
            else:
                credit = self.accounts[payer]
                outcome, charged = "charged", min(cost, credit.posted_nano)
                if payer not in versions:
                    credit.version += 1
                version = versions[payer] = credit.version
                credit.posted_nano -= charged
                self.overdraft += cost - charged
                self.ended[call] = Row(request_id=call, outcome=outcome, charged_nano=charged, version=version)
            rows.append(
                {
                    "request_id": call,
                    "outcome": outcome,
                    "charged_nano": charged,
                    "overdraft_nano": 0,
                    "version": version,
                    "entry_id": None,
                }
            )
        return rows


class SimulatedDatabase:
    """The part of :class:`store.postgres.Database` that billing uses, over one process' link.

    A pooled connection that hears nothing waits, as the product's do, until its network is back.
    """

    def __init__(self, loop: VirtualLoop, link: Link, postgres: PostgresModel, wall_offset_s: float = 0.0) -> None:
        self.clock = Clock(lambda: EPOCH_S + loop.time() + wall_offset_s, loop.time)
        self._loop, self._link, self._postgres = loop, link, postgres
        self._idle: list[Wire] = []

    @asynccontextmanager
    async def statements(self) -> AsyncIterator["_Connection"]:
        wire = self._idle.pop() if self._idle else Wire(self._loop, self._link)
        sent = self.clock.elapsed()
        self.clock.observe(await wire.request(self._postgres.now), sent, self.clock.elapsed())
        yield _Connection(wire, self._postgres)
        self._idle.append(wire)

    transaction = statements

    async def connect(self) -> "_RawConnection":
        wire = Wire(self._loop, self._link)
        return _RawConnection(wire, self._postgres)


class _Result:
    def __init__(self, rows: list[Row]) -> None:
        self._rows = rows

    def one(self) -> Row:
        assert len(self._rows) == 1
        return self._rows[0]

    one_or_none = one

    def all(self) -> list[Row]:
        return self._rows

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows)


class _Connection:
    def __init__(self, wire: Wire, postgres: PostgresModel) -> None:
        self._wire, self._postgres = wire, postgres

    async def execute(self, statement: object, values: Mapping[str, Any] | None = None) -> _Result:
        return _Result(await self._wire.request(lambda: self._postgres.execute(statement, values or {})))

    async def scalar(self, statement: object, values: Mapping[str, Any]) -> Any:
        return (await self.execute(statement, values)).one().value


class _RawConnection:
    """asyncpg's, as :mod:`billing.charging` uses it."""

    def __init__(self, wire: Wire, postgres: PostgresModel) -> None:
        self._wire, self._postgres = wire, postgres

    def is_closed(self) -> bool:
        return False

    def terminate(self) -> None:
        """What was sent stays sent."""

    async def fetch(self, _statement: str, *columns: Any) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]]
        async with asyncio.timeout(COMMAND_TIMEOUT_S):
            rows = await self._wire.request(lambda: self._postgres.charge(*columns))
        return rows
