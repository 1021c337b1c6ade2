"""What repairs the projection: overdue holds are ended, accounts that fell behind Postgres are set anew.

An overdue hold is ended in Postgres first: either its charge is already there, or a "released" row makes a late one
impossible. Only then does the credit come free in Redis. Safe to run twice and in any number of processes.
"""

import time
from collections.abc import AsyncIterator

import msgspec
from sqlalchemy import text

from billing.projection import Ended, Projection, account_key, due_key
from store.ids import AccountId, RequestId, parse
from store.postgres import Database

_RELEASE = text("SELECT request_id, outcome FROM release_calls(CAST(:calls AS uuid[]), CAST(:payers AS uuid[]))")
_VERSIONS = text(
    "SELECT account_id, version, posted_nano FROM ledger_accounts WHERE kind = 'customer_credit'"
    " AND account_id = ANY (CAST(:accounts AS uuid[]))"
)
_PAGE = 200


class Mismatch(msgspec.Struct, frozen=True):
    """An account whose balance in Redis is not the one in Postgres."""

    account_id: AccountId
    version: int
    seen_version: int
    balance: int
    seen_balance: int


async def hot_accounts(projection: Projection) -> AsyncIterator[AccountId]:
    """Every account that Redis knows of now, on the primaries that can be asked."""
    assert projection.redis is not None
    async for key in projection.redis.keys("gr:{*}"):
        name = key.decode()
        if name.endswith("}"):
            yield AccountId(parse(AccountId, name[4:-1]))


async def reap(db: Database, projection: Projection, now_ms: int | None = None) -> int:
    """End every overdue hold; returns how many. Raises the stores' own faults."""
    assert projection.redis is not None
    now_ms = int(time.time() * 1000) if now_ms is None else now_ms
    ended = 0
    async for account_id in hot_accounts(projection):
        overdue = await projection.redis.command(
            "ZRANGEBYSCORE", due_key(account_id), "-inf", now_ms, "LIMIT", 0, _PAGE
        )
        if not overdue:
            continue
        calls = [RequestId(parse(RequestId, bytes(member).decode())) for member in overdue]
        async with db.transaction() as tx:
            rows = (await tx.execute(_RELEASE, {"calls": calls, "payers": [account_id] * len(calls)})).all()
        # A charge that was committed may never have been applied: the balance is set anew before its hold goes.
        if any(row.outcome == "charged" for row in rows) and not await projection.is_as_postgres(account_id):
            continue
        projection.ended([Ended(account_id, tuple(calls))])
        ended += len(calls)
    return ended


async def mismatches(db: Database, projection: Projection) -> list[Mismatch]:
    """Compare every loaded account with Postgres. A commit in flight shows for a moment: ask twice before alarming."""
    assert projection.redis is not None
    seen: dict[AccountId, tuple[int, int]] = {}
    async for account_id in hot_accounts(projection):
        loaded, version, balance = await projection.redis.command(
            "HMGET", account_key(account_id), "loaded", "ver", "bal"
        )
        if loaded is not None:
            seen[account_id] = (int(version), int(balance))
    if not seen:
        return []
    async with db.transaction() as tx:
        rows = (await tx.execute(_VERSIONS, {"accounts": list(seen)})).all()
    return [
        Mismatch(AccountId(r.account_id), r.version, *_pair(seen[AccountId(r.account_id)], r.posted_nano))
        for r in rows
        if seen[AccountId(r.account_id)] != (r.version, r.posted_nano)
    ]


def _pair(seen: tuple[int, int], posted: int) -> tuple[int, int, int]:
    return seen[0], posted, seen[1]


async def resync(db: Database, projection: Projection, before: set[AccountId]) -> set[AccountId]:
    """Set anew the accounts that were behind last time (``before``) and still are; returns those behind now."""
    behind = {m.account_id for m in await mismatches(db, projection) if m.seen_version <= m.version}
    for account_id in behind & before:
        await projection.refresh(account_id)
    return behind - before
