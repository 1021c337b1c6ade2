"""Brings months that are closing to their end: freeze, wait for what was begun before, seal, check, write the papers.

What a charge reads about the month it reads after its transaction has a number. So once the freeze is committed, a
transaction begun after it (the barrier) has a higher number than any that read the month as open; when all numbers up
to the barrier have ended, none can book into the month any more. Nothing on a call's path waits for it.
"""

import asyncio
from datetime import datetime

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.close.checklist import ITEMS, Month, find_all
from billing.close.pack import compute
from billing.periods import Period, State, list_periods, list_signoffs, record_checks
from billing.receivables import accrue
from billing.seal import FIRST_DIGEST, last_batch, seal
from store.postgres import Database

log = structlog.get_logger("billing.close")

# For so long a turn waits for transactions that were open at the freeze; the next turn begins anew.
WAIT_S = 20.0
_LOOK_S = 0.05
# What the close itself brings about, or computes anew.
OWN_WORK = frozenset({"draws_accrued", "chain_sealed", "papers_add_up"})

# Its transaction is idle while the others work, and has no number, so it stands in the way of no barrier.
_TAKE_TURN = text("""
    SELECT pg_try_advisory_xact_lock(hashtext('gigarouter close'))
    FROM set_config('idle_in_transaction_session_timeout', '10min', true)
""")
_FREEZE = text("UPDATE periods SET frozen_at = coalesce(frozen_at, now()), barrier = NULL WHERE period = :period")
_BARRIER = text("UPDATE periods SET barrier = pg_current_xact_id() WHERE period = :period RETURNING barrier::text")
_HAVE_ENDED = text("SELECT pg_snapshot_xmin(pg_current_snapshot()) > CAST(CAST(:barrier AS text) AS xid8)")
_UNFREEZE = text("UPDATE periods SET frozen_at = NULL, barrier = NULL WHERE period = :period AND state = 'closing'")
_CLOSE = text("""
    UPDATE periods SET state = 'closed', closed_at = now(), head_batch = :batch, head_digest = :digest,
        pack = CAST(:pack AS jsonb)
    WHERE period = :period AND state = 'closing' AND barrier = CAST(CAST(:barrier AS text) AS xid8)
""")


async def advance(db: Database, now: datetime, longest_s: float, *, wait_s: float = WAIT_S) -> int:
    """Check every month that is closing, and close those that were asked to be; returns how many were closed.

    ``longest_s`` is how long a call may hold credit. One process does it at a time.
    """
    async with db.transaction() as turn:
        if not await turn.scalar(_TAKE_TURN):
            return 0
        async with db.transaction() as tx:
            closing = [period for period in await list_periods(tx) if period.state is State.CLOSING]
        closed = 0
        for period in closing:
            month = Month(period.period, now, longest_s)
            red = await _check(db, month)
            if period.finish_requested_at is not None and not set(red) - OWN_WORK:
                closed += await _finish(db, period, month, wait_s)
            elif period.frozen_at is not None:
                await _unfreeze(db, period)
        return closed


async def red_items(tx: AsyncConnection, period: Period, messages: dict[str, str]) -> dict[str, str]:
    """What is wrong and was not signed off."""
    signed = {signoff.item for signoff in await list_signoffs(tx, period.period)}
    return {
        name: message
        for name, message in messages.items()
        if message and not (name in signed and name in ITEMS and ITEMS[name].can_be_signed_off)
    }


async def _check(db: Database, month: Month) -> dict[str, str]:
    async with db.transaction() as tx:
        messages = await find_all(tx, month)
        await record_checks(tx, month.period, messages)
        period = next(found for found in await list_periods(tx) if found.period == month.period)
        return await red_items(tx, period, messages)


async def _finish(db: Database, period: Period, month: Month, wait_s: float) -> bool:
    await seal(db)
    await accrue(db, month.now)
    barrier = await _freeze(db, period)
    if not await _wait_until_ended(db, barrier, wait_s):
        log.warning("close_postponed", period=str(period.period), reason="a transaction stays open")
        await _unfreeze(db, period)
        return False
    await seal(db)
    async with db.transaction(snapshot=True) as tx:
        messages = await find_all(tx, month)
        head = await last_batch(tx)
        pack, faults = await compute(tx, month.period)
    messages["papers_add_up"] = "; ".join(faults)
    async with db.transaction() as tx:
        await record_checks(tx, period.period, messages)
        red = await red_items(tx, period, messages)
        if not red:
            # A ledger without entries has no batch yet.
            batch, digest = (head.number, head.digest) if head else (0, FIRST_DIGEST)
            facts = {"batch": batch, "digest": digest, "pack": pack, "barrier": barrier}
            await tx.execute(_CLOSE, {"period": period.period, **facts})
            log.info("month_closed", period=str(period.period), batch=batch)
            return True
    # What came between the last check and the freeze is moved and checked at the next turn.
    await _unfreeze(db, period)
    return False


async def _freeze(db: Database, period: Period) -> str:
    async with db.transaction() as tx:
        await tx.execute(_FREEZE, {"period": period.period})
    async with db.transaction() as tx:
        return str(await tx.scalar(_BARRIER, {"period": period.period}))


async def _wait_until_ended(db: Database, barrier: str, wait_s: float) -> bool:
    loop = asyncio.get_running_loop()
    until = loop.time() + wait_s
    while True:
        async with db.transaction() as tx:
            if await tx.scalar(_HAVE_ENDED, {"barrier": barrier}):
                return True
        if loop.time() >= until:
            return False
        await asyncio.sleep(_LOOK_S)


async def _unfreeze(db: Database, period: Period) -> None:
    async with db.transaction() as tx:
        await tx.execute(_UNFREEZE, {"period": period.period})
