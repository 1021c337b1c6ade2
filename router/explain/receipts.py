"""Buffers the explanation of every call in memory, and copies it into the log of calls, off the call's path.

A call only puts its trace here, and is counted for statistics, which are written beside (:mod:`router.statistics`).
Twice a second the explanations are encoded, in slices, and copied into ``routes``; a crash loses those of the last half
second and never a usage event, which is in Postgres before the answer leaves. While Postgres is away they wait up to a
bound; what does not fit is counted, logged, and never holds a call up.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any, TypeAlias

import asyncpg
import msgspec
import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.contracts.prices import find_agreement
from billing.entry_calls import explain_charge
from billing.usage import find_usage
from billing.values import UsageEvent
from router.errors import StoreUnavailable
from router.explain.call_log import COLUMNS, row_of
from router.explain.explanation import (
    CompletedCall,
    Explanation,
    PriceUsed,
    decode_explanation,
    encode_explanation,
    explain,
)
from router.explain.views import CallRecord
from router.statistics.collect import StatisticsCollector
from store.ids import AccountId, PriceId, RequestId, wire
from store.postgres import CONNECTION_LOST, STORE_FAULTS, Connection, Database

log = structlog.get_logger("router.explain.receipts")

FLUSH_EVERY_S = 0.5
# A trace takes about 2 KB of memory, so the buffer at most 60 MB: twenty seconds of a thousand calls a second.
BUFFER_MAX = 30_000
# Making and encoding one takes about 15 µs, so a slice holds the event loop for about a millisecond.
SLICE = 64
COPY_MAX = 512
# Refusals cost their caller nothing, so of an account only so many are stored per flush, and the others are counted.
REFUSALS_MAX = 20
# Of what costs nothing, free calls too, an account gets so much stored per process and UTC day: some 10,000
# explanations of the usual size, or 512 of the largest, whose preferences fill 32 KiB.
FREE_BYTES_PER_DAY = 16 * 1024 * 1024
DRAIN_WITHIN_S = 5.0
# Every process has written its explanations within this time, if Postgres is there.
WRITTEN_WITHIN_S = 5.0
# For how long explanations are kept; whole weeks are dropped when their last day is older.
KEPT_DAYS = 30
WEEKS_AHEAD = 5

Row: TypeAlias = tuple[Any, ...]

_READ = text("SELECT route::text FROM routes WHERE request_id = :request")
_MAKE_WEEKS = text("SELECT make_route_weeks(:today, :ahead)")
# Two processes that rotate the weeks at once would make the same week.
_ONE_AT_A_TIME = text("SELECT pg_advisory_xact_lock(hashtext('routes'))")
_DROP_WEEKS = text("SELECT drop_route_weeks(:before)")


def without_scrubbing(text: str) -> str:
    """Return the text as it is."""
    return text


class ReceiptBuffer:
    """Buffers and writes the explanations of one process's calls. ``scrub`` takes secrets out of a provider's text.

    ``stored`` counts those in Postgres, ``lost`` those that did not fit, ``skipped`` refusals and free calls that were
    too many.
    """

    def __init__(self, db: Database, scrub: Callable[[str], str] = without_scrubbing) -> None:
        self._db = db
        self._scrub = scrub
        self.statistics = StatisticsCollector()
        self._waiting: dict[RequestId, CompletedCall] = {}
        self._writing: dict[RequestId, CompletedCall] = {}
        self._refusals: Counter[AccountId] = Counter()
        # How much of free calls and refusals was stored on a day, by account.
        self._free_bytes: Counter[AccountId | None] = Counter()
        self._free_day: date | None = None
        self._connection: Connection | None = None
        self._flushing = asyncio.Lock()
        self.stored = 0
        self.lost = 0
        self.skipped = 0
        self._logged = (0, 0)

    def add(self, call: CompletedCall) -> None:
        """Add a call that is over. Never waits."""
        self.statistics.count_call(call.at, call.status, call.code, call.trace)
        if call.trace.hold is None and not self._has_room_for_refusal(call):
            return
        if len(self._waiting) + len(self._writing) >= BUFFER_MAX:
            self.lost += 1
            return
        self._waiting[call.request_id] = call

    def find(self, request_id: RequestId) -> Explanation | None:
        """Find the explanation of a call that is still in this process's buffer."""
        call = self._waiting.get(request_id) or self._writing.get(request_id)
        return None if call is None else self._explained(call)

    async def run(self) -> None:
        """Flush the buffer twice a second, until cancelled."""
        try:
            while True:
                await asyncio.sleep(FLUSH_EVERY_S)
                await self.flush()
        finally:
            if self._connection is not None:
                self._connection.terminate()

    async def drain(self) -> None:
        """Wait until everything is written, at most five seconds: the process is about to end."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + DRAIN_WITHIN_S
        while True:
            if await self.flush() or loop.time() >= give_up_at:
                break
            await asyncio.sleep(0.1)
        if left := len(self._waiting) + len(self._writing):
            log.error("explanations_lost", calls=left, reason="Postgres is away and the process ends")

    async def flush(self) -> bool:
        """Write the buffer out; False where Postgres is away, and then it stays buffered."""
        async with self._flushing:
            self._log_drops()
            while self._writing or self._waiting:
                if not self._writing:
                    self._writing, self._waiting = self._waiting, {}
                if not await self._write():
                    return False
            return await self._write_statistics()

    async def _write_statistics(self) -> bool:
        now = self._db.clock.now()
        if self.statistics.is_due(now):
            try:
                await self.statistics.write(await self._connected(), now)
            except (asyncpg.PostgresError, *CONNECTION_LOST) as fault:
                self._disconnect()
                log.warning("statistics_wait", fault=type(fault).__name__)
                return False
        return True

    def _has_room_for_refusal(self, call: CompletedCall) -> bool:
        key = call.trace.key
        if key is None:
            return False
        self._refusals[key.account_id] += 1
        if self._refusals[key.account_id] > REFUSALS_MAX:
            self.skipped += 1
            return False
        return True

    def _explained(self, call: CompletedCall) -> Explanation:
        if call.detail:
            call = msgspec.structs.replace(call, detail=self._scrub(call.detail))
        return explain(call)

    def _log_drops(self) -> None:
        self._refusals.clear()
        if (self.lost, self.skipped) != self._logged:
            log.warning(
                "explanations_dropped", lost=self.lost - self._logged[0], refused=self.skipped - self._logged[1]
            )
            self._logged = (self.lost, self.skipped)

    async def _write(self) -> bool:
        """Write one batch, piece by piece; each piece is written whole or not at all."""
        batch = list(self._writing.values())
        for start in range(0, len(batch), COPY_MAX):
            piece = batch[start : start + COPY_MAX]
            try:
                rows = await self._rows(piece)
                await self._copy(rows)
            except (asyncpg.PostgresError, *CONNECTION_LOST) as fault:
                self._disconnect()
                log.warning("explanations_wait", calls=len(self._writing), fault=type(fault).__name__)
                return False
            self._count_free(piece, rows)
            for call in piece:
                del self._writing[call.request_id]
        return True

    def _count_free(self, piece: list[CompletedCall], rows: list[Row]) -> None:
        free = {call.request_id for call in piece if _is_free(call)}
        for request_id, account_id, route, *_ in rows:
            if request_id in free:
                self._free_bytes[account_id] += len(route)

    def _has_room_for_free(self, call: CompletedCall) -> bool:
        if call.at.date() != self._free_day:
            self._free_bytes.clear()
            self._free_day = call.at.date()
        key = call.trace.key
        return self._free_bytes[None if key is None else key.account_id] < FREE_BYTES_PER_DAY

    async def _rows(self, piece: list[CompletedCall]) -> list[Row]:
        rows = []
        for number, call in enumerate(piece, start=1):
            if _is_free(call) and not self._has_room_for_free(call):
                self.skipped += 1
                continue
            try:
                explanation = self._explained(call)
                rows.append(row_of(explanation, encode_explanation(explanation)))
            except (TypeError, ValueError) as fault:
                self._log_unfit(call.request_id, fault)
            if number % SLICE == 0:
                await asyncio.sleep(0)
        return rows

    async def _copy(self, rows: list[Row]) -> None:
        """One COPY. Raises what a lost connection raises, and PostgresError where the table cannot be written."""
        copy = (await self._connected()).copy_records_to_table
        try:
            await copy("routes", records=rows, columns=COLUMNS)
            self.stored += len(rows)
        except asyncpg.UniqueViolationError:
            # The connection was lost after the commit and before its word of it: the piece is the same one.
            self.stored += len(rows)
        except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as fault:
            if len(rows) == 1:
                self._log_unfit(rows[0][0], fault)
                return
            for row in rows:
                await self._copy([row])

    async def _connected(self) -> Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._db.connect()
        return self._connection

    def _log_unfit(self, request_id: RequestId, fault: Exception) -> None:
        self.lost += 1
        log.error("explanation_unfit", request_id=wire(RequestId, request_id), fault=type(fault).__name__)

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
        self._connection = None


def _is_free(call: CompletedCall) -> bool:
    """Whether it cost its caller nothing: refused before it was admitted, a test key's, or at price zero."""
    return call.trace.hold is None or call.trace.hold.quote.amount_max == 0


