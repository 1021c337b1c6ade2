"""Keeps the balances in Redis as Postgres has them, by version: load, apply, release, assert. Knows the live holds.

A load sets a balance at a version and is refused where Redis is newer; an apply adds one version's delta once, in any
order; a command whose fate is unknown is sent again. This module decides nothing about money: the scripts and Postgres
do.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import structlog
from hiredis import ReplyError
from sqlalchemy import text

from billing.debt import Debts, read_debt
from billing.errors import BillingUnavailable
from billing.generation import Generation
from billing.money import NanoUSD
from billing.values import Balance
from store.ids import AccountId, RequestId, parse
from store.postgres import STORE_FAULTS, Database
from store.redis_client import RedisClient, RedisUnavailable, Script

log = structlog.get_logger("billing.projection")

_LUA = Path(__file__).parent / "lua"
ADMIT = Script((_LUA / "admit.lua").read_text())
APPLY = Script((_LUA / "apply.lua").read_text())
LOAD = Script((_LUA / "load.lua").read_text())
ASSERT = Script((_LUA / "assert.lua").read_text())
OVERDUE = Script((_LUA / "overdue.lua").read_text())
SCRIPTS = (ADMIT, APPLY, LOAD, ASSERT, OVERDUE)

# One statement reads one snapshot: the balance and the spends belong to the same version. What an account spent is the
# sum over its keys, under no key; its total is always there, which tells the script that its spends are known.
_POSTED = text("""
    WITH spent AS MATERIALIZED (
        SELECT key_id, period, spent_nano FROM key_spend WHERE account_id = :account_id
            AND (period = 'total' OR period >= to_char(now() AT TIME ZONE 'UTC' - interval '1 day', 'YYYY-MM'))
    )
    SELECT l.posted_nano, l.version, (
        SELECT array_agg(ARRAY[field, nano]) FROM (
            SELECT replace(key_id::text, '-', '') || ':' || period, spent_nano::text FROM spent
            UNION ALL SELECT ':' || period, sum(spent_nano)::text FROM spent WHERE period <> 'total' GROUP BY period
            UNION ALL SELECT '\\:total', coalesce(sum(spent_nano), 0)::text FROM spent WHERE period = 'total'
        ) fields (field, nano)
    ) AS spends
    FROM ledger_accounts l WHERE l.account_id = :account_id AND l.kind = 'customer_credit'
""")
# The first load of an account in a generation; returns how many holds were asserted in it before.
_FIRST_LOAD = text(
    "INSERT INTO hot_accounts AS h (generation, account_id) VALUES (:generation, :account_id) ON CONFLICT DO NOTHING"
    " RETURNING (SELECT coalesce(sum(a.holds), 0) FROM hot_asserted a"
    " WHERE a.generation = h.generation AND a.account_id = h.account_id)"
)
_UNCONFIRMED_MAX = 100_000
# So many in a turn, a tenth of a second: a Redis that comes back has calls to answer, too.
_SENT_AGAIN_MAX = 1_000
_ACCOUNTS_SEEN_MAX = 100_000
# In place of the number of asserted holds, in a load that may not create the account.
NOT_FIRST = -1
_STATES = ("OOM ", "READONLY ", "MISCONF ", "NOREPLICAS ", "MASTERDOWN ")


def account_key(account_id: AccountId) -> str:
    """The account's hash; the braces are the hash tag that keeps all keys of an account on one Redis node."""
    return f"gr:{{{account_id.hex}}}"


def limits_key(account_id: AccountId) -> str:
    """The rate-limit clocks of the account's keys; they may be lost without harm to money, and live ten minutes."""
    return f"gr:{{{account_id.hex}}}:limits"


def due_key(account_id: AccountId) -> str:
    """Where the release before this one kept the instants at which holds are overdue."""
    return f"gr:{{{account_id.hex}}}:due"


class EndedHolds(msgspec.Struct, frozen=True):
    """Holds to free, and what their commit booked.

    ``spends`` is a flat list of ``<key hex>:<period>``, amount, with ``:<period>`` for the account.
    ``reload`` where an earlier attempt committed the charge, so that its version may never have been applied: the
    account is then set from Postgres before the holds are freed, else the credit would look free for a moment.
    ``tokens`` are those that each hold was billed, in the order of ``holds``; none where nothing was.
    """

    account_id: AccountId
    holds: tuple[RequestId, ...]
    version: int | None = None
    delta: int = 0
    spends: tuple[str | int, ...] = ()
    reload: bool = False
    tokens: tuple[int, ...] = ()


