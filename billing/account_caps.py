"""Keeps the caps of accounts: the most that all keys of an account together may spend, one per period."""

from collections import defaultdict
from collections.abc import Collection, Iterable

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.cap_rules import ordered
from billing.money import NanoUSD
from billing.values import Cap, CapPeriod, CapScope
from store.ids import AccountId

_READ = text("SELECT account_id, period, amount_nano FROM account_caps WHERE account_id = ANY(CAST(:ids AS uuid[]))")
_DELETE = text("DELETE FROM account_caps WHERE account_id = :account AND period <> ALL(CAST(:periods AS text[]))")
_WRITE = text(
    "INSERT INTO account_caps (account_id, period, amount_nano) VALUES (:account, :period, :amount)"
    " ON CONFLICT (account_id, period) DO UPDATE SET amount_nano = EXCLUDED.amount_nano"
)


async def caps_of_accounts(tx: AsyncConnection, among: Collection[AccountId]) -> dict[AccountId, tuple[Cap, ...]]:
    """Read the caps of some accounts; an account without one is left out."""
    found: dict[AccountId, list[Cap]] = defaultdict(list)
    for row in await tx.execute(_READ, {"ids": list(among)}):
        cap = Cap(NanoUSD(row.amount_nano), CapPeriod(row.period), CapScope.ACCOUNT)
        found[AccountId(row.account_id)].append(cap)
    return {account_id: ordered(caps) for account_id, caps in found.items()}


async def write_account_caps(tx: AsyncConnection, account_id: AccountId, caps: Iterable[Cap]) -> None:
    """Replace an account's caps by these; every process knows them within a second of the commit."""
    caps = list(caps)
    await tx.execute(_DELETE, {"account": account_id, "periods": [cap.period.value for cap in caps]})
    for cap in caps:
        await tx.execute(_WRITE, {"account": account_id, "period": cap.period.value, "amount": cap.amount})
