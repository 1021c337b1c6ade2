"""Serves ``GET /v1/account/movements``: every change of the account's balance, with what caused it."""

from typing import Annotated

from fastapi import Depends, Query
from sqlalchemy.ext.asyncio import AsyncConnection

from router.api.fields import EntryIdText
from router.api.movements import MovementOut, MovementQuery, MovementsOut, SingleMovementOut, page_of, single
from router.api.operation import Operations, Who, check_request
from router.api.public.postgres import read
from router.api.public.request import Private
from router.identity.scopes import Scope

operations = Operations("movements", "/v1/account/movements", tag="Account", who=Who.KEY)


@operations.get("", verb="list", scope=Scope.BILLING_READ, summary="List what changed the balance")
async def list_(
    request: Private, query: Annotated[MovementQuery, Query()], _: Annotated[None, Depends(check_request)]
) -> MovementsOut:
    """The oldest first, by default of this month: usage by entry, grants, expiry, refunds, disputes, debt, corrections.

    Opening plus all movements is closing, to the nano-dollar; all pages are of the instant of the first.
    """

    async def ask(connection: AsyncConnection) -> MovementsOut:
        span, found = await query.page(connection, request.account_id, request.exchange)
        return page_of(MovementsOut, MovementOut, query.limit, span, found)

    return request.paging.linked(await read(request.context, ask))


@operations.get("/{entry_id}", verb="show", scope=Scope.BILLING_READ, summary="Retrieve what changed the balance")
async def retrieve(request: Private, entry_id: EntryIdText) -> SingleMovementOut:
    """One movement by its entry, with the calls that it charged."""

    async def ask(connection: AsyncConnection) -> SingleMovementOut:
        return await single(connection, request.account_id, entry_id, SingleMovementOut)

    return await read(request.context, ask)
