"""``/admin/v1/accounts/{id}/close``: ends an account for good, its books stay."""

from typing import Annotated

from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.closing import find_closing
from billing.money import NanoUSD
from router.admin.closing import CloseOrder, close_account
from router.api.admin.references import account_of
from router.api.admin.request import Read, Write
from router.api.closing_answers import ClosingOut, closed_out, closing_out
from router.api.fields import AccountRef, text_of
from router.api.forms import Body
from router.api.operation import ALL, MONEY, V1, Operations
from router.changes.second_person import MoneyKind
from router.changes.transaction import UnitOfWork
from router.errors import NotFound
from store.ids import RequestId, wire

operations = Operations("accounts", f"{V1}/accounts/{{account_id}}", tag="Accounts")


class AccountClose(Body):
    """How an account is closed."""

    reason: Annotated[str, text_of(500)] = Field(description="Why, for whoever looks next.")
    forfeit: bool = Field(False, description="Give up unused credit that was paid for and cannot be paid back.")
    write_off: bool = Field(False, description="Give up what the account owes.")


@operations.post("/close", verb="close", summary="Close an account", roles=MONEY)
async def close(admin: Write, account_id: AccountRef, body: AccountClose) -> ClosingOut:
    """Pay unused credit back, end keys, credit line and what pays by itself, erase the billing profile; for good.

    Ledger, usage and documents stay. Refused while calls are in flight or something is unpaid; a dry run says what
    would be. Jobs finish it when refunds have ended.
    """
    account = await admin.read(lambda connection: account_of(connection, account_id))
    held = await admin.context.held(account.id) if admin.context.held else NanoUSD(0)

    async def command(work: UnitOfWork) -> ClosingOut:
        order = CloseOrder(
            account_id=account.id,
            reason=body.reason,
            forfeit=body.forfeit,
            write_off=body.write_off,
            held=held,
            key=f"operator:{wire(RequestId, admin.exchange.request_id)}",
        )
        closed = await close_account(work, admin.context.stripe, order)
        await admin.require_second_person(work, MoneyKind.REFUND, account.id, closed.refunded)
        await admin.require_second_person(work, MoneyKind.WRITE_OFF, account.id, closed.written_off)
        return closed_out(closed)

    return await admin.change(command)


@operations.get("/closing", verb="show-closing", name="retrieve_closing", summary="How far is a closing?", roles=ALL)
async def retrieve(admin: Read, account_id: AccountRef) -> ClosingOut:
    """How far the closing of an account is, and what it waits for."""

    async def ask(connection: AsyncConnection) -> ClosingOut:
        account = await account_of(connection, account_id)
        closing = await find_closing(connection, account.id)
        if closing is None:
            raise NotFound(f"{account.name} is not being closed.", param="account")
        return closing_out(closing)

    return await admin.read(ask)
