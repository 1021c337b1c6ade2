"""``/v1/management-keys``: keys that administer the account, which its owners make and end, signed in."""

from typing import Annotated

from fastapi import Query
from sqlalchemy.ext.asyncio import AsyncConnection

from router.admin.own_changes import require_few_changes
from router.api.fields import ManagementKeyIdText
from router.api.forms import Body, Page, PageQuery
from router.api.management_key_forms import (
    ManagementKeyEdit,
    ManagementKeyFacts,
    ManagementKeyOut,
    management_key_out,
    spec_of,
)
from router.api.operation import Operations, Who
from router.api.public.account_request import AccountEdit, AccountRead, AccountWrite
from router.changes.transaction import UnitOfWork
from router.identity.management_keys import (
    change_management_key,
    create_management_key,
    get_management_key,
    list_management_keys,
    revoke_management_key,
)
from router.identity.scopes import Scope
from store.ids import ManagementKeyId, wire

operations = Operations("management-keys", "/v1/management-keys", tag="Keys", one="management_key", who=Who.MANAGER)
ONE = "/{key_id}"


class OwnManagementKeyCreate(ManagementKeyFacts, Body):
    """A new management key."""


@operations.get("", verb="list", name="list_own_management_keys", summary="List management keys", scope=Scope.OWNER)
async def list_(request: AccountRead, query: Annotated[PageQuery, Query()]) -> Page[ManagementKeyOut]:
    """The account's management keys, the newest first, revoked ones too."""
    after = query.after_id(ManagementKeyId)
    before = None if after is None else ManagementKeyId(after)

    async def ask(connection: AsyncConnection) -> list[ManagementKeyOut]:
        found = await list_management_keys(connection, request.account_id, before=before, limit=query.limit + 1)
        return [management_key_out(view) for view in found]

    return request.page(query, await request.read(ask), lambda row: wire(ManagementKeyId, row.id))


@operations.post(
    "",
    verb="create",
    name="create_own_management_key",
    summary="Create a management key",
    scope=Scope.OWNER,
    status=201,
    shows_once=True,
)
async def create(request: AccountWrite, body: OwnManagementKeyCreate) -> ManagementKeyOut:
    """Create a management key. It is shown this once, and again to the same request with its Idempotency-Key."""

    async def command(work: UnitOfWork) -> ManagementKeyOut:
        await require_few_changes(work, request.account_id, "management_key", "management keys")
        key, view = await create_management_key(work, request.account_id, spec_of(body))
        return management_key_out(view, key)

    return await request.change(command)


@operations.get(
    ONE, verb="show", name="retrieve_own_management_key", summary="Retrieve a management key", scope=Scope.OWNER
)
async def retrieve(request: AccountRead, key_id: ManagementKeyIdText) -> ManagementKeyOut:
    """One management key, without the key."""

    async def ask(connection: AsyncConnection) -> ManagementKeyOut:
        return management_key_out(await get_management_key(connection, key_id, request.account_id))

    return await request.read(ask)


@operations.patch(ONE, verb="edit", name="edit_own_management_key", summary="Edit a management key", scope=Scope.OWNER)
async def edit(request: AccountEdit, key_id: ManagementKeyIdText, body: ManagementKeyEdit) -> ManagementKeyOut:
    """Replace the networks from which it may be used, from the next request on."""

    async def command(work: UnitOfWork) -> ManagementKeyOut:
        await require_few_changes(work, request.account_id, "management_key", "management keys")
        before = await get_management_key(work.connection, key_id, request.account_id, locked=True)
        networks = body.given().get("networks", before.networks)
        return management_key_out(await change_management_key(work, key_id, networks, request.account_id))

    async def current(work: UnitOfWork) -> ManagementKeyOut:
        return management_key_out(await get_management_key(work.connection, key_id, request.account_id, locked=True))

    return await request.change(command, current=current)


@operations.post(
    f"{ONE}/revoke",
    verb="revoke",
    name="revoke_own_management_key",
    summary="Revoke a management key",
    scope=Scope.OWNER,
)
async def revoke(request: AccountWrite, key_id: ManagementKeyIdText) -> ManagementKeyOut:
    """End a management key for good, from the next request on."""

    async def command(work: UnitOfWork) -> ManagementKeyOut:
        return management_key_out(await revoke_management_key(work, key_id, request.account_id))

    return await request.change(command)
