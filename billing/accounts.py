"""Opens, lists, suspends and renames accounts. An account's two ledger accounts are opened in its transaction."""

from collections.abc import Collection
from datetime import datetime
from typing import Literal

import msgspec
from sqlalchemy import insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.chart import LedgerKind
from billing.money import NanoUSD
from billing.tables import AccountRow, LedgerAccountRow
from store.ids import AccountId, LedgerAccountId, new_id


class Account(msgspec.Struct, frozen=True):
    """An account as operators see it in a list."""

    id: AccountId
    name: str
    status: str
    created_at: datetime


async def create_account(tx: AsyncConnection, name: str, *, account_id: AccountId | None = None) -> AccountId:
    """Open an account with no credit."""
    new = account_id or AccountId(new_id())
    await tx.execute(insert(AccountRow).values(id=new, name=name))
    await tx.execute(
        insert(LedgerAccountRow),
        [
            {"id": LedgerAccountId(new_id()), "kind": LedgerKind.CUSTOMER_CREDIT, "account_id": new, "posted_nano": 0},
            {
                "id": LedgerAccountId(new_id()),
                "kind": LedgerKind.CUSTOMER_OVERDRAFT,
                "account_id": new,
                "posted_nano": 0,
            },
        ],
    )
    return new


async def list_accounts(
    tx: AsyncConnection, *, after: AccountId | None = None, limit: int | None = None
) -> list[Account]:
    """List accounts, oldest first; those ``after`` one, and at most ``limit``."""
    query = select(AccountRow).order_by(AccountRow.id).limit(limit)
    rows = await tx.execute(query if after is None else query.where(AccountRow.id > after))
    return [Account(AccountId(r.id), r.name, r.status, r.created_at) for r in rows]


async def find_account(tx: AsyncConnection, name: str) -> Account | None:
    """The account of that name, if any; names are not unique, the oldest wins."""
    row = (await tx.execute(select(AccountRow).where(AccountRow.name == name).order_by(AccountRow.id).limit(1))).first()
    return None if row is None else Account(AccountId(row.id), row.name, row.status, row.created_at)


async def accounts_named(tx: AsyncConnection, name: str) -> list[Account]:
    """List the accounts of that name, the oldest first; names are not unique."""
    rows = await tx.execute(select(AccountRow.__table__).where(AccountRow.name == name).order_by(AccountRow.id))
    return [Account(AccountId(r.id), r.name, r.status, r.created_at) for r in rows]


async def account_names(tx: AsyncConnection, among: Collection[AccountId]) -> dict[AccountId, str]:
    """The names of some accounts."""
    rows = await tx.execute(
        text("SELECT id, name FROM accounts WHERE id = ANY(CAST(:ids AS uuid[]))"), {"ids": list(among)}
    )
    return {AccountId(row.id): row.name for row in rows}


async def get_account(tx: AsyncConnection, account_id: AccountId, *, locked: bool = False) -> Account | None:
    """The account of this id, if any."""
    query = select(AccountRow.__table__).where(AccountRow.id == account_id)
    row = (await tx.execute(query.with_for_update(key_share=True) if locked else query)).first()
    return None if row is None else Account(AccountId(row.id), row.name, row.status, row.created_at)


async def set_status(
    tx: AsyncConnection, account_id: AccountId, status: Literal["active", "suspended", "closed"]
) -> None:
    """Suspend or close an account, whose keys then stop working, or reactivate it. Credit and usage stay."""
    await tx.execute(update(AccountRow).where(AccountRow.id == account_id).values(status=status))


async def suspended_accounts(tx: AsyncConnection) -> frozenset[AccountId]:
    """The accounts whose keys may not call: those that are closed, too."""
    rows = await tx.execute(select(AccountRow.id).where(AccountRow.status != "active"))
    return frozenset(AccountId(r.id) for r in rows)


async def rename_account(tx: AsyncConnection, account_id: AccountId, name: str) -> None:
    """Give an account another name."""
    await tx.execute(update(AccountRow).where(AccountRow.id == account_id).values(name=name))


async def credits_of(tx: AsyncConnection, among: Collection[AccountId] | None = None) -> dict[AccountId, NanoUSD]:
    """The remaining credit of each account, or of those ``among`` which are given; holds are not subtracted."""
    credit = select(LedgerAccountRow.account_id, LedgerAccountRow.posted_nano)
    if among is not None:
        credit = credit.where(LedgerAccountRow.account_id.in_(among))
    rows = await tx.execute(credit.where(LedgerAccountRow.kind == LedgerKind.CUSTOMER_CREDIT))
    return {AccountId(r.account_id): NanoUSD(r.posted_nano) for r in rows}
