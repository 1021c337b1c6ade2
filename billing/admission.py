"""Admits calls: one Redis script checks every limit and holds the credit, or says why not.

A refusal is a value. Credit and tokens that calls in flight hold are worth a short wait: those calls usually take less
than their bound. Admission knows no HTTP and no provider; the caller brings a function that counts exactly where the
bound does not fit. Of the tokens per minute a call holds its bound, too, until the number that is billed takes its
place; where nobody can count beforehand, a guess must fit (docs/limits.md).
"""

import asyncio
import math
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import msgspec
from hiredis import ReplyError

from billing.cap_rules import cap_arguments
from billing.errors import BillingUnavailable
from billing.generation import Generation
from billing.money import NanoUSD
from billing.projection import ADMIT, EndedHolds, LiveHold, Projection, account_key, limits_key
from billing.values import Denial, Denied, Hold, Limits, LimitState, Payer, Quote
from store.ids import AccountId, RequestId
from store.postgres import STORE_FAULTS
from store.redis_client import RedisUnavailable

MINUTE_US = 60_000_000

# After its call's deadline a hold waits this long for the charge, then the reaper asks Postgres.
GRACE_S = 20.0
# The longest waits of a call: for credit that other calls hold, and for a new generation of Redis.
HELD_WAIT_S = 5.0
GENERATION_WAIT_S = 6.0

_TOKEN_REASONS = {Denial.TOKENS, Denial.TOKENS_HELD, Denial.TOKENS_NEVER}
_RECOUNT_REASONS = {Denial.CREDIT, Denial.CREDIT_HELD, Denial.CAP, Denial.CAP_HELD, *_TOKEN_REASONS}
_WAIT_REASONS = {Denial.CREDIT_HELD, Denial.CAP_HELD, Denial.TOKENS_HELD}

Recount = Callable[[], Awaitable[Quote | None]]


