"""Takes credit back from an account: what expired, is refunded or disputed, or lent no longer.

Credit that calls in flight hold is theirs. So this holds what is free, as a call would, books it, and begins again
until all is taken: on the busiest account each turn takes whatever is free at that instant. A hold ends once, as a
call's does, in ``ended_calls``: one that was given up meanwhile takes nothing. Whoever repeats it goes on where it
stopped.
"""

import asyncio
from contextlib import suppress
from datetime import date, timedelta
from enum import StrEnum

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.admission import Admission
from billing.chart import LedgerKind
from billing.credits import GIFTS, GrantKind, debt_payment, use_grant
from billing.debt import lock_credit, read_debt, read_usage_debt
from billing.generation import Generation, locks_lease
from billing.ledger import Posting, post
from billing.money import NanoUSD, Price
from billing.periods import is_open
from billing.projection import EndedHolds, Projection
from billing.values import Denied, Hold, Limits, Payer, Quote
from store.clock import Clock
from store.ids import AccountId, EntryId, GrantId, KeyId, ModelId, PriceId, RequestId, new_id
from store.postgres import Database

# The hold belongs to no customer's key, so its limits are out of reach.
_UNLIMITED = Limits(requests_per_minute=1_000_000_000, tokens_per_minute=1_000_000_000, concurrency=1_000_000_000)
# How long one turn waits for credit to become free, and how often it looks.
WAIT_S = 10.0
LOOK_S = 0.02
# More steps than that for one fact would be a bug: each takes all that is free.
STEPS_MAX = 1_000


class Reason(StrEnum):
    """Why credit is taken back; also the kind of the entries."""

    EXPIRY = "expiry"
    REFUND = "refund"
    DISPUTE = "dispute"
    LINE = "line"
    DEBT = "debt"
    MINIMUM = "minimum"


# What each reason takes, in this order, and where it goes; debts are paid to the account's own overdraft.
_RULES: dict[Reason, dict[GrantKind, LedgerKind]] = {
    Reason.EXPIRY: {
        GrantKind.PROMOTIONAL: LedgerKind.PROMOTIONAL_CONTRA,
        GrantKind.GOODWILL: LedgerKind.GOODWILL_EXPENSE,
        GrantKind.PURCHASED: LedgerKind.BREAKAGE,
    },
    Reason.REFUND: {GrantKind.PURCHASED: LedgerKind.REFUNDS},
    Reason.DISPUTE: {
        GrantKind.PURCHASED: LedgerKind.DISPUTES,
        GrantKind.PROMOTIONAL: LedgerKind.PROMOTIONAL_CONTRA,
        GrantKind.GOODWILL: LedgerKind.GOODWILL_EXPENSE,
    },
    Reason.LINE: {GrantKind.LINE: LedgerKind.CREDIT_LINES},
    # Given credit pays for usage alone, here and where it pays debt. What a month's usage lacks is paid for and not
    # used, as breakage is.
    Reason.MINIMUM: dict.fromkeys((GrantKind.PURCHASED, GrantKind.LINE), LedgerKind.BREAKAGE),
    Reason.DEBT: dict.fromkeys(
        (GrantKind.PROMOTIONAL, GrantKind.GOODWILL, GrantKind.PURCHASED, GrantKind.LINE), LedgerKind.CUSTOMER_OVERDRAFT
    ),
}

_LEFT = text("""
    SELECT id, kind, remaining_nano FROM grants
    WHERE account_id = :account_id AND remaining_nano > 0 AND kind = ANY(:kinds)
        AND (cardinality(CAST(:grants AS uuid[])) = 0 OR id = ANY(CAST(:grants AS uuid[])))
    ORDER BY array_position(CAST(:kinds AS text[]), kind), CASE WHEN :as_spent THEN expires_at END NULLS LAST,
        CASE WHEN :as_spent THEN granted_at END, granted_at DESC, id DESC
""")
# By number, since facts are found by their key alone.
_TAKEN = text("""
    SELECT count(DISTINCT f.entry_id) AS steps, coalesce(sum(u.amount_nano), 0)::bigint AS amount,
        EXISTS (SELECT FROM booked_facts WHERE source_ref = :owed) AS rest_is_owed
    FROM booked_facts f LEFT JOIN grant_uses u ON u.entry_id = f.entry_id
    WHERE f.source_ref = ANY(ARRAY(SELECT :source || ':' || n FROM generate_series(1, :steps_max) AS n))
""")
_END = text("""
    INSERT INTO ended_calls (request_id, outcome, account_id, entry_id, occurred_at)
    VALUES (:hold, 'charged', :account_id, :entry, now()) ON CONFLICT DO NOTHING RETURNING request_id
""")
_VERSION = text("SELECT version FROM ledger_accounts WHERE account_id = :account_id AND kind = 'customer_credit'")