class LiveHold(msgspec.Struct, frozen=True):
    """What it takes to assert a hold again."""

    account_id: AccountId
    amount: NanoUSD
    key: str
    due_ms: int
    tokens_max: int
    tokens_per_minute: int


class Projection:
    """The account balances in Redis, as this process sees and feeds them."""

    def __init__(self, db: Database, generation: Generation) -> None:
        self._db = db
        self._generation = generation
        self.redis: RedisClient | None = None
        self.debts = Debts(db)
        self.live: dict[RequestId, LiveHold] = {}
        # The live holds whose charge is on its way to Postgres: only its outcome may end them.
        self.charging: set[RequestId] = set()
        self._loading: dict[AccountId, asyncio.Task[None]] = {}
        self._unconfirmed: list[EndedHolds] = []
        self._freed_events: dict[AccountId, asyncio.Event] = {}
        # Per account the generation and the most writes in it that Redis has told this process.
        self._writes_seen: dict[AccountId, tuple[int, int]] = {}
        # How often a script itself failed: always a bug of ours, or someone else wrote into Redis.
        self.script_faults = 0
        generation.set_callbacks(self.assert_live, self.void_holds)

    @property
    def is_connected(self) -> bool:
        """Whether Redis can be reached now."""
        return self.redis is not None and self.redis.is_open

    def call(self, script: Script, keys: list[str], args: list[Any]) -> "asyncio.Future[Any]":
        """Run one script; raises :class:`RedisUnavailable` at once while Redis is away."""
        if self.redis is None:
            raise RedisUnavailable("Redis was never connected")
        return self.redis.call(script, keys, args)

    def writes_seen(self, account_id: AccountId, generation: int) -> int:
        """The least number of writes that an account must have in Redis, unless it went back in time."""
        seen = self._writes_seen.get(account_id)
        return seen[1] if seen is not None and seen[0] == generation else 0

    def saw_writes(self, account_id: AccountId, generation: int, writes: int) -> None:
        """Remember the number of an account's writes; of the accounts that were called last."""
        known = self._writes_seen.pop(account_id, (0, 0))
        self._writes_seen[account_id] = max(known, (generation, writes))
        if len(self._writes_seen) > _ACCOUNTS_SEEN_MAX:
            del self._writes_seen[next(iter(self._writes_seen))]

    async def assert_live(self, generation: int) -> Counter[AccountId]:
        """Assert every hold that is live here in a new generation; returns how many each account has.

        Raises :class:`RedisUnavailable`.
        """
        live = dict(self.live)
        calls = [
            self.call(
                ASSERT,
                [account_key(h.account_id)],
                [generation, request_id.hex, h.amount, h.key, h.due_ms, h.tokens_max, h.tokens_per_minute],
            )
            for request_id, h in live.items()
        ]
        await asyncio.gather(*calls)
        return Counter(h.account_id for h in live.values())

    def void_holds(self) -> None:
        """Free the live holds that can no longer be charged, since others have passed a barrier without this process.

        A charge that is on its way may have been committed before that: its outcome ends its hold.
        """
        void = [(request_id, hold) for request_id, hold in self.live.items() if request_id not in self.charging]
        self.end_holds([EndedHolds(hold.account_id, (request_id,)) for request_id, hold in void])

    async def ensure_loaded(self, account_id: AccountId, generation: int) -> None:
        """Load an account that Redis does not know in this generation, whose barrier the caller has passed.

        Before its barrier a charge of an earlier generation may still come, which the balance would not know of.
        Callers of one account share one load.
        """
        task = self._loading.get(account_id)
        if task is None:
            task = asyncio.ensure_future(self._load_first(account_id, generation))
            self._loading[account_id] = task
            task.add_done_callback(lambda _: self._loading.pop(account_id, None))
        try:
            await asyncio.shield(task)
        except (*STORE_FAULTS, RedisUnavailable, ReplyError) as fault:
            raise BillingUnavailable("the account's balance cannot be loaded") from fault

    async def _load_first(self, account_id: AccountId, generation: int) -> None:
        async with self._db.statements() as connection:
            asserted = await connection.scalar(_FIRST_LOAD, {"generation": generation, "account_id": account_id})
        if asserted is None:
            # Loaded before in this generation: another process is loading it, or the hash is gone and holds with it.
            for _ in range(20):
                if await self._is_loaded(account_id, generation):
                    return
                await asyncio.sleep(0.05)
            await self._generation.start_next(generation, f"account {account_id.hex} was loaded and is gone")
            return
        for _ in range(5):
            reply = await self.load(account_id, generation, int(asserted))
            if reply == "lost":
                await self._generation.start_next(generation, f"account {account_id.hex} lost asserted holds")
            if reply in ("ok", "lost"):
                return
        raise BillingUnavailable("the balance keeps changing while it is loaded")

    async def _is_loaded(self, account_id: AccountId, generation: int) -> bool:
        assert self.redis is not None
        gen, loaded = await self.redis.command("HMGET", account_key(account_id), "gen", "loaded")
        return loaded is not None and gen is not None and int(gen) >= generation

    async def refresh(self, account_id: AccountId) -> str:
        """Set Redis to what Postgres has now; returns the script's answer: ok, newer, absent or stale."""
        return await self.load(account_id, self._generation.number, NOT_FIRST)

    async def load(self, account_id: AccountId, generation: int, asserted: int) -> str:
        """Load an account. Only the one load that :meth:`ensure_loaded` has recorded may create the account in Redis.

        It says how many holds were ``asserted`` before; Redis answers lost where it has seen fewer.
        """
        async with self._db.transaction() as tx:
            row = (await tx.execute(_POSTED, {"account_id": account_id})).one_or_none()
        if row is None:
            raise BillingUnavailable(f"account {account_id.hex} has no credit ledger account")
        spends = [item for pair in row.spends for item in pair]
        reply = await self.call(
            LOAD, [account_key(account_id)], [generation, row.version, row.posted_nano, asserted, *spends]
        )
        self._wake(account_id)
        return bytes(reply).decode()

    async def balance(self, account_id: AccountId) -> Balance:
        """The balance from Postgres, the holds from Redis (0 while it is away). Raises :class:`BillingUnavailable`."""
        try:
            async with self._db.transaction() as tx:
                row = (await tx.execute(_POSTED, {"account_id": account_id})).one()
                debt = await read_debt(tx, account_id)
        except STORE_FAULTS as fault:
            raise BillingUnavailable("the balance cannot be read") from fault
        held = 0
        try:
            if self.redis is not None:
                gen, text_held = await self.redis.command("HMGET", account_key(account_id), "gen", "held")
                held = int(text_held) if gen and text_held and int(gen) == self._generation.number else 0
        except (RedisUnavailable, ReplyError):
            held = 0
        return Balance(balance=NanoUSD(row.posted_nano), held=NanoUSD(held), version=row.version, debt=debt)

    def abandon(self, request_id: RequestId) -> None:
        """Forget a call whose charge has an unknown fate: its hold stays in Redis until the reaper asks Postgres."""
        self.live.pop(request_id, None)
        self.charging.discard(request_id)

    def end_holds(self, batch: Iterable[EndedHolds]) -> None:
        """Free holds and apply what was committed. Never waits; :meth:`run` sends again what fails."""
        for end in batch:
            for request_id in end.holds:
                self.live.pop(request_id, None)
                self.charging.discard(request_id)
            if end.reload:
                self._retry_later(end)
            else:
                self._send(end)

    def _send(self, end: EndedHolds) -> None:
        try:
            future = self.call(
                APPLY,
                [account_key(end.account_id), limits_key(end.account_id)],
                [
                    self._generation.number,
                    "" if end.version is None else end.version,
                    end.delta,
                    len(end.holds),
                    *(request_id.hex for request_id in end.holds),
                    *(end.tokens or (0,) * len(end.holds)),
                    *end.spends,
                ],
            )
        except RedisUnavailable:
            self._retry_later(end)
            return
        future.add_done_callback(lambda done: self._on_reply(end, done))

    def _on_reply(self, end: EndedHolds, done: "asyncio.Future[Any]") -> None:
        fault = None if done.cancelled() else done.exception()
        if fault is not None and _is_of_script(fault):
            self._script_failed(end, fault)
        elif done.cancelled() or fault is not None or done.result() == b"stale":
            self._retry_later(end)
        else:
            self._wake(end.account_id)

    def _script_failed(self, end: EndedHolds, fault: BaseException) -> None:
        """Repair after a command that would always fail: the balance comes from Postgres, each hold is freed by itself.

        A hold that cannot be freed even alone is left to the reaper, which tries at its own pace.
        """
        self._alarm(end, fault)
        if end.version is not None:
            self._retry_later(EndedHolds(end.account_id, end.holds, reload=True, tokens=end.tokens))
        elif len(end.holds) > 1:
            for place, request_id in enumerate(end.holds):
                self._send(EndedHolds(end.account_id, (request_id,), tokens=end.tokens[place : place + 1]))

    def _alarm(self, end: EndedHolds, fault: BaseException) -> None:
        self.script_faults += 1
        log.error(
            "redis_script_failed",
            account=end.account_id.hex,
            holds=[request_id.hex for request_id in end.holds[:10]],
            version=end.version,
            fault=str(fault)[:300],
        )

    def _retry_later(self, end: EndedHolds) -> None:
        # What is dropped beyond the bound is repaired: the reaper ends the holds, the resync sets the balance.
        if len(self._unconfirmed) < _UNCONFIRMED_MAX:
            self._unconfirmed.append(end)

    def on_credit_change(self, account: str) -> None:
        """Handle a notification of new credit: :meth:`run` sets the account's balance from Postgres."""
        if account:
            self._retry_later(EndedHolds(AccountId(parse(AccountId, account)), (), reload=True))

    async def flush(self, timeout_s: float = 2.0) -> None:
        """Wait until everything was sent and answered once, at an orderly end."""
        with suppress(TimeoutError, RedisUnavailable, ReplyError):
            async with asyncio.timeout(timeout_s):
                if self.redis is not None:
                    await asyncio.gather(*self.redis.command_all("PING"))

    def credit_freed(self, account_id: AccountId) -> asyncio.Event:
        """An event that is set when credit of the account may have become free in this process."""
        return self._freed_events.setdefault(account_id, asyncio.Event())

    def _wake(self, account_id: AccountId) -> None:
        event = self._freed_events.pop(account_id, None)
        if event is not None:
            event.set()

    async def run(self) -> None:
        """Send again what Redis did not confirm, until cancelled."""
        while True:
            await asyncio.sleep(0.1)
            if self._unconfirmed and self.is_connected:
                retries, self._unconfirmed = self._unconfirmed[:_SENT_AGAIN_MAX], self._unconfirmed[_SENT_AGAIN_MAX:]
                for end in retries:
                    if end.reload:
                        await self._reload(end)
                    elif end.holds or end.version is not None:
                        self._send(end)

    async def _reload(self, end: EndedHolds) -> None:
        """Set the account from Postgres, then free the holds; tries again later where that was not possible yet."""
        try:
            is_set = await self.set_from_postgres(end.account_id)
        except ReplyError as fault:
            if _is_of_script(fault):
                # The resync and the reaper repair this; a retry here would only fail again.
                self._alarm(end, fault)
                return
            is_set = False
        except (*STORE_FAULTS, RedisUnavailable):
            is_set = False
        if not is_set:
            self._retry_later(end)
        elif end.holds:
            self._send(end)

    async def set_from_postgres(self, account_id: AccountId) -> bool:
        """Set Redis from Postgres; False where Redis refused, so that some version may still be missing there.

        "newer" is a refusal too: a later version was applied while an earlier one may not have been.
        """
        return await self.refresh(account_id) in ("ok", "absent")


def _is_of_script(fault: BaseException) -> bool:
    """Whether a script itself failed, not Redis by its own state, even where a script met that state."""
    message = str(fault)
    by_script = isinstance(fault, ReplyError) and message.startswith("ERR ")
    return by_script and not any(state in message for state in _STATES)
