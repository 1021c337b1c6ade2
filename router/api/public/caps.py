"""Serves ``/v1/account/caps``: the most that all keys of the account together may spend, and what is left of it."""

from typing import Annotated, Literal

from fastapi import Depends
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.account_caps import caps_of_accounts
from billing.caps import read_account_caps
from billing.values import CapScope
from router.admin.caps import set_account_caps, tighten_account_caps
from router.api.cap_forms import CapOut, CapsSet, cap_of, cap_out
from router.api.forms import Answer
from router.api.operation import Operations, Who, check_request
from router.api.public.postgres import ask_postgres
from router.api.public.request import Private
from router.changes.transaction import UnitOfWork, transact
from router.identity.scopes import SPENDING, Scope
from store.ids import AccountId
from store.postgres import now_of

operations = Operations("caps", "/v1/account/caps", tag="Account", who=Who.KEY)


class OwnCapsOut(Answer):
    """The account's caps, total first, then month, then day. A key's own are in ``GET /v1/account``."""

    caps: list[CapOut]
    object: Literal["account_caps"] = "account_caps"


@operations.get("", verb="show", scope=SPENDING, name="retrieve_own_caps", summary="The account's caps")
async def retrieve(request: Private) -> OwnCapsOut:
    """The most that all keys of the account together may spend per period, and what is left of it."""
    return await ask_postgres(request.context, lambda tx: _caps_out(tx, request.account_id))


@operations.post("", verb="set", scope=Scope.BILLING_WRITE, name="set_own_caps", summary="Set the account's caps")
async def write(request: Private, body: CapsSet, _: Annotated[None, Depends(check_request)]) -> OwnCapsOut:
    """Replace the account's caps. What was spent in their periods counts.

    A key may set a cap and lower it. To raise or remove one is for members who are signed in and for our operators, so
    that a key that leaked cannot lift what limits it.
    """
    account_id = request.account_id

    async def command(work: UnitOfWork) -> OwnCapsOut:
        set_caps = set_account_caps if request.is_member else tighten_account_caps
        await set_caps(work, account_id, [cap_of(form, CapScope.ACCOUNT) for form in body.caps])
        return await _caps_out(work.connection, account_id)

    return await transact(request.context.db, request.actor, command)


async def _caps_out(tx: AsyncConnection, account_id: AccountId) -> OwnCapsOut:
    caps = (await caps_of_accounts(tx, [account_id])).get(account_id, ())
    use = await read_account_caps(tx, {account_id: caps}, await now_of(tx))
    return OwnCapsOut(caps=[cap_out(one) for one in use[account_id]])
