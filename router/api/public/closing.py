"""``POST /v1/account/close``: a customer ends their account for good."""

from typing import Annotated

from fastapi import Query
from pydantic import Field

from billing.closing import find_closing
from billing.errors import BillingUnavailable
from billing.money import NanoUSD
from router.admin.closing import CloseOrder, close_account
from router.api.closing_answers import ClosingOut, closed_out, closing_out
from router.api.fields import AccountIdText, Flag, text_of
from router.api.forms import Body
from router.api.operation import Operations, Who
from router.api.public.money_request import MoneyRequest
from router.api.public.postgres import ask_postgres
from router.api.public.request import Private
from router.changes.transaction import UnitOfWork, transact
from router.errors import InvalidRequest, NotFound, StoreUnavailable
from router.identity.scopes import Scope
from store.ids import AccountId, wire

operations = Operations("accounts", "/v1/account", tag="Account", who=Who.KEY)


class OwnAccountClose(Body):
    """Which account, and what becomes of credit that cannot be paid back."""

    confirm: AccountIdText = Field(description="The account's id, as GET /v1/account has it: closing is for good.")
    forfeit: bool = Field(False, description="Give up unused credit that was paid for and cannot be paid back.")
    reason: Annotated[str, text_of(500)] | None = Field(None, description="Why you leave, if you want to say.")


@operations.post("/close", verb="close", scope=Scope.OWNER, name="close_own_account", summary="Close the account")
async def close(
    request: MoneyRequest,
    body: OwnAccountClose,
    dry_run: Annotated[Flag, Query(description="1: answer what would be, and do nothing.")] = False,
) -> ClosingOut:
    """Refund unused credit, end all keys, erase the billing profile; for good. Get your documents before.

    Refused, with what stands in the way, while calls are in flight or something is unpaid. Given credit ends. In the
    pages, which know of no call in flight, the closing waits for them.
    """
    context, account_id = request.context, request.account_id
    request.refuse_test_key("A key for tests does not close the account.")
    if body.confirm != account_id:
        raise InvalidRequest(f"This account is {wire(AccountId, account_id)}.", param="confirm")
    held = await _held(request)

    async def command(work: UnitOfWork) -> ClosingOut:
        order = CloseOrder(
            account_id=account_id,
            reason=f"closed by the customer: {body.reason}" if body.reason else "closed by the customer",
            forfeit=body.forfeit,
            held=held,
            key=request.idempotency_key,
        )
        return closed_out(await close_account(work, context.stripe, order))

    return await transact(context.db, request.actor, command, dry_run=dry_run)


@operations.get(
    "/closing",
    verb="show-closing",
    scope=frozenset({Scope.OWNER, Scope.BILLING_READ}),
    name="retrieve_own_closing",
    summary="How far is the closing?",
)
async def retrieve(request: Private) -> ClosingOut:
    """How far the closing of the account is, and what it waits for, for as long as anybody may read it."""
    closing = await ask_postgres(request.context, lambda tx: find_closing(tx, request.account_id))
    if closing is None:
        raise NotFound("This account is not being closed.", param="account")
    return closing_out(closing)


async def _held(request: MoneyRequest) -> NanoUSD:
    """What calls in flight hold of the credit; nothing is known of it in the process of pages, and jobs wait for it."""
    if not request.context.has_redis:
        return NanoUSD(0)
    try:
        return (await request.context.projection.balance(request.account_id)).held
    except BillingUnavailable as fault:
        raise StoreUnavailable("The balance cannot be read right now.", retry_after_s=1, detail=str(fault)) from fault
