"""``/admin/v1/accounts/{account_id}/key-policy``: how long a new key of an account may work."""

from sqlalchemy.ext.asyncio import AsyncConnection

from router.api.admin.references import account_of
from router.api.admin.request import Edit, Read
from router.api.fields import AccountRef
from router.api.key_policy_forms import KeyPolicyEdit, KeyPolicyOut, key_policy_out
from router.api.operation import ALL, OPS, V1, Operations
from router.changes.transaction import UnitOfWork
from router.identity.key_policies import change_key_policy, locked_key_policy, read_key_policy

operations = Operations("key-policy", f"{V1}/accounts/{{account_id}}/key-policy", tag="Keys", one="key_policy")


@operations.get("", verb="show", name="retrieve_key_policy", summary="An account's bound on keys' lives", roles=ALL)
async def retrieve(admin: Read, account_id: AccountRef) -> KeyPolicyOut:
    """The longest life of a new key, and how many keys exceed it."""

    async def ask(connection: AsyncConnection) -> KeyPolicyOut:
        account = await account_of(connection, account_id)
        return key_policy_out(account.id, await read_key_policy(connection, account.id))

    return await admin.read(ask)


@operations.patch("", verb="edit", name="edit_key_policy", summary="Bound the lives of an account's keys", roles=OPS)
async def edit(admin: Edit, account_id: AccountRef, body: KeyPolicyEdit) -> KeyPolicyOut:
    """Set or take away the longest life. It holds for what is made, edited or rotated from now on."""

    async def command(work: UnitOfWork) -> KeyPolicyOut:
        account = await account_of(work.connection, account_id)
        before = await locked_key_policy(work.connection, account.id)
        return key_policy_out(account.id, await change_key_policy(work, account.id, body.days(before.max_days)))

    async def current(work: UnitOfWork) -> KeyPolicyOut:
        account = await account_of(work.connection, account_id)
        return key_policy_out(account.id, await locked_key_policy(work.connection, account.id))

    return await admin.change(command, current=current)
