"""Tracks which life of Redis, its generation, is valid, and holds the barrier at the start of each.

Redis is a projection that can vanish or go back in time. Postgres keeps a generation number beside the identity of the
Redis it was counted for. A fresh connection that finds another identity, or an account that was loaded and is gone,
starts the next generation: every process asserts its live holds again, and calls are admitted under the new generation
only when all living processes have done so. A process that cannot reach Postgres fences itself before others count it
dead.
"""

import asyncio
from collections.abc import Awaitable, Callable

from hiredis import ReplyError
from sqlalchemy import text

from store.ids import ProcessId, new_id
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
_BEAT = text(
    "INSERT INTO processes (id, kind, asserted_generation) VALUES (:id, :kind, :asserted)"
    " ON CONFLICT (id) DO UPDATE SET seen_at = now(), asserted_generation = EXCLUDED.asserted_generation"
)
_BEHIND = text(
    "SELECT count(*) FROM processes WHERE kind = 'serve' AND id <> :id AND asserted_generation < :generation"
    " AND seen_at > now() - make_interval(secs => :dead)"
)


class Generation:
    """This process's view of the valid generation. ``assert_live(number)`` re-asserts its holds in Redis."""

    def __init__(self, db: Database, kind: str) -> None:
        self._db = db
        self._kind = kind
        self.process_id = ProcessId(new_id())
        self.number = 0
        self._asserted = 0
        self._last_beat = -1e9
        self._ready = asyncio.Event()
        self._changed = asyncio.Event()
        self._assert_live: Callable[[int], Awaitable[None]] | None = None

    def set_assert_live(self, assert_live: Callable[[int], Awaitable[None]]) -> None:
        """Set the function that re-asserts live holds; called before :meth:`run`."""
        self._assert_live = assert_live

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
            async with self._db.transaction() as tx:
                await tx.execute(_BUMP_RUN, {"run_id": run_id, "reason": "another Redis, or one that was restarted"})
                number = (await tx.execute(_READ)).one().generation
        except STORE_FAULTS as fault:
            raise RedisUnavailable("Postgres cannot say which generation is valid") from fault
        self._adopt(number)

    async def start_next(self, reason: str) -> None:
        """Start the next generation: something that this one had is gone from Redis."""
        async with self._db.transaction() as tx:
            await tx.execute(_BUMP_LOST, {"generation": self.number, "reason": reason})
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
            self._changed.clear()
            try:
                async with asyncio.timeout(BEAT_S):
                    await self._changed.wait()
            except TimeoutError:
                pass

    async def _beat(self) -> None:
        began = asyncio.get_running_loop().time()
        async with self._db.transaction() as tx:
            await tx.execute(_BEAT, {"id": self.process_id, "kind": self._kind, "asserted": self._asserted})
            number = (await tx.execute(_READ)).one().generation
        self._last_beat = began
        self._adopt(number)

    async def _enter(self, number: int) -> None:
        """Pass the barrier: assert our holds, record that, wait until every living process has done the same."""
        assert self._assert_live is not None, "asserts_with() was never called; this is a bug"
        await self._assert_live(number)
        self._asserted = number
        while self.number == number:
            await self._beat()
            async with self._db.transaction() as tx:
                behind = await tx.scalar(_BEHIND, {"id": self.process_id, "generation": number, "dead": DEAD_S})
            if not behind:
                self._ready.set()
                return
            await asyncio.sleep(0.05)

    async def leave(self) -> None:
        """Leave in an orderly way, so that others need not wait for this process."""
        async with self._db.transaction() as tx:
            await tx.execute(text("DELETE FROM processes WHERE id = :id"), {"id": self.process_id})
