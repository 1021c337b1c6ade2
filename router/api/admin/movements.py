"""``/admin/v1/accounts/{id}/movements``: every change of an account's balance, with what caused it."""

from typing import Annotated

from fastapi import Query
from sqlalchemy.ext.asyncio import AsyncConnection

from router.api.admin.references import account_of
from router.api.admin.request import Read
from router.api.fields import AccountRef, EntryIdText
from router.api.movements import (
    MovementQuery,
    OpsMovementOut,
    OpsMovementsOut,
    SingleOpsMovementOut,
    page_of,
    single,
)
from router.api.operation import ALL, V1, Operations

operations = Operations("movements", f"{V1}/accounts/{{account_id}}/movements", tag="Accounts")


@operations.get("", verb="list", name="admin_list_movements", summary="List what changed a balance", roles=ALL)
async def list_(admin: Read, account_id: AccountRef, query: Annotated[MovementQuery, Query()]) -> OpsMovementsOut:
    """The oldest first, by default of this month; opening plus all movements is closing, to the nano-dollar."""

    async def ask(connection: AsyncConnection) -> OpsMovementsOut:
        account = await account_of(connection, account_id)
        span, found = await query.page(connection, account.id, admin.exchange)
        return page_of(OpsMovementsOut, OpsMovementOut, query.limit, span, found)

    return admin.paging.linked(await admin.read(ask))


@operations.get(
    "/{entry_id}", verb="show", name="admin_retrieve_movement", summary="Retrieve what changed a balance", roles=ALL
)
async def retrieve(admin: Read, account_id: AccountRef, entry_id: EntryIdText) -> SingleOpsMovementOut:
    """One movement by its entry, with the calls that it charged."""

    async def ask(connection: AsyncConnection) -> SingleOpsMovementOut:
        account = await account_of(connection, account_id)
        return await single(connection, account.id, entry_id, SingleOpsMovementOut)

    return await admin.read(ask)
