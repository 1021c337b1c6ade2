"""Reads the postings of a span of time as a journal needs them: sums before it, sums of each day, or one by one.

A posting counts when its entry does (:data:`billing.movements.COUNTS_AT`), so that a month has the calls of that month.
"""

from collections.abc import Awaitable, Callable
from datetime import date, datetime

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.exports.formats import Grain
from billing.movements import COUNTS_AT
from store.ids import AccountId
from store.postgres import Connection

_FROM = """
    FROM entries e JOIN postings p ON p.entry_id = e.id JOIN ledger_accounts l ON l.id = p.ledger_account_id
"""
_DAY = f"(({COUNTS_AT}) AT TIME ZONE 'UTC')::date"
_OF_ACCOUNT = "($3::uuid IS NULL OR e.account_id = $3)"
_NAMES = """
    SELECT replace(id::text, '-', '') AS id, kind, detail, coalesce(replace(account_id::text, '-', ''), '') AS account
    FROM ledger_accounts
"""
# One pass for both ends: what counts before each.
_BALANCES = f"""
    SELECT replace(p.ledger_account_id::text, '-', '') AS account,
        coalesce(sum(p.amount_nano) FILTER (WHERE {COUNTS_AT} < $1), 0)::bigint AS opening,
        sum(p.amount_nano)::bigint AS closing
    FROM entries e JOIN postings p ON p.entry_id = e.id
    WHERE {COUNTS_AT} < $2 AND {_OF_ACCOUNT} GROUP BY p.ledger_account_id ORDER BY 1
"""  # noqa: S608 - constants
_CODES_BEFORE = f"""
    SELECT l.kind, l.detail, sum(p.amount_nano)::bigint AS amount {_FROM} WHERE {COUNTS_AT} < $1 GROUP BY 1, 2
"""
_CODES = f"""
    SELECT {_DAY} AS day, l.kind, l.detail, sum(p.amount_nano)::bigint AS amount {_FROM}
    WHERE e.booked_at >= $1::timestamptz - interval '1 hour' AND {COUNTS_AT} >= $1 AND {COUNTS_AT} < $2
    GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""
_AMOUNT = "-{amount} * 0.000000001"
_DAILY = f"""
    SELECT NULL AS entry, day, kind, replace(account::text, '-', '') AS account, {_AMOUNT.format(amount="amount")}
    FROM (
        SELECT {_DAY} AS day, e.kind, p.ledger_account_id AS account, sum(p.amount_nano) AS amount
        FROM entries e JOIN postings p ON p.entry_id = e.id
        WHERE e.booked_at >= $1::timestamptz - interval '1 hour' AND {COUNTS_AT} >= $1 AND {COUNTS_AT} < $2
            AND {_OF_ACCOUNT} GROUP BY 1, 2, 3
    ) sums WHERE amount <> 0 ORDER BY day, kind, account
"""  # noqa: S608 - constants
_SINGLE = f"""
    SELECT replace(e.id::text, '-', '') AS entry, {_DAY} AS day, e.kind,
        replace(p.ledger_account_id::text, '-', '') AS account, {_AMOUNT.format(amount="p.amount_nano")}
    FROM entries e JOIN postings p ON p.entry_id = e.id
    WHERE e.booked_at >= $1::timestamptz - interval '1 hour' AND {COUNTS_AT} >= $1 AND {COUNTS_AT} < $2
        AND {_OF_ACCOUNT} ORDER BY 2, 1, p.leg
"""  # noqa: S608 - constants


_SEALED = text(
    "SELECT DISTINCT l.kind, l.detail FROM sealed_balances s JOIN ledger_accounts l ON l.id = s.ledger_account_id"
)


class LedgerAccount(msgspec.Struct, frozen=True):
    """A ledger account; ``account`` is its customer's id in hexadecimal digits, or empty."""

    id: str
    kind: str
    detail: str
    account: str


class Balance(msgspec.Struct, frozen=True):
    """What a ledger account, by its id, has at both ends."""

    account: str
    opening: int
    closing: int


Moved = dict[tuple[str, str], int]


async def ledger_accounts(connection: Connection) -> list[LedgerAccount]:
    """All ledger accounts."""
    return [LedgerAccount(*row) for row in await connection.fetch(_NAMES)]


async def balances(
    connection: Connection, since: datetime, until: datetime, account_id: AccountId | None
) -> list[Balance]:
    """The sums of postings before ``since`` and before ``until``; of an account's entries alone, where it is named."""
    return [Balance(*row) for row in await connection.fetch(_BALANCES, since, until, account_id)]


async def moved_before(connection: Connection, since: datetime) -> Moved:
    """The sums of all postings before ``since``, by kind and detail."""
    return {(row["kind"], row["detail"]): row["amount"] for row in await connection.fetch(_CODES_BEFORE, since)}


async def moved_by_day(connection: Connection, since: datetime, until: datetime) -> list[tuple[date, Moved]]:
    """The sums of each day's postings, by kind and detail."""
    days: dict[date, Moved] = {}
    for row in await connection.fetch(_CODES, since, until):
        days.setdefault(row["day"], {})[row["kind"], row["detail"]] = row["amount"]
    return list(days.items())


async def copy_legs(
    connection: Connection,
    since: datetime,
    until: datetime,
    grain: Grain,
    account_id: AccountId | None,
    take: Callable[[bytes], Awaitable[None]],
) -> int:
    """Copy legs as lines of CSV without quotes: entry or empty, day, kind, ledger account, amount; returns how many."""
    query = _SINGLE if grain is Grain.ENTRY else _DAILY
    status = await connection.copy_from_query(query, since, until, account_id, output=take, format="csv", timeout=None)
    return int(status.split()[1])


async def sealed_accounts(tx: AsyncConnection) -> list[tuple[str, str]]:
    """The ledger accounts, as kind and detail, that have postings; without those of the last seconds."""
    return [(row.kind, row.detail) for row in await tx.execute(_SEALED)]
