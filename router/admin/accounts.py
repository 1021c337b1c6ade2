"""Opens, renames and suspends accounts through the one write path; each change leaves its audit row.

What an account is stays in :mod:`billing.accounts`.
"""

from typing import Literal

import msgspec

from billing import accounts
from billing.accounts import Account
from router.changes.audit import Change
from router.changes.transaction import UnitOfWork
from router.errors import Conflict, InvalidRequest, NotFound
from router.tables import Json
from store.ids import AccountId, wire


async def open_account(work: UnitOfWork, name: str) -> Account:
    """A new account without credit. Raises ``InvalidRequest``."""
    if not 1 <= len(name) <= 200:
        raise InvalidRequest("An account has a name of 1 to 200 characters.", param="name")
    account = await require_account(work, await accounts.create_account(work.connection, name))
    work.record_change(Change("account.open", wire(AccountId, account.id), account.id, after={"name": name}))
    return account


async def rename_account(work: UnitOfWork, account_id: AccountId, name: str) -> Account:
    """Give an account another name. Raises ``NotFound``, ``InvalidRequest``."""
    if not 1 <= len(name) <= 200:
        raise InvalidRequest("An account has a name of 1 to 200 characters.", param="name")
    before = await require_account(work, account_id, locked=True)
    await accounts.rename_account(work.connection, account_id, name)
    was: Json = {"name": before.name}
    work.record_change(Change("account.rename", wire(AccountId, account_id), account_id, was, {"name": name}))
    return msgspec.structs.replace(before, name=name)


async def require_account(work: UnitOfWork, account_id: AccountId, *, locked: bool = False) -> Account:
    """The account. Raises ``NotFound``."""
    account = await accounts.get_account(work.connection, account_id, locked=locked)
    if account is None:
        raise NotFound(f"There is no account {wire(AccountId, account_id)}.", param="account")
    return account


async def require_open_account(work: UnitOfWork, account_id: AccountId, *, locked: bool = False) -> Account:
    """The account, which is to get money or terms. Raises ``NotFound``, and ``Conflict`` for one that is closed."""
    account = await require_account(work, account_id, locked=locked)
    if account.status == "closed":
        raise Conflict(f"{account.name} is closed for good.", param="account")
    return account


async def set_account_status(
    work: UnitOfWork, account_id: AccountId, status: Literal["active", "suspended"], reason: str = ""
) -> Account:
    """Suspend an account, whose keys stop within a second, or let it go on. Raises ``NotFound``, ``Conflict``."""
    before = await require_account(work, account_id, locked=True)
    if before.status == "closed":
        raise Conflict(f"{before.name} is closed for good.", param="account")
    await accounts.set_status(work.connection, account_id, status)
    action = "account.suspend" if status == "suspended" else "account.resume"
    was: Json = {"status": before.status}
    work.record_change(Change(action, wire(AccountId, account_id), account_id, was, {"status": status}, reason))
    return msgspec.structs.replace(before, status=status)
