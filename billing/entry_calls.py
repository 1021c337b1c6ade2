"""Finds the calls of a usage entry, and which grants paid each of them.

Usage events have no index by entry, because that would cost every call: they are found by their account and time, at
first close to the commit, then over the whole month. That all are found shows: what they cost sums to the entry.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.movements import Movement, find_movement
from billing.shares import ChargeDetail, GrantShare, charge_detail, share
from billing.values import UsageEvent
from store.ids import AccountId, RequestId

# A call is booked when it is answered; a process that had lost Postgres books later.
NEAR = timedelta(minutes=3)
LATE_AT_MOST = timedelta(days=100)

_CALLS = text("""
    SELECT request_id, occurred_at, model_id, tokens, nano_per_mtok, cost_nano, charged_nano, overdraft_nano
    FROM usage_events WHERE account_id = :account_id AND occurred_at >= :since AND occurred_at < :until
        AND entry_id = :entry_id ORDER BY request_id
""")


class EntryCall(msgspec.Struct, frozen=True):
    """One call of an entry: what it cost, and what of that credit reached."""

    request_id: RequestId
    occurred_at: datetime
    model_id: str
    tokens: int
    nano_per_mtok: int
    cost_nano: int
    charged_nano: int
    overdraft_nano: int


async def calls_of(tx: AsyncConnection, account_id: AccountId, movement: Movement) -> list[EntryCall]:
    """All calls of a usage entry, in the order in which they used up grants; empty where not all were found."""
    amount = movement.debt_change - movement.balance_change
    for since, until in _windows(movement):
        facts = {"account_id": account_id, "since": since, "until": until, "entry_id": movement.entry}
        calls = [EntryCall(*row) for row in await tx.execute(_CALLS, facts)]
        if sum(call.cost_nano for call in calls) == amount:
            return calls
    return []


def _windows(movement: Movement) -> Iterator[tuple[datetime, datetime]]:
    """Spans in which the calls of an entry were admitted, the likeliest first."""
    booked = movement.booked_at.astimezone(UTC)
    yield booked - NEAR, booked + NEAR
    month = movement.at.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    yield month, (month + timedelta(days=32)).replace(day=1)
    # A call of a month that was closed before it was booked is an entry of a later one.
    yield month - LATE_AT_MOST, booked + NEAR


async def explain_charge(tx: AsyncConnection, usage: UsageEvent) -> ChargeDetail:
    """How the charge of a call came about."""
    return charge_detail(usage.tokens, usage.nano_per_mtok, usage.cost_nano, await _grants_of(tx, usage))


async def _grants_of(tx: AsyncConnection, usage: UsageEvent) -> tuple[GrantShare, ...] | None:
    if usage.entry_id is None or usage.charged_nano == 0:
        return ()
    movement = await find_movement(tx, usage.account_id, usage.entry_id)
    calls = [] if movement is None else await calls_of(tx, usage.account_id, movement)
    if movement is None or usage.request_id not in {call.request_id for call in calls}:
        return None
    starts = sum(call.charged_nano for call in calls if call.request_id < usage.request_id)
    return share(movement.paid_by, starts, starts + usage.charged_nano)