async def load_explanation(tx: AsyncConnection, request_id: RequestId) -> Explanation | None:
    """Load the stored explanation of a call."""
    stored = await tx.scalar(_READ, {"request": request_id})
    return None if stored is None else decode_explanation(stored)


async def find_call(db: Database, request_id: RequestId, receipts: ReceiptBuffer | None = None) -> CallRecord | None:
    """Find a call's explanation and usage event; None where there is neither, or not yet. Raises StoreUnavailable."""
    explanation = receipts.find(request_id) if receipts is not None else None
    try:
        async with db.transaction() as tx:
            usage = await find_usage(tx, request_id)
            charge = None if usage is None else await explain_charge(tx, usage)
            explanation = explanation or await load_explanation(tx, request_id)
            price = usage or (explanation.price if explanation is not None else None)
            agreement = None if price is None else await find_agreement(tx, _price_id(price), price.nano_per_mtok)
    except STORE_FAULTS as fault:
        raise StoreUnavailable(
            "Calls cannot be looked up right now. Try again in a moment.", retry_after_s=1, detail=str(fault)
        ) from fault
    return None if explanation is None and usage is None else CallRecord(explanation, usage, charge, agreement)


def _price_id(price: UsageEvent | PriceUsed) -> PriceId:
    return price.price_id if isinstance(price, UsageEvent) else price.id


def may_be_unwritten(request_id: RequestId, now: datetime) -> bool:
    """Whether the explanation of a request may not be in Postgres yet: its id, a UUIDv7, begins with its time in ms."""
    age_s = now.timestamp() - (request_id.int >> 80) / 1000
    return request_id.version == 7 and abs(age_s) < WRITTEN_WITHIN_S


async def rotate_weeks(db: Database, today: date) -> None:
    """Make the partitions of the coming weeks, drop those that are older than :data:`KEPT_DAYS`."""
    async with db.transaction() as tx:
        await tx.execute(_ONE_AT_A_TIME)
        await tx.execute(_MAKE_WEEKS, {"today": today, "ahead": WEEKS_AHEAD})
    async with db.transaction() as tx:
        await tx.execute(_ONE_AT_A_TIME)
        await tx.execute(_DROP_WEEKS, {"before": today - timedelta(days=KEPT_DAYS)})
