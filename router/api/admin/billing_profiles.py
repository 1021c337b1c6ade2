"""``/admin/v1/accounts/{id}/billing-profile``: who pays for an account.

A change is a new version, and all versions can be erased.
"""

from typing import Literal

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.documents.profiles import read_profile
from router.admin.parties import erase_profile, set_profile
from router.api.admin.references import account_of
from router.api.admin.request import Read, Write
from router.api.fields import AccountIdText, AccountRef
from router.api.forms import Answer, Reason
from router.api.operation import ALL, MONEY, V1, Operations
from router.api.party_forms import OperatorProfileSet, ProfileOut, profile_of, profile_out
from router.changes.transaction import UnitOfWork
from router.errors import NotFound

operations = Operations("billing-profiles", f"{V1}/accounts/{{account_id}}/billing-profile", tag="Accounts")
_NO_REASON = Reason(reason="")


class ErasedOut(Answer):
    """A billing profile that is gone."""

    account: AccountIdText
    versions: int
    object: Literal["billing_profile.erased"] = "billing_profile.erased"


@operations.get("", verb="show", summary="Who pays?", roles=ALL)
async def retrieve(admin: Read, account_id: AccountRef) -> ProfileOut:
    """The newest version of an account's billing profile."""

    async def ask(connection: AsyncConnection) -> ProfileOut:
        return await _out(connection, account_id)

    return await admin.read(ask)


@operations.post("", verb="set", summary="Set who pays", roles=MONEY)
async def set_(admin: Write, account_id: AccountRef, body: OperatorProfileSet) -> ProfileOut:
    """Replace an account's billing profile; documents that are issued keep their own copy."""

    async def command(work: UnitOfWork) -> ProfileOut:
        account = await account_of(work.connection, account_id)
        return profile_out(account.id, await set_profile(work, account.id, profile_of(body)))

    async def current(work: UnitOfWork) -> ProfileOut:
        return await _out(work.connection, account_id, locked=True)

    return await admin.change(command, current=current)


@operations.post("/erase", verb="erase", summary="Erase who pays", roles=MONEY)
async def erase(admin: Write, account_id: AccountRef, body: Reason = _NO_REASON) -> ErasedOut:
    """Delete every version of an account's billing profile. Ledger, usage and audit have only ids; documents stay."""

    async def command(work: UnitOfWork) -> ErasedOut:
        account = await account_of(work.connection, account_id)
        return ErasedOut(account=account.id, versions=await erase_profile(work, account.id, body.reason))

    return await admin.change(command)


async def _out(connection: AsyncConnection, account_ref: str, *, locked: bool = False) -> ProfileOut:
    account = await account_of(connection, account_ref)
    stored = await read_profile(connection, account.id, locked=locked)
    if stored is None:
        raise NotFound(f"{account.name} has no billing profile.", param="account")
    return profile_out(account.id, stored)
