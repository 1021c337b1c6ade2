"""Reads and counts what accounts owe: what was served or taken back beyond their credit.

Debt is the running balance of the ledger account ``customer_overdraft``. New credit pays it first
(:func:`billing.credits.grant`), so an account in debt has no credit, and admission refuses its calls by that alone. But
given credit pays for usage alone: what is owed of a minimum, or of a payment that went back, leaves it to be used.
"""

import time
from collections.abc import Collection

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.money import NanoUSD
from store.ids import AccountId
from store.postgres import STORE_FAULTS, Database

# For so long a refusal may name the debt of a moment ago, so that refused calls do not ask Postgres one by one.
FRESH_S = 1.0
_CACHED_MAX = 10_000

# Accounts of an older release have no debt counted yet: then it is the sum.
_DEBT = text("""
    SELECT -coalesce(l.posted_nano, (SELECT sum(p.amount_nano) FROM postings p WHERE p.ledger_account_id = l.id), 0)
    FROM ledger_accounts l WHERE l.account_id = :account_id AND l.kind = 'customer_overdraft'
""")
_DEBTS = text("""
    SELECT l.account_id, -coalesce(l.posted_nano,
        (SELECT sum(p.amount_nano) FROM postings p WHERE p.ledger_account_id = l.id), 0) AS debt
    FROM ledger_accounts l WHERE l.account_id = ANY(CAST(:ids AS uuid[])) AND l.kind = 'customer_overdraft'
""")
_BALANCE = text("""
    SELECT coalesce(max(l.posted_nano) FILTER (WHERE l.kind = 'customer_credit'), 0) AS credit,
        -coalesce(max(coalesce(l.posted_nano,
            (SELECT sum(p.amount_nano) FROM postings p WHERE p.ledger_account_id = l.id), 0))
            FILTER (WHERE l.kind = 'customer_overdraft'), 0) AS debt
    FROM ledger_accounts l WHERE l.account_id = :account_id AND l.kind IN ('customer_credit', 'customer_overdraft')
""")
_LOCK = text(
    "SELECT FROM ledger_accounts WHERE account_id = :account_id AND kind = 'customer_credit' FOR NO KEY UPDATE"
)
_COUNT = text(
    "SELECT count_debts() WHERE EXISTS (SELECT FROM ledger_accounts WHERE kind = 'customer_overdraft'"
    " AND posted_nano IS NULL)"
)
_USAGE_DEBT = text(f"SELECT ({_DEBT.text}) - debt_beyond_usage(:account_id)")
_UNPAID = text("""
    SELECT * FROM (
        SELECT o.account_id, least(-o.posted_nano,
            g.own + least(g.given, -o.posted_nano - debt_beyond_usage(o.account_id))) AS payable
        FROM ledger_accounts o JOIN ledger_accounts c ON c.account_id = o.account_id AND c.kind = 'customer_credit'
        CROSS JOIN LATERAL (
            SELECT coalesce(sum(remaining_nano) FILTER (WHERE kind IN ('promotional', 'goodwill')), 0)::bigint AS given,
                coalesce(sum(remaining_nano) FILTER (WHERE kind NOT IN ('promotional', 'goodwill')), 0)::bigint AS own
            FROM grants WHERE account_id = o.account_id AND remaining_nano > 0
        ) g
        WHERE o.kind = 'customer_overdraft' AND o.posted_nano < 0 AND c.posted_nano > 0
    ) debts WHERE payable > 0 ORDER BY 1
""")


async def read_debt(tx: AsyncConnection, account_id: AccountId) -> NanoUSD:
    """What the account owes; 0 for one that does not exist."""
    return NanoUSD(int(await tx.scalar(_DEBT, {"account_id": account_id}) or 0))


class Balance(msgspec.Struct, frozen=True):
    """What is left of an account's credit, holds not subtracted, and what it owes."""

    credit: NanoUSD
    debt: NanoUSD


async def read_balance(tx: AsyncConnection, account_id: AccountId) -> Balance:
    """The account's credit and debt, in one statement; 0 for one that does not exist."""
    row = (await tx.execute(_BALANCE, {"account_id": account_id})).one()
    return Balance(NanoUSD(int(row.credit)), NanoUSD(int(row.debt)))


async def read_usage_debt(tx: AsyncConnection, account_id: AccountId) -> NanoUSD:
    """What the account owes of usage, which is what given credit pays."""
    return NanoUSD(int(await tx.scalar(_USAGE_DEBT, {"account_id": account_id}) or 0))


async def debts_of(tx: AsyncConnection, among: Collection[AccountId]) -> dict[AccountId, NanoUSD]:
    """What each of these accounts owes; 0 for most."""
    rows = await tx.execute(_DEBTS, {"ids": list(among)})
    return {AccountId(row.account_id): NanoUSD(int(row.debt)) for row in rows}


async def lock_credit(tx: AsyncConnection, account_id: AccountId) -> None:
    """Lock the account's credit, as whoever posts to it or to its debt does first."""
    await tx.execute(_LOCK, {"account_id": account_id})


async def count_debts(tx: AsyncConnection) -> int:
    """Count the debts of accounts that an older release opened; returns how many that were."""
    return int(await tx.scalar(_COUNT) or 0)


async def unpaid_debts(tx: AsyncConnection) -> dict[AccountId, NanoUSD]:
    """How much the credit of accounts in debt could pay: none have any, unless an older release gave it to them."""
    return {AccountId(row.account_id): NanoUSD(row.payable) for row in await tx.execute(_UNPAID)}


class Debts:
    """Tells refusals what an account owes."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._recent: dict[AccountId, tuple[float, NanoUSD]] = {}

    async def recent(self, account_id: AccountId) -> NanoUSD:
        """The debt, at most :data:`FRESH_S` old; 0 where Postgres cannot be read."""
        read_at, debt = self._recent.get(account_id, (-FRESH_S, NanoUSD(0)))
        if time.monotonic() - read_at < FRESH_S:
            return debt
        try:
            async with self._db.transaction() as tx:
                debt = await read_debt(tx, account_id)
        except STORE_FAULTS:
            return NanoUSD(0)
        if len(self._recent) >= _CACHED_MAX:
            self._recent.clear()
        self._recent[account_id] = (time.monotonic(), debt)
        return debt
