"""``/admin/v1/management-keys``: keys by which a customer administers an account, made and ended by operators."""

from typing import Annotated

from fastapi import Query
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from router.api.admin.references import account_of
from router.api.admin.request import Edit, Read, Write
from router.api.fields import AccountRef, ManagementKeyIdText
from router.api.forms import Body, Form, Page, PageQuery
from router.api.management_key_forms import (
    ManagementKeyEdit,
    ManagementKeyFacts,
    ManagementKeyOut,
    management_key_out,
    spec_of,
)
from router.api.operation import ALL, OPS, V1, Operations
from router.changes.transaction import UnitOfWork
from router.identity.management_keys import (
    change_management_key,
    create_management_key,
    get_management_key,
    list_management_keys,
    revoke_management_key,
)
from store.ids import ManagementKeyId, wire

operations = Operations("management-keys", f"{V1}/management-keys", tag="Keys", one="management_key")
ONE = "/{key_id}"


class _OfAccount(Form):
    """Whose it is, before all else: so the command takes it first."""

    account: AccountRef = Field(description="Whose key it is, by id or name.")


class ManagementKeyCreate(ManagementKeyFacts, _OfAccount, Body):
    """A new management key of an account."""


class ManagementKeyQuery(PageQuery):
    """Which management keys."""

    account: AccountRef | None = Field(None, description="Those of this account, by id or name.")


@operations.get("", verb="list", summary="List management keys", roles=ALL)
async def list_(admin: Read, query: Annotated[ManagementKeyQuery, Query()]) -> Page[ManagementKeyOut]:
    """The management keys of an account, or all, the newest first, revoked ones too."""
    after = query.after_id(ManagementKeyId)
    before = None if after is None else ManagementKeyId(after)

    async def ask(connection: AsyncConnection) -> list[ManagementKeyOut]:
        account = None if query.account is None else (await account_of(connection, query.account)).id
        found = await list_management_keys(connection, account, before=before, limit=query.limit + 1)
        return [management_key_out(view) for view in found]

    return admin.page(query, await admin.read(ask), lambda row: wire(ManagementKeyId, row.id))


@operations.post(
    "",
    verb="create",
    summary="Create a management key",
    roles=OPS,
    status=201,
    shows_once=True,
)
async def create(admin: Write, body: ManagementKeyCreate) -> ManagementKeyOut:
    """Create a management key of an account: for a customer of whom nobody signs in yet."""

    async def command(work: UnitOfWork) -> ManagementKeyOut:
        account = await account_of(work.connection, body.account)
        key, view = await create_management_key(work, account.id, spec_of(body))
        return management_key_out(view, key)

    return await admin.change(command)


@operations.get(ONE, verb="show", summary="Retrieve a management key", roles=ALL)
async def retrieve(admin: Read, key_id: ManagementKeyIdText) -> ManagementKeyOut:
    """One management key, without the key."""

    async def ask(connection: AsyncConnection) -> ManagementKeyOut:
        return management_key_out(await get_management_key(connection, key_id))

    return await admin.read(ask)


@operations.patch(ONE, verb="edit", summary="Edit a management key", roles=OPS)
async def edit(admin: Edit, key_id: ManagementKeyIdText, body: ManagementKeyEdit) -> ManagementKeyOut:
    """Replace the networks from which it may be used, from the next request on."""

    async def command(work: UnitOfWork) -> ManagementKeyOut:
        before = await get_management_key(work.connection, key_id, locked=True)
        networks = body.given().get("networks", before.networks)
        return management_key_out(await change_management_key(work, key_id, networks))

    async def current(work: UnitOfWork) -> ManagementKeyOut:
        return management_key_out(await get_management_key(work.connection, key_id, locked=True))

    return await admin.change(command, current=current)


@operations.post(f"{ONE}/revoke", verb="revoke", summary="Revoke a management key", roles=OPS)
async def revoke(admin: Write, key_id: ManagementKeyIdText) -> ManagementKeyOut:
    """End a management key for good, from the next request on."""

    async def command(work: UnitOfWork) -> ManagementKeyOut:
        return management_key_out(await revoke_management_key(work, key_id))

    return await admin.change(command)
