"""Charges calls: a self-clocking group commit of usage, ledger postings and stored outcomes frees their holds.

Calls that finish while a commit is in flight form the next one. A commit whose fate is unknown is run again with the
same ids: Postgres tells which calls it had already ended. A call is delivered only after Postgres has answered, unless
the deployment prefers latency (``durability = "memory"``): then a crash loses at most what one process had queued, and
the house pays. Charging waits until Postgres is back, whatever its state; a charge that Postgres itself refuses is
found by halving the batch, and given up alone and loudly. Every charge names the lease that its hold was made under:
where others have passed a barrier without this process, Postgres refuses it, and the call is neither delivered nor
charged.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC
from typing import Any, Literal, cast
from uuid import UUID

import msgspec
import structlog

from billing.errors import BillingUnavailable, ChargeRefused, ChargeUnknown
from billing.generation import Generation, Lease
from billing.money import MAX_INT32, NanoUSD
from billing.projection import EndedHolds, Projection
from billing.values import Hold, Idempotent, Receipt, Usage
from store.ids import AccountId, ProcessId, new_id
from store.postgres import POSTGRES_FAULTS, RUN_AGAIN, WRONG_DATA, Connection, Database

log = structlog.get_logger("billing.charging")

BATCH_MAX = 1_000
QUEUE_MAX = 20_000
# In ``memory`` durability no call waits for its commit, so commits are this far apart: what a crash can lose.
MEMORY_PACE_S = 0.05
# After this long without a commit the caller gets an error; the hold stays for the reaper.
COMMIT_WAIT_S = 15.0
# Between two tries while Postgres is away: the first pause, doubled up to the last.
PAUSE_S, PAUSE_MAX_S = 0.05, 1.0
# How long a commit whose lease was lost waits to learn whether this process has a newer one.
LEASE_WAIT_S = 5.0
LEASE_LOST = "lease_lost"
EXPELLED = "others passed a barrier without this process after it had admitted the call"

_CHARGE = f"SELECT * FROM charge_leased_calls({', '.join(f'${n}' for n in range(1, 26))})"  # noqa: S608 - numbers only


class _Pending(msgspec.Struct, frozen=True):
    hold: Hold
    usage: Usage
    stored: Idempotent | None
    done: "asyncio.Future[Receipt]"
    since: float


class Charging:
    """The charges of one process. :meth:`run` owns the commits; any number of calls may :meth:`charge` at once."""

    def __init__(
        self, db: Database, projection: Projection, generation: Generation, durability: Literal["commit", "memory"]
    ) -> None:
        self._db = db
        self._projection = projection
        self._generation = generation
        self._durability = durability
        self._queue: list[_Pending] = []
        self._arrived = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.batches = 0
        self.charged = 0
        # Charges that Postgres refuses by themselves: each a bug of ours, and a loss of the house.
        self.given_up = 0
        # Charges refused because others had passed a barrier without this process.
        self.fenced = 0
        self._connection: Connection | None = None

    @property
    def queued(self) -> int:
        """How many calls wait for their commit."""
        return len(self._queue)

    async def charge(self, hold: Hold, usage: Usage, stored: Idempotent | None = None) -> Receipt | None:
        """Book what a call used; returns after the COMMIT (None at once in ``memory`` durability).

        Raises :class:`ChargeUnknown` where the commit's fate is unknown or the call was ended before,
        :class:`ChargeRefused` where it had lost its right to charge, :class:`BillingUnavailable` where the queue is
        full. Shielded: the caller's cancellation does not undo it.
        """
        if usage.cost > hold.quote.amount_max:
            raise AssertionError("a charge above its hold; this is a bug")
        if max(usage.tokens, usage.provider_tokens or 0, usage.inputs, usage.latency_ms) > MAX_INT32:
            raise AssertionError("a number that the usage event has no room for; this is a bug")
        if hold.process_id != self._generation.lease.process_id:
            self.fenced += 1
            raise ChargeRefused(EXPELLED)
        if len(self._queue) >= QUEUE_MAX:
            raise BillingUnavailable("too many calls wait for their commit")
        loop = asyncio.get_running_loop()
        pending = _Pending(hold, usage, stored, loop.create_future(), loop.time())
        self._queue.append(pending)
        self._projection.charging.add(hold.id)
        self._idle.clear()
        self._arrived.set()
        if self._durability == "memory" and stored is None:
            pending.done.add_done_callback(_retrieve_exception)
            return None
        return await asyncio.shield(pending.done)

    async def drain(self) -> None:
        """Wait until nothing is queued or in flight."""
        await self._idle.wait()

    async def run(self) -> None:
        """Commit until cancelled; keeps one connection of its own."""
        try:
            while True:
                if not self._queue:
                    self._idle.set()
                    self._arrived.clear()
                    await self._arrived.wait()
                if self._durability == "memory":
                    await asyncio.sleep(MEMORY_PACE_S)
                batch, self._queue = self._queue[:BATCH_MAX], self._queue[BATCH_MAX:]
                await self._commit(batch)
        finally:
            self._disconnect()

    async def _commit(self, batch: list[_Pending]) -> None:
        """Commit one batch; where Postgres refuses a charge of it, in halves until that charge is alone."""
        batches = list(_by_process(batch))
        while batches:
            calls = batches.pop()
            fault = await self._book(calls, self._generation.lease_of(calls[0].hold.process_id))
            if fault is None:
                continue
            if len(calls) == 1:
                self._refuse(calls[0], fault)
            else:
                half = len(calls) // 2
                batches += [calls[half:], calls[:half]]

    async def _book(self, batch: list[_Pending], lease: Lease) -> Exception | None:
        """Commit these, again and again while Postgres cannot; fails calls that have waited too long.

        Returns the fault where Postgres refuses them: then none of them is booked.
        """
        loop = asyncio.get_running_loop()
        # One entry per account, month and commit: halves of a batch are commits of their own.
        # Their ids say which month's tables they go to, by the clock that all processes share.
        now = self._db.clock.now()
        entry_ids = {_entry_key(p): new_id(now) for p in batch}
        pause_s = PAUSE_S
        while batch:
            try:
                if self._connection is None or self._connection.is_closed():
                    self._connection = await self._db.connect()
                rows = await self._connection.fetch(
                    _CHARGE, lease.process_id, lease.generation, *_columns(batch, entry_ids)
                )
            except RUN_AGAIN:
                continue
            except WRONG_DATA as fault:
                return cast("Exception", fault)
            except POSTGRES_FAULTS as fault:
                if pause_s >= PAUSE_MAX_S:
                    log.warning("charges_postponed", calls=len(batch), fault=f"{type(fault).__name__}: {fault}"[:300])
                self._disconnect()
                batch = self._fail_overdue(batch, loop.time() - COMMIT_WAIT_S)
                await asyncio.sleep(pause_s)
                pause_s = min(PAUSE_MAX_S, 2 * pause_s)
                lease = self._generation.lease_of(lease.process_id)
                continue
            if any(row["outcome"] == LEASE_LOST for row in rows):
                # A newer generation has begun. Where this process has asserted these holds in it, they can be charged.
                newer = await self._generation.lease_after(lease, LEASE_WAIT_S)
                if newer is not None:
                    lease = newer
                    continue
            self._committed(batch, rows)
            return None
        return None

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    def _refuse(self, pending: _Pending, fault: Exception) -> None:
        """Fail a call that was not booked and never will be; its hold is freed as that of any failed call."""
        self.given_up += 1
        hold, usage = pending.hold, pending.usage
        log.error(
            "charge_given_up",
            request=hold.id.hex,
            account=hold.payer.account_id.hex,
            model=usage.model_id,
            tokens=usage.tokens,
            cost_nano=usage.cost,
            fault=f"{type(fault).__name__}: {fault}"[:300],
        )
        if not pending.done.done():
            pending.done.set_exception(ChargeUnknown(f"Postgres refuses the charge: {fault}"))
        self._projection.end_holds([EndedHolds(hold.payer.account_id, (hold.id,))])

    def _fail_overdue(self, batch: list[_Pending], before: float) -> list[_Pending]:
        """Fail the calls that waited too long; returns those that may go on waiting."""
        remaining = []
        for pending in batch:
            if pending.since > before or (self._durability == "memory" and pending.stored is None):
                remaining.append(pending)
                continue
            self._projection.abandon(pending.hold.id)
            if not pending.done.done():
                pending.done.set_exception(ChargeUnknown("Postgres did not confirm the charge in time"))
        return remaining

    def _committed(self, batch: list[_Pending], rows: Iterable[Any]) -> None:
        """Answer the callers, then free the holds, which no answer waits for."""
        self.batches += 1
        outcomes = {row["request_id"]: row for row in rows}
        for pending in batch:
            row = outcomes[pending.hold.id]
            if pending.done.done():
                continue
            if row["outcome"] in ("charged", "already"):
                self.charged += 1
                pending.done.set_result(_receipt(pending, row))
            elif row["outcome"] == LEASE_LOST:
                self.fenced += 1
                pending.done.set_exception(ChargeRefused(EXPELLED))
            else:
                pending.done.set_exception(ChargeUnknown(f"the call was {row['outcome']} before it could be charged"))
        self._projection.end_holds(_ended_holds(batch, outcomes))


def _by_process(batch: list[_Pending]) -> Iterable[list[_Pending]]:
    """The batch by the process id of the holds: more than one only where this process was expelled a moment ago."""
    groups: dict[ProcessId, list[_Pending]] = defaultdict(list)
    for pending in batch:
        groups[pending.hold.process_id].append(pending)
    return groups.values()


def _retrieve_exception(done: "asyncio.Future[Receipt]") -> None:
    if not done.cancelled():
        done.exception()


def _receipt(pending: _Pending, row: Any) -> Receipt:  # noqa: ANN401 - asyncpg's Record is untyped
    return Receipt(
        request_id=pending.hold.id,
        tokens=pending.usage.tokens,
        charged=NanoUSD(row["charged_nano"]),
        overdraft=NanoUSD(row["overdraft_nano"]),
        version=row["version"] or 0,
        entry_id=row["entry_id"],
    )


def _entry_key(pending: _Pending) -> tuple[AccountId, int, int]:
    """What the calls of one entry share: the account, and the UTC month in which they occurred."""
    at = pending.usage.occurred_at.astimezone(UTC)
    return pending.hold.payer.account_id, at.year, at.month


def _columns(batch: list[_Pending], entry_ids: dict[tuple[AccountId, int, int], UUID]) -> list[list[Any]]:
    """The batch as the parallel arrays of ``charge_leased_calls``."""
    holds = [p.hold for p in batch]
    usages = [p.usage for p in batch]
    stored = [p.stored for p in batch]
    return [
        [h.id for h in holds],
        [h.payer.account_id for h in holds],
        [entry_ids[_entry_key(p)] for p in batch],
        [h.payer.key_id for h in holds],
        [u.model_id for u in usages],
        [u.provider_id for u in usages],
        [u.endpoint_id for u in usages],
        [u.space for u in usages],
        [u.inputs for u in usages],
        [u.tokens for u in usages],
        [u.provider_tokens for u in usages],
        [h.quote.price.id for h in holds],
        [h.quote.price.nano_per_mtok for h in holds],
        [u.cost for u in usages],
        [u.provider_cost for u in usages],
        [u.occurred_at for u in usages],
        [u.latency_ms for u in usages],
        [u.attempts for u in usages],
        [s.key if s else None for s in stored],
        [s.status if s else None for s in stored],
        [s.headers if s else None for s in stored],
        [s.body if s else None for s in stored],
        [h.quote.amount_max for h in holds],
    ]


def _ended_holds(batch: list[_Pending], outcomes: dict[UUID, Any]) -> list[EndedHolds]:
    """Per account and version: the holds to free, and the delta and spends to apply once."""
    groups: dict[tuple[AccountId, int | None], list[_Pending]] = defaultdict(list)
    ends: list[EndedHolds] = []
    for pending in batch:
        row = outcomes[pending.hold.id]
        if row["outcome"] == "already":
            billed = (pending.usage.tokens,)
            ends.append(EndedHolds(pending.hold.payer.account_id, (pending.hold.id,), reload=True, tokens=billed))
            continue
        version = row["version"] if row["outcome"] == "charged" else None
        groups[pending.hold.payer.account_id, version].append(pending)
    for (account_id, version), members in groups.items():
        holds = tuple(p.hold.id for p in members)
        # A call that is free of charge counts against the limit as any other; one that was not booked does not.
        tokens = tuple(p.usage.tokens if outcomes[p.hold.id]["outcome"] == "charged" else 0 for p in members)
        if version is None:
            ends.append(EndedHolds(account_id, holds, tokens=tokens))
            continue
        charged = sum(outcomes[p.hold.id]["charged_nano"] for p in members)
        ends.append(EndedHolds(account_id, holds, version, -charged, _spends(members), tokens=tokens))
    return ends


def _spends(members: list[_Pending]) -> tuple[str | int, ...]:
    """What each key spent, under the three labels that a cap may look at."""
    sums: dict[str, int] = defaultdict(int)
    for pending in members:
        key, at = pending.hold.payer.key_id.hex, pending.usage.occurred_at.astimezone(UTC)
        for label in ("total", f"{at:%Y-%m}", f"{at:%Y-%m-%d}"):
            sums[f"{key}:{label}"] += pending.usage.cost
    return tuple(item for pair in sums.items() for item in pair)
