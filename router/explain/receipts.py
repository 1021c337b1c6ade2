"""Keeps the explanation of every call, off the call's path: a bounded buffer in memory, emptied into Postgres.

A call only puts its trace here. Twice a second the explanations are written out, in slices, and copied into ``routes``;
a crash loses those of the last half second and never a usage event, which is Postgres' before the answer leaves. While
Postgres is away they wait up to a bound; what does not fit is counted, told in the log, and never holds a call up.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import TypeAlias

import asyncpg
import msgspec
import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.usage import find_usage
from router.errors import StoreUnavailable
from router.explain.explanation import Ended, Explanation, as_json, explain, from_json
from router.explain.views import Recorded
from store.ids import AccountId, RequestId, wire
from store.postgres import CONNECTION_LOST, STORE_FAULTS, Connection, Database

log = structlog.get_logger("router.explain.receipts")

FLUSH_EVERY_S = 0.5
# A trace takes about 2 KB of memory, so the buffer at most 60 MB: twenty seconds of a thousand calls a second.
KEPT_MAX = 30_000
# Making and encoding one takes about 15 µs, so a slice holds the event loop for about a millisecond.
SLICE = 64
COPY_MAX = 512
# Refusals cost their caller nothing, so of an account only so many are kept per flush, and the others are counted.
REFUSED_MAX = 20
DRAIN_S = 5.0
# Every process writes its explanations down within this time, if Postgres is there.
YOUNG_S = 5.0
# For how long explanations are kept; whole weeks are dropped when their last day is older.
KEPT_DAYS = 30
WEEKS_AHEAD = 5

COLUMNS = ("request_id", "account_id", "route")
Row: TypeAlias = tuple[RequestId, AccountId | None, str]

_READ = text("SELECT route::text FROM routes WHERE request_id = :request")
_MAKE_WEEKS = text("SELECT make_route_weeks(:today, :ahead)")
# Two processes that tend the weeks at once would make the same week.
_ONE_AT_A_TIME = text("SELECT pg_advisory_xact_lock(hashtext('routes'))")
_DROP_WEEKS = text("SELECT drop_route_weeks(:before)")


def as_it_is(words: str) -> str:
    """Nothing taken out."""
    return words


class Receipts:
    """One per process. ``scrub`` takes secrets out of words that may be a provider's."""

    def __init__(self, db: Database, scrub: Callable[[str], str] = as_it_is) -> None:
        self._db = db
        self._scrub = scrub
        self._waiting: dict[RequestId, Ended] = {}
        self._leaving: dict[RequestId, Ended] = {}
        self._refused: Counter[AccountId] = Counter()
        self._connection: Connection | None = None
        self._flushing = asyncio.Lock()
        self.kept = 0
        self.lost = 0
        self.skipped = 0
        self._told = (0, 0)

    def add(self, ended: Ended) -> None:
        """Remember a call that is over. Never waits."""
        if ended.trace.hold is None and not self._has_room_for_refusal(ended):
            return
        if len(self._waiting) + len(self._leaving) >= KEPT_MAX:
            self.lost += 1
            return
        self._waiting[ended.request_id] = ended

    def find(self, request_id: RequestId) -> Explanation | None:
        """The explanation of a call that is still in this process's buffer."""
        ended = self._waiting.get(request_id) or self._leaving.get(request_id)
        return None if ended is None else self._explained(ended)

    async def run(self) -> None:
        """Empty the buffer again and again, until cancelled."""
        try:
            while True:
                await asyncio.sleep(FLUSH_EVERY_S)
                await self.flush()
        finally:
            if self._connection is not None:
                self._connection.terminate()

    async def drained(self) -> None:
        """Before the process ends: wait until everything is written, but not for long."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + DRAIN_S
        while True:
            if await self.flush() or loop.time() >= give_up_at:
                break
            await asyncio.sleep(0.1)
        if left := len(self._waiting) + len(self._leaving):
            log.error("explanations_lost", calls=left, reason="Postgres is away and the process ends")

    async def flush(self) -> bool:
        """Write what is waiting; False where Postgres is away, and then it stays."""
        async with self._flushing:
            self._tell()
            while self._leaving or self._waiting:
                if not self._leaving:
                    self._leaving, self._waiting = self._waiting, {}
                if not await self._write():
                    return False
            return True

    def _has_room_for_refusal(self, ended: Ended) -> bool:
        key = ended.trace.key
        if key is None:
            return False
        self._refused[key.account_id] += 1
        if self._refused[key.account_id] > REFUSED_MAX:
            self.skipped += 1
            return False
        return True

    def _explained(self, ended: Ended) -> Explanation:
        if ended.detail:
            ended = msgspec.structs.replace(ended, detail=self._scrub(ended.detail))
        return explain(ended)

    def _tell(self) -> None:
        self._refused.clear()
        if (self.lost, self.skipped) != self._told:
            log.warning("explanations_dropped", lost=self.lost - self._told[0], refused=self.skipped - self._told[1])
            self._told = (self.lost, self.skipped)

    async def _write(self) -> bool:
        """Write the batch that is leaving, piece by piece; each is written whole or not at all."""
        batch = list(self._leaving.values())
        for start in range(0, len(batch), COPY_MAX):
            piece = batch[start : start + COPY_MAX]
            try:
                await self._copy(await self._rows(piece))
            except (asyncpg.PostgresError, *CONNECTION_LOST) as fault:
                self._hang_up()
                log.warning("explanations_wait", calls=len(self._leaving), fault=type(fault).__name__)
                return False
            for ended in piece:
                del self._leaving[ended.request_id]
        return True

    async def _rows(self, piece: list[Ended]) -> list[Row]:
        rows = []
        for number, ended in enumerate(piece, start=1):
            try:
                explanation = self._explained(ended)
                rows.append((explanation.request_id, explanation.account, as_json(explanation)))
            except (TypeError, ValueError) as fault:
                self._unfit(ended.request_id, fault)
            if number % SLICE == 0:
                await asyncio.sleep(0)
        return rows

    async def _copy(self, rows: list[Row]) -> None:
        """One COPY. Raises what a lost connection raises, and PostgresError where the table cannot be written."""
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._db.connect()
        copy = self._connection.copy_records_to_table
        try:
            await copy("routes", records=rows, columns=COLUMNS)
            self.kept += len(rows)
        except asyncpg.UniqueViolationError:
            # The connection was lost after the commit and before its word of it: the piece is the same one.
            self.kept += len(rows)
        except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as fault:
            if len(rows) == 1:
                self._unfit(rows[0][0], fault)
                return
            for row in rows:
                await self._copy([row])

    def _unfit(self, request_id: RequestId, fault: Exception) -> None:
        self.lost += 1
        log.error("explanation_unfit", request_id=wire(RequestId, request_id), fault=type(fault).__name__)

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
        self._connection = None


async def read_explanation(tx: AsyncConnection, request_id: RequestId) -> Explanation | None:
    """The explanation of a call, as it was kept."""
    kept = await tx.scalar(_READ, {"request": request_id})
    return None if kept is None else from_json(kept)


async def look_up(db: Database, request_id: RequestId, receipts: Receipts | None = None) -> Recorded | None:
    """All that is known of a call; None where nothing is, or not yet. Raises StoreUnavailable."""
    explanation = receipts.find(request_id) if receipts is not None else None
    try:
        async with db.transaction() as tx:
            usage = await find_usage(tx, request_id)
            explanation = explanation or await read_explanation(tx, request_id)
    except STORE_FAULTS as fault:
        raise StoreUnavailable(
            "Calls cannot be looked up right now. Try again in a moment.", retry_after_s=1, detail=str(fault)
        ) from fault
    return None if explanation is None and usage is None else Recorded(explanation, usage)


def is_young(request_id: RequestId, now: datetime) -> bool:
    """Whether a request of this id may not be written down yet: a UUIDv7 begins with its milliseconds."""
    age_s = now.timestamp() - (request_id.int >> 80) / 1000
    return request_id.version == 7 and abs(age_s) < YOUNG_S


async def tend_weeks(db: Database, today: date) -> None:
    """Make the tables of the coming weeks, drop those that are too old."""
    async with db.transaction() as tx:
        await tx.execute(_ONE_AT_A_TIME)
        await tx.execute(_MAKE_WEEKS, {"today": today, "ahead": WEEKS_AHEAD})
    async with db.transaction() as tx:
        await tx.execute(_ONE_AT_A_TIME)
        await tx.execute(_DROP_WEEKS, {"before": today - timedelta(days=KEPT_DAYS)})
