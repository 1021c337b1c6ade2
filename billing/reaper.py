"""Repairs the projection: ends overdue holds, and reloads accounts whose balance in Redis fell behind Postgres.

An overdue hold is ended in Postgres first, if Postgres finds it overdue by its own clock: either its charge is there
already, or a "released" row makes a late charge impossible. Only then is its credit freed in Redis. Both jobs are safe
to run twice and in any number of processes.
"""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import msgspec
from sqlalchemy import text

from billing.projection import OVERDUE, EndedHolds, Projection, account_key, due_key
from store.ids import AccountId, RequestId, parse
from store.postgres import Database

_RELEASE = text(
    "SELECT request_id, outcome FROM release_overdue_calls("
    "CAST(:calls AS uuid[]), CAST(:payers AS uuid[]), CAST(:dues AS timestamptz[]))"
)
_VERSIONS = text(
    "SELECT account_id, version, posted_nano FROM ledger_accounts WHERE kind = 'customer_credit'"
    " AND account_id = ANY (CAST(:accounts AS uuid[]))"
)
_BILLED = text(
    "SELECT e.request_id, u.tokens FROM ended_calls e"
    " JOIN usage_events u ON u.request_id = e.request_id AND u.occurred_at = e.occurred_at"
    " WHERE e.request_id = ANY (CAST(:calls AS uuid[]))"
)
_PAGE = 200


class Mismatch(msgspec.Struct, frozen=True):
    """An account whose version or balance in Redis is not the one in Postgres."""

    account_id: AccountId
    version: int
    redis_version: int
    balance: int
    redis_balance: int


async def accounts_in_redis(projection: Projection) -> AsyncIterator[AccountId]:
    """Iterate over every account that is in Redis now, on the primaries that can be reached."""
    assert projection.redis is not None
    async for key in projection.redis.keys("gr:{*}"):
        name = key.decode()
        if name.endswith("}"):
            yield AccountId(parse(AccountId, name[4:-1]))


async def reap(db: Database, projection: Projection, longest_s: float) -> int:
    """End every overdue hold; returns how many. Raises the stores' own faults.

    ``longest_s`` is how long a hold may live: a hold that has lost its instant is overdue after that.
    """
    assert projection.redis is not None
    ended = 0
    async for account_id in accounts_in_redis(projection):
        now_ms = int(db.clock.now().timestamp() * 1000)
        keys, latest_ms = [account_key(account_id), due_key(account_id)], now_ms + int(longest_s * 1000)
        overdue = await projection.call(OVERDUE, keys, [now_ms, latest_ms, _PAGE])
        if not overdue:
            continue
        dues = [datetime.fromtimestamp(int(due_ms) / 1000, UTC) for due_ms in overdue[1::2]]
        calls = [RequestId(parse(RequestId, bytes(request).decode())) for request in overdue[::2]]
        async with db.transaction() as tx:
            values = {"calls": calls, "payers": [account_id] * len(calls), "dues": dues}
            rows = (await tx.execute(_RELEASE, values)).all()
            calls = [RequestId(row.request_id) for row in rows]
            billed: dict[RequestId, int] = {}
            if any(row.outcome == "charged" for row in rows):
                billed = {row.request_id: row.tokens for row in await tx.execute(_BILLED, {"calls": calls})}
        # A committed charge may never have been applied: the balance is set from Postgres before its hold is freed.
        if any(row.outcome == "charged" for row in rows) and not await projection.set_from_postgres(account_id):
            continue
        if not calls:
            continue
        tokens = tuple(billed.get(call, 0) for call in calls)
        projection.end_holds([EndedHolds(account_id, tuple(calls), tokens=tokens)])
        ended += len(calls)
    return ended


async def count_overdue(projection: Projection, account_id: AccountId, before_ms: int) -> int:
    """How many holds of an account were overdue at an instant and are still there. Changes nothing."""
    assert projection.redis is not None
    flat = await projection.redis.command("HGETALL", account_key(account_id))
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    dues = [fields.get(b"d:" + name[2:]) for name in fields if name.startswith(b"h:")]
    return sum(due is not None and int(due) <= before_ms for due in dues)


async def mismatches(db: Database, projection: Projection) -> list[Mismatch]:
    """Compare every loaded account with Postgres. A commit in flight shows for a moment: compare twice."""
    assert projection.redis is not None
    in_redis: dict[AccountId, tuple[int, int]] = {}
    async for account_id in accounts_in_redis(projection):
        loaded, version, balance = await projection.redis.command(
            "HMGET", account_key(account_id), "loaded", "ver", "bal"
        )
        if loaded is not None:
            in_redis[account_id] = (int(version), int(balance))
    if not in_redis:
        return []
    async with db.transaction() as tx:
        rows = (await tx.execute(_VERSIONS, {"accounts": list(in_redis)})).all()
    return [
        Mismatch(
            AccountId(row.account_id),
            version=row.version,
            redis_version=version,
            balance=row.posted_nano,
            redis_balance=balance,
        )
        for row in rows
        for version, balance in [in_redis[AccountId(row.account_id)]]
        if (version, balance) != (row.version, row.posted_nano)
    ]


async def resync(db: Database, projection: Projection, before: set[AccountId]) -> set[AccountId]:
    """Reload the accounts that were behind last time (``before``) and still are; returns the newly behind ones."""
    behind = {m.account_id for m in await mismatches(db, projection) if m.redis_version <= m.version}
    for account_id in behind & before:
        await projection.refresh(account_id)
    return behind - before