class Admission:
    """The only maker of holds."""

    def __init__(self, projection: Projection, generation: Generation, grace_s: float = GRACE_S) -> None:
        self._grace_s = grace_s
        self._projection = projection
        self._generation = generation

    async def admit(
        self,
        request_id: RequestId,
        payer: Payer,
        quote: Quote,
        now: datetime,
        deadline_at: float,
        recount: Recount | None,
    ) -> Hold | Denied:
        """Hold the quoted amount, or refuse; ``now`` says the caps' periods, ``deadline_at`` is on the loop's clock.

        ``recount`` is None where nobody can count. Raises :class:`BillingUnavailable`.
        """
        loop = asyncio.get_running_loop()
        give_up_at = min(loop.time() + HELD_WAIT_S, deadline_at)
        can_count = recount is not None and not quote.exact
        left_s = max(0.0, deadline_at - loop.time())
        due_ms = int((self._generation.clock.now().timestamp() + left_s + self._grace_s) * 1000)
        while True:
            tokens_least = quote.tokens_max if quote.exact or can_count else min(quote.tokens_limited, quote.tokens_max)
            answer = await self._admit_once(request_id, payer, quote, tokens_least, now, due_ms)
            if isinstance(answer, Hold):
                return answer
            if answer.reason in _RECOUNT_REASONS and can_count and recount is not None:
                can_count = False
                exact = await recount()
                if exact is not None and exact.amount_max <= quote.amount_max:
                    quote = exact
                    continue
                if answer.reason in _TOKEN_REASONS:
                    continue
            if answer.reason not in _WAIT_REASONS or loop.time() >= give_up_at:
                return answer
            await _wait(self._projection.credit_freed(payer.account_id), min(0.1, give_up_at - loop.time()))

    def release(self, hold: Hold) -> None:
        """Free a hold without a charge. Never waits; does nothing where it has ended or its charge is on its way."""
        if hold.id in self._projection.live and hold.id not in self._projection.charging:
            self._projection.end_holds([EndedHolds(hold.payer.account_id, (hold.id,))])

    async def _admit_once(
        self, request_id: RequestId, payer: Payer, quote: Quote, tokens_least: int, now: datetime, due_ms: int
    ) -> Hold | Denied:
        """One decision of the script, after loading what Redis does not know."""
        caps = cap_arguments(payer.caps, payer.key_id, now)
        live = LiveHold(
            payer.account_id,
            quote.amount_max,
            payer.key_id.hex,
            due_ms,
            quote.tokens_max,
            payer.limits.tokens_per_minute,
        )
        for _ in range(4):
            if not await self._generation.ready(GENERATION_WAIT_S):
                raise BillingUnavailable("Redis is being rebuilt, or Postgres cannot be reached")
            lease = self._generation.lease
            generation = lease.generation
            # Recorded as live before the script runs: a rebuild in between must assert it.
            self._projection.live[request_id] = live
            try:
                reply = await self._call(request_id, live, payer, tokens_least, generation, caps)
            except (RedisUnavailable, ReplyError) as fault:
                self._projection.end_holds([EndedHolds(payer.account_id, (request_id,))])
                raise BillingUnavailable("Redis did not answer the admission") from fault
            except asyncio.CancelledError:
                self._projection.end_holds([EndedHolds(payer.account_id, (request_id,))])
                raise
            if len(reply) > 1:
                self._projection.saw_writes(payer.account_id, generation, int(reply[8]))
            if reply[0] == b"ok":
                return Hold(request_id, payer, quote, _limit_state(payer.limits, reply), lease.process_id)
            self._drop_refused(payer.account_id, request_id, generation)
            if reply[0] == b"unknown":
                await self._projection.ensure_loaded(payer.account_id, generation)
            elif reply[0] == b"stale":
                await self._await_newer_generation(generation)
            elif reply[0] == b"no_spends":
                await self._load_spends(payer.account_id)
            elif reply[0] == b"went_back":
                await self._start_next(payer.account_id, generation)
            else:
                return await self._with_debt(_denied(reply, quote, tokens_least, payer), payer.account_id)
        raise BillingUnavailable("the account's balance keeps vanishing from Redis")

    async def _with_debt(self, denied: Denied, account_id: AccountId) -> Denied:
        """The refusal with what the account owes, where its credit is in the way: new credit pays that first."""
        if denied.reason is not Denial.CREDIT:
            return denied
        return msgspec.structs.replace(denied, debt=await self._projection.debts.recent(account_id))

    def _call(
        self,
        request_id: RequestId,
        live: LiveHold,
        payer: Payer,
        tokens_least: int,
        generation: int,
        caps: list[str | int],
    ) -> "asyncio.Future[Any]":
        account, limits = payer.account_id, payer.limits
        return self._projection.call(
            ADMIT,
            [account_key(account), limits_key(account)],
            [
                generation,
                request_id.hex,
                live.amount,
                live.key,
                limits.requests_per_minute,
                limits.tokens_per_minute,
                limits.concurrency,
                live.tokens_max,
                live.due_ms,
                tokens_least,
                self._projection.writes_seen(account, generation),
                *caps,
            ],
        )

    def _drop_refused(self, account_id: AccountId, request_id: RequestId, generation: int) -> None:
        """Forget a refused call, which holds nothing; if a rebuild has asserted its hold meanwhile, free that."""
        if self._generation.number != generation:
            self._projection.end_holds([EndedHolds(account_id, (request_id,))])
        else:
            self._projection.live.pop(request_id, None)

    async def _load_spends(self, account_id: AccountId) -> None:
        """Have Redis learn what an account spent, where a release that knew no caps of accounts has loaded it."""
        try:
            await self._projection.refresh(account_id)
        except (*STORE_FAULTS, RedisUnavailable, ReplyError) as fault:
            raise BillingUnavailable("what the account spent cannot be loaded") from fault

    async def _start_next(self, account_id: AccountId, generation: int) -> None:
        """Have everything asserted and loaded again, where an account is older than this process has seen it."""
        try:
            await self._generation.start_next(generation, f"account {account_id.hex} went back in time")
        except STORE_FAULTS as fault:
            raise BillingUnavailable("Postgres cannot start the next generation") from fault

    async def _await_newer_generation(self, generation: int) -> None:
        """Wait until the next beat tells the newer generation that Redis knows."""
        for _ in range(100):
            if self._generation.number > generation:
                return
            await asyncio.sleep(0.02)


async def _wait(event: asyncio.Event, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(max(0.001, timeout_s)):
            await event.wait()
    except TimeoutError:
        return


def _limit_state(limits: Limits, reply: list[bytes]) -> LimitState:
    requests_us, tokens_us, reserved = int(reply[3]), int(reply[4]), int(reply[7])
    used = math.ceil(tokens_us * limits.tokens_per_minute / MINUTE_US) + reserved
    return LimitState(
        requests_limit=limits.requests_per_minute,
        requests_remaining=max(0, (MINUTE_US - requests_us) * limits.requests_per_minute // MINUTE_US),
        requests_reset_ms=math.ceil(requests_us / 1000),
        tokens_limit=limits.tokens_per_minute,
        tokens_remaining=max(0, limits.tokens_per_minute - used),
        tokens_reset_ms=math.ceil(used * 60_000 / limits.tokens_per_minute),
    )


def _denied(reply: list[bytes], quote: Quote, tokens_least: int, payer: Payer) -> Denied:
    place = int(reply[9])
    return Denied(
        reason=Denial(reply[0].decode()),
        needed=quote.amount_max,
        balance=NanoUSD(int(reply[1])),
        held=NanoUSD(int(reply[2])),
        spent=NanoUSD(int(reply[6])),
        retry_after_ms=math.ceil(int(reply[5]) / 1000),
        limits=_limit_state(payer.limits, reply),
        tokens=tokens_least,
        counted=quote.exact,
        cap=payer.caps[place - 1] if place else None,
    )
