"""Tracks which life of Redis, its generation, is valid, and holds the barrier at the start of each.

Redis is a projection that can vanish or go back in time. Postgres keeps a generation number beside the identity of the
Redis it was counted for. A fresh connection that finds another identity, or an account that was loaded and is gone,
starts the next generation: every process asserts its live holds again, and calls are admitted under the new generation
only when all living processes have done so.

A charge belongs to a lease, the right of one process to charge in one generation, which Postgres checks at the commit.
The barrier deletes the leases of earlier generations and expels who was silent for too long: their late charges are
refused. An expelled process goes on under a new id, and its holds of before are void. A process that cannot reach
Postgres fences itself before others count it dead, so that it accepts no calls that it could not charge.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import msgspec
import structlog
from hiredis import ReplyError
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from store.ids import AccountId, ProcessId, new_id
from store.postgres import STORE_FAULTS, Database
from store.redis_client import RedisUnavailable

BEAT_S = 1.0
# A process unseen for DEAD_S is counted dead by the others; it fences itself earlier, on its own clock.
DEAD_S = 4.0
FENCED_S = 2.5

_READ = text("SELECT generation, run_id FROM hot_generation")
_BUMP_RUN = text(
    "UPDATE hot_generation SET generation = generation + 1, run_id = :run_id, bumped_at = now(), reason = :reason"
    " WHERE run_id <> :run_id RETURNING generation"
)
_BUMP_LOST = text(
    "UPDATE hot_generation SET generation = generation + 1, bumped_at = now(), reason = :reason"
    " WHERE generation = :generation RETURNING generation"
)
_JOIN = text("INSERT INTO processes (id, kind) VALUES (:id, :kind) ON CONFLICT DO NOTHING")
_BEAT = text(
    "WITH beat AS (UPDATE processes SET seen_at = clock_timestamp(), clock_offset_s = :offset WHERE id = :id"
    " RETURNING 1)"
    " SELECT generation, (SELECT count(*) FROM beat) AS members FROM hot_generation"
)
_ENTER = text("SELECT enter_generation(:id, :generation, CAST(:accounts AS uuid[]), CAST(:holds AS integer[]))")
_OPEN = text("SELECT open_generation(:generation, :dead)")
_LEAVE = text(
    "WITH gone AS (DELETE FROM processes WHERE id = :id RETURNING id)"
    " DELETE FROM charge_leases WHERE process_id IN (SELECT id FROM gone)"
)

_LOCK = text("SELECT 1 FROM charge_leases WHERE process_id = :id AND generation = :generation FOR KEY SHARE")
_FORGET = (
    text("DELETE FROM processes WHERE seen_at < now() - interval '1 day'"),
    text("DELETE FROM charge_leases WHERE process_id NOT IN (SELECT id FROM processes)"),
    text("DELETE FROM hot_accounts WHERE generation < (SELECT generation FROM hot_generation) - 10"),
    text("DELETE FROM hot_asserted WHERE generation < (SELECT generation FROM hot_generation) - 10"),
)

log = structlog.get_logger("billing.generation")


class Lease(msgspec.Struct, frozen=True):
    """The right of a process to charge what it holds in one generation."""

    process_id: ProcessId
    generation: int


async def locks_lease(tx: AsyncConnection, lease: Lease) -> bool:
    """Lock a lease until the transaction ends: what it books comes before the next barrier. False: it is gone."""
    return await tx.scalar(_LOCK, {"id": lease.process_id, "generation": lease.generation}) is not None


async def forget_old(db: Database) -> None:
    """Delete processes that were silent for a day, and what is known of generations that are long over."""
    async with db.transaction() as tx:
        for statement in _FORGET:
            await tx.execute(statement)


class Generation:
    """This process's view of the valid generation."""

    def __init__(self, db: Database, kind: str) -> None:
        self._db = db
        self._kind = kind
        self.clock = db.clock
        self.number = 0
        # The newest lease of each id that this process has had; it gets another id when it was expelled.
        self._leases: dict[ProcessId, Lease] = {}
        self._process_id = ProcessId(new_id())
        self._is_member = False
        self._last_beat = -1e9
        self._ready = asyncio.Event()
        self._changed = asyncio.Event()
        self._assert_live: Callable[[int], Awaitable[Mapping[AccountId, int]]] | None = None
        self._void_holds: Callable[[], None] = lambda: None

    def set_callbacks(
        self, assert_live: Callable[[int], Awaitable[Mapping[AccountId, int]]], void_holds: Callable[[], None]
    ) -> None:
        """Set who asserts live holds in a generation (and says how many per account), and who forgets void ones."""
        self._assert_live = assert_live
        self._void_holds = void_holds

    @property
    def lease(self) -> Lease:
        """The lease that a hold made now belongs to; of generation 0, which no charge has, before the first barrier."""
        return self.lease_of(self._process_id)

    def lease_of(self, process_id: ProcessId) -> Lease:
        """The newest lease under an id of this process, valid or not: Postgres says which."""
        return self._leases.get(process_id) or Lease(process_id, 0)

    @property
    def _asserted(self) -> int:
        return self.lease.generation

    @property
    def is_ready(self) -> bool:
        """Whether calls may be admitted: the barrier is passed and this process is not fenced."""
        return self._ready.is_set() and asyncio.get_running_loop().time() - self._last_beat < FENCED_S

    async def ready(self, timeout_s: float) -> bool:
        """Wait until :attr:`is_ready`; False where that takes longer."""
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_s
        while not self.is_ready:
            if loop.time() > until:
                return False
            await asyncio.sleep(0.02)
        return True

    async def on_connect(self, run_id: str) -> None:
        """Check, on a fresh connection, whether this is the Redis that the generation was counted for."""
        try:
            async with self._db.statements() as tx:
                await tx.execute(_BUMP_RUN, {"run_id": run_id, "reason": "another Redis, or one that was restarted"})
                number = (await tx.execute(_READ)).one().generation
        except STORE_FAULTS as fault:
            raise RedisUnavailable("Postgres cannot say which generation is valid") from fault
        self._adopt(number)

    async def start_next(self, generation: int, reason: str) -> None:
        """Start the generation after ``generation``, which had something that is gone from Redis now.

        It is started once, however many find that something is gone.
        """
        async with self._db.statements() as tx:
            await tx.execute(_BUMP_LOST, {"generation": generation, "reason": reason})
            number = (await tx.execute(_READ)).one().generation
        self._adopt(number)

    def observe(self, number: int) -> None:
        """Take over a newer generation that another process or a script's answer has named."""
        self._adopt(number)

    def _adopt(self, number: int) -> None:
        if number > self.number:
            self.number = number
            self._ready.clear()
            self._changed.set()

    async def run(self) -> None:
        """Beat and follow the generation until cancelled."""
        while True:
            try:
                await self._beat()
                if self._asserted < self.number or not self._ready.is_set():
                    await self._enter(self.number)
            except (*STORE_FAULTS, RedisUnavailable, ReplyError):
                await asyncio.sleep(0.1)
                continue
            if self._asserted < self.number:
                continue
            self._changed.clear()
            try:
                async with asyncio.timeout(BEAT_S):
                    await self._changed.wait()
            except TimeoutError:
                pass

    async def lease_after(self, lost: Lease, timeout_s: float) -> Lease | None:
        """The lease of the same id that follows one that was lost; None where this process was expelled under that id.

        Also None after ``timeout_s`` without either.
        """
        give_up_at = self.clock.elapsed() + timeout_s
        while self._process_id == lost.process_id and self.clock.elapsed() < give_up_at:
            if self.lease.generation > lost.generation:
                return self.lease
            self._changed.set()
            await asyncio.sleep(0.02)
        return None

    async def _beat(self) -> None:
        began = asyncio.get_running_loop().time()
        async with self._db.statements() as tx:
            if not self._is_member:
                await tx.execute(_JOIN, {"id": self._process_id, "kind": self._kind})
            row = (await tx.execute(_BEAT, {"id": self._process_id, "offset": self.clock.offset_s})).one()
        if not row.members:
            self._start_anew()
            return
        self._is_member = True
        self._last_beat = began
        self._adopt(row.generation)

    def _start_anew(self) -> None:
        """Go on under a new id: others have passed a barrier without this process, so its holds count nowhere."""
        log.warning("process_expelled", process=self._process_id.hex, generation=self._asserted)
        self._process_id, self._is_member = ProcessId(new_id()), False
        self._last_beat = -1e9
        self._ready.clear()
        self._changed.set()
        self._void_holds()

    async def _enter(self, number: int) -> None:
        """Pass the barrier: assert our holds, record that, wait until every living process has done the same."""
        assert self._assert_live is not None, "set_callbacks() was never called; this is a bug"
        process_id = self._process_id
        holds = await self._assert_live(number)
        values = {"id": process_id, "generation": number, "accounts": list(holds), "holds": list(holds.values())}
        async with self._db.statements() as tx:
            entered = await tx.scalar(_ENTER, values)
        if entered == "expelled":
            self._start_anew()
        if entered != "entered":
            return
        self._leases[process_id] = Lease(process_id, number)
        while (self.number, self._process_id) == (number, process_id):
            async with self._db.statements() as tx:
                behind = await tx.scalar(_OPEN, {"generation": number, "dead": DEAD_S})
            await self._beat()
            if (self.number, self._process_id) != (number, process_id):
                # A newer generation came up on the way, in which nothing is asserted yet: its own barrier follows.
                return
            if not behind:
                self._ready.set()
                return
            await asyncio.sleep(0.05)

    async def leave(self) -> None:
        """Leave in an orderly way, so that others need not wait for this process."""
        async with self._db.statements() as tx:
            await tx.execute(_LEAVE, {"id": self._process_id})