class TakeBack(msgspec.Struct, frozen=True, kw_only=True):
    """What to take from an account: at most ``amount``, of ``grants`` where they are named, else of all by the reason.

    ``source`` is the fact behind it; its steps are booked as ``source:1``, ``source:2`` and so on, however often it is
    repeated. ``owe_rest``: what the credit did not have becomes debt. ``period``: the month that it belongs to where
    that is still open, else it is the month of the booking.
    """

    account_id: AccountId
    reason: Reason
    source: str
    amount: NanoUSD
    grants: tuple[GrantId, ...] = ()
    owe_rest: bool = False
    period: date | None = None


class TakenBack(msgspec.Struct, frozen=True):
    """What was taken by all turns so far, what of it became debt, and what calls in flight still hold."""

    taken: NanoUSD
    owed: NanoUSD
    waiting: NanoUSD


class HoldGivenUp(Exception):
    """Others gave the hold up before it was booked, so what it held may be another call's."""


class _Progress(msgspec.Struct, frozen=True):
    """How many steps were booked, how much they took, and what the grants still have of the wanted amount.

    Once the rest is owed nothing is left to take: credit that comes later pays the debt.
    """

    steps: int
    taken: int
    left: int
    rest_is_owed: bool
    grants: list[tuple[GrantId, GrantKind, int]]


async def take_back(
    db: Database,
    admission: Admission,
    projection: Projection,
    generation: Generation,
    wanted: TakeBack,
    *,
    wait_s: float = WAIT_S,
) -> TakenBack:
    """Take credit back until all is taken, or nothing became free for ``wait_s``. Raises BillingUnavailable."""
    while True:
        async with db.transaction() as tx:
            progress = await _progress(tx, wanted)
            owed = await _owe_rest(tx, wanted) if progress.left == 0 else None
        if owed is not None:
            return TakenBack(NanoUSD(progress.taken), NanoUSD(owed), NanoUSD(0))
        if progress.left == 0:
            # Credit came meanwhile, and is taken first.
            continue
        hold = await _hold_free(admission, projection, wanted.account_id, progress.left, db.clock, wait_s)
        if hold is None:
            return TakenBack(NanoUSD(progress.taken), NanoUSD(0), NanoUSD(progress.left))
        with suppress(HoldGivenUp):
            await _book_held(db, projection, generation, wanted, hold)


async def _hold_free(
    admission: Admission, projection: Projection, account_id: AccountId, wanted: int, clock: Clock, wait_s: float
) -> Hold | None:
    """Hold what is free, at most ``wanted``; None where nothing became free in time."""
    loop = asyncio.get_running_loop()
    until = loop.time() + wait_s
    amount = wanted
    while True:
        now = clock.now()
        price = Price(PriceId(new_id()), ModelId(""), 0, now - timedelta(days=1))
        quote = Quote(1, NanoUSD(amount), price, exact=True)
        # A deadline of now, so that admission answers at once and the hold is overdue after its grace alone.
        payer = Payer(account_id, KeyId(account_id), _UNLIMITED)
        answer = await admission.admit(RequestId(new_id()), payer, quote, now, loop.time(), None)
        if not isinstance(answer, Denied):
            return answer
        free = answer.balance - answer.held
        if free > 0:
            # Another call may take of it before the next try, which then learns how much is left.
            amount = min(wanted, free)
        elif loop.time() >= until:
            return None
        else:
            await _wait(projection.credit_freed(account_id))


async def _wait(freed: asyncio.Event) -> None:
    """Wait until this process frees credit of the account; others may at any time."""
    try:
        async with asyncio.timeout(LOOK_S):
            await freed.wait()
    except TimeoutError:
        return


async def _book_held(
    db: Database, projection: Projection, generation: Generation, wanted: TakeBack, hold: Hold
) -> None:
    """Book what was held, then free the hold with it."""
    account_id = wanted.account_id
    try:
        async with db.transaction() as tx:
            # As a charge, it belongs to the lease that its hold was made under.
            if not await locks_lease(tx, generation.lease_of(hold.process_id)):
                raise HoldGivenUp
            amount, version = await _book(tx, wanted, hold)
    except BaseException:
        # It may have been committed: the balance is set from Postgres before the hold is freed.
        projection.end_holds([EndedHolds(account_id, (hold.id,), reload=True)])
        raise
    projection.end_holds([EndedHolds(account_id, (hold.id,), version, -amount)])


