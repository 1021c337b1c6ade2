"""``/v1/account/key-policy``: how long a new key of the account may work, which its owners decide."""

from sqlalchemy.ext.asyncio import AsyncConnection

from router.admin.own_changes import require_few_changes
from router.api.key_policy_forms import KeyPolicyEdit, KeyPolicyOut, key_policy_out
from router.api.operation import Operations, Who
from router.api.public.account_request import AccountEdit, AccountRead
from router.changes.transaction import UnitOfWork
from router.identity.key_policies import change_key_policy, locked_key_policy, read_key_policy
from router.identity.scopes import Scope

operations = Operations("key-policy", "/v1/account/key-policy", tag="Keys", one="key_policy", who=Who.MANAGER)


@operations.get(
    "", verb="show", name="retrieve_own_key_policy", summary="The account's bound on keys' lives", scope=Scope.KEYS_READ
)
async def retrieve(request: AccountRead) -> KeyPolicyOut:
    """The longest life of a new key, and how many keys exceed it."""

    async def ask(connection: AsyncConnection) -> KeyPolicyOut:
        return key_policy_out(request.account_id, await read_key_policy(connection, request.account_id))

    return await request.read(ask)


@operations.patch(
    "", verb="edit", name="edit_own_key_policy", summary="Bound the lives of the account's keys", scope=Scope.OWNER
)
async def edit(request: AccountEdit, body: KeyPolicyEdit) -> KeyPolicyOut:
    """Set or take away the longest life. It holds for what is made, edited or rotated from now on."""

    async def command(work: UnitOfWork) -> KeyPolicyOut:
        await require_few_changes(work, request.account_id, "key_policy", "bounds on keys")
        before = await locked_key_policy(work.connection, request.account_id)
        changed = await change_key_policy(work, request.account_id, body.days(before.max_days))
        return key_policy_out(request.account_id, changed)

    async def current(work: UnitOfWork) -> KeyPolicyOut:
        return key_policy_out(request.account_id, await locked_key_policy(work.connection, request.account_id))

    return await request.change(command, current=current)
