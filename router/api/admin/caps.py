"""``/admin/v1/accounts/{account_id}/caps``: the most that all keys of an account together may spend."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, Literal

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.account_caps import caps_of_accounts
from billing.caps import read_account_caps
from billing.values import CapScope
from router.admin.caps import set_account_caps
from router.api.admin.references import account_of
from router.api.admin.request import Read, Write
from router.api.cap_forms import VOLATILE, CapOut, CapsSet, cap_of, cap_out
from router.api.fields import AccountIdText, AccountRef
from router.api.forms import Resource
from router.api.operation import ALL, V1, Operations
from router.changes.transaction import UnitOfWork
from store.ids import AccountId
from store.postgres import now_of

operations = Operations("caps", f"{V1}/accounts/{{account_id}}/caps")


class AccountCapsOut(Resource):
    """An account's caps, total first, then month, then day."""

    volatile_inside: ClassVar[Mapping[str, frozenset[str]]] = MappingProxyType({"caps": VOLATILE})

    account: AccountIdText
    caps: tuple[CapOut, ...]
    object: Literal["account_caps"] = "account_caps"


@operations.get("", verb="show", name="retrieve_account_caps", summary="An account's caps", roles=ALL)
async def retrieve(admin: Read, account_id: AccountRef) -> AccountCapsOut:
    """Its caps, with what is left of each and when it begins again."""

    async def ask(connection: AsyncConnection) -> AccountCapsOut:
        return await caps_out(connection, (await account_of(connection, account_id)).id)

    return await admin.read(ask)


@operations.post("", verb="set", name="set_account_caps", summary="Set an account's caps", roles=ALL)
async def write(admin: Write, account_id: AccountRef, body: CapsSet) -> AccountCapsOut:
    """Replace its caps. What was spent in their periods counts; every process knows them within a second."""

    async def command(work: UnitOfWork) -> AccountCapsOut:
        account = await account_of(work.connection, account_id)
        await set_account_caps(work, account.id, [cap_of(form, CapScope.ACCOUNT) for form in body.caps])
        return await caps_out(work.connection, account.id)

    return await admin.change(command)


async def caps_out(connection: AsyncConnection, account_id: AccountId) -> AccountCapsOut:
    """An account's caps as they are answered."""
    caps = (await caps_of_accounts(connection, [account_id])).get(account_id, ())
    use = await read_account_caps(connection, {account_id: caps}, await now_of(connection))
    return AccountCapsOut(account=account_id, caps=tuple(cap_out(one) for one in use[account_id]))