async def _book(tx: AsyncConnection, wanted: TakeBack, hold: Hold) -> tuple[int, int | None]:
    """Take the held amount from the grants; returns how much that was, and the credit's version of it."""
    account_id = wanted.account_id
    await lock_credit(tx, account_id)
    progress = await _progress(tx, wanted)
    amount = min(hold.quote.amount_max, progress.left)
    takes: list[tuple[GrantId, GrantKind, NanoUSD]] = []
    for grant_id, kind, remaining in progress.grants:
        if take := min(amount - sum(taken for _, _, taken in takes), remaining):
            takes.append((grant_id, kind, NanoUSD(take)))
    if not takes:
        return 0, None
    legs = [Posting(LedgerKind.CUSTOMER_CREDIT, NanoUSD(-amount), account_id)]
    for _, kind, take in takes:
        legs += _legs(wanted, kind, take)
    source_ref, period = f"{wanted.source}:{progress.steps + 1}", await _period(tx, wanted)
    entry_id = await post(tx, wanted.reason, source_ref, legs, account_id=account_id, note=wanted.source, period=period)
    await _end_hold(tx, hold, entry_id)
    for grant_id, _, take in takes:
        await use_grant(tx, grant_id, entry_id, take)
    return amount, int(await tx.scalar(_VERSION, {"account_id": account_id}))


async def _end_hold(tx: AsyncConnection, hold: Hold, entry_id: EntryId) -> None:
    facts = {"hold": hold.id, "account_id": hold.payer.account_id, "entry": entry_id}
    if await tx.scalar(_END, facts) is None:
        raise HoldGivenUp


def _legs(wanted: TakeBack, kind: GrantKind, take: NanoUSD) -> list[Posting]:
    if wanted.reason is Reason.DEBT:
        return debt_payment(wanted.account_id, kind, take)
    return [Posting(_RULES[wanted.reason][kind], take)]


async def _progress(tx: AsyncConnection, wanted: TakeBack) -> _Progress:
    fact = {"source": wanted.source, "owed": f"{wanted.source}:owed", "steps_max": STEPS_MAX}
    done = (await tx.execute(_TAKEN, fact)).one()
    kinds = [kind.value for kind in _RULES[wanted.reason]]
    facts = {"account_id": wanted.account_id, "kinds": kinds, "grants": list(wanted.grants)}
    # The newest grants first, but for what is charged: that uses grants up as a call would.
    facts["as_spent"] = wanted.reason is Reason.MINIMUM
    grants = [(GrantId(g.id), GrantKind(g.kind), int(g.remaining_nano)) for g in await tx.execute(_LEFT, facts)]
    limit = wanted.amount - done.amount
    if wanted.reason is Reason.DEBT:
        limit = min(limit, await read_debt(tx, wanted.account_id))
        grants = _payable(grants, await read_usage_debt(tx, wanted.account_id))
    # Once its rest is debt, new credit pays that debt, and the fact takes nothing more.
    left = 0 if done.rest_is_owed else max(0, min(limit, sum(remaining for _, _, remaining in grants)))
    return _Progress(done.steps, done.amount, left, done.rest_is_owed, grants)


def _payable(grants: list[tuple[GrantId, GrantKind, int]], usage: int) -> list[tuple[GrantId, GrantKind, int]]:
    """The grants with what each may pay of a debt: those that were given together no more than ``usage`` of it."""
    payable = []
    for grant_id, kind, remaining in grants:
        part = min(remaining, usage) if kind in GIFTS else remaining
        usage -= part if kind in GIFTS else 0
        payable.append((grant_id, kind, part))
    return payable


async def _owe_rest(tx: AsyncConnection, wanted: TakeBack) -> int | None:
    """Book as debt what the credit did not have, once; returns how much. None where credit came meanwhile."""
    if not wanted.owe_rest:
        return 0
    await lock_credit(tx, wanted.account_id)
    progress = await _progress(tx, wanted)
    if progress.left:
        return None
    rest = wanted.amount - progress.taken
    if rest and not progress.rest_is_owed:
        into = _RULES[wanted.reason][GrantKind.PURCHASED]
        debt = Posting(LedgerKind.CUSTOMER_OVERDRAFT, NanoUSD(-rest), wanted.account_id)
        legs = [debt, Posting(into, NanoUSD(rest))]
        source_ref = f"{wanted.source}:owed"
        period = await _period(tx, wanted)
        await post(tx, wanted.reason, source_ref, legs, account_id=wanted.account_id, note=wanted.source, period=period)
    return rest


async def _period(tx: AsyncConnection, wanted: TakeBack) -> date | None:
    return wanted.period if wanted.period is not None and await is_open(tx, wanted.period) else None
