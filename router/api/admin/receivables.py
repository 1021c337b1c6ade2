"""``/admin/v1/finance/receivables``: what invoices of drawn credit demand, and what was paid of it."""

from datetime import date
from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from fastapi import Query
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.receivables import Receivable, list_receivables
from router.admin.lines import pay_favour_back, record_payment, require_receivable, write_off_receivable
from router.api.admin.references import account_of
from router.api.admin.request import Read, Write
from router.api.fields import AccountIdText, AccountRef, Instant, ReceivableIdText, Usd, UsdAboveZero, text_of
from router.api.forms import Body, Page, PageQuery, Resource, answer_of
from router.api.operation import ALL, MONEY, V1, Operations
from router.changes.second_person import MoneyKind
from router.changes.transaction import UnitOfWork

operations = Operations("receivables", f"{V1}/finance/receivables", tag="Finance")


class ReceivableOut(Resource):
    """What one invoice demands."""

    volatile: ClassVar[frozenset[str]] = frozenset({"paid_usd", "open_usd"})
    columns: ClassVar[tuple[str, ...]] = ("id", "account", "invoice", "due_on", "drawn_usd", "total_usd", "open_usd")

    id: ReceivableIdText
    account: AccountIdText
    invoice: str
    drawn_usd: Usd = Field(description="What of it was drawn from the credit line; the rest is tax and rounding.")
    total_usd: Usd
    paid_usd: Usd
    open_usd: Usd
    due_on: date
    booked_at: Instant
    currency: Literal["USD"] = "USD"
    object: Literal["receivable"] = "receivable"


class PaymentRecord(Body):
    """Money that arrived at the bank, or left it."""

    source: Annotated[str, text_of(200)] = Field(
        description="The fact behind it, such as the bank's reference; the same one is recorded once."
    )
    amount_usd: UsdAboveZero | None = Field(None, description="How much; by default all of it.")
    note: str = Field("", max_length=2000, description="For whoever reads the audit log.")


class WriteOff(Body):
    """Money that will not come."""

    reason: Annotated[str, text_of(500)] = Field(description="Why, for whoever reads the audit log.")
    amount_usd: UsdAboveZero | None = Field(None, description="How much; by default all that is open.")


class ReceivableState(StrEnum):
    """Which receivables are listed."""

    OPEN = "open"
    OVERDUE = "overdue"
    IN_FAVOUR = "in_favour"
    PAID = "paid"


class ReceivableQuery(PageQuery):
    """Which receivables are listed."""

    account: AccountRef | None = Field(None, description="Those of one account.")
    state: ReceivableState | None = Field(
        None, description="open, overdue, paid, or in_favour of the customer: more was paid than is demanded."
    )


@operations.get("", verb="list", summary="List receivables", roles=ALL)
async def list_(admin: Read, query: Annotated[ReceivableQuery, Query()]) -> Page[ReceivableOut]:
    """What all invoices of drawn credit demand, the oldest first."""
    today = admin.exchange.now.date()

    async def ask(connection: AsyncConnection) -> list[ReceivableOut]:
        account = (await account_of(connection, query.account)).id if query.account else None
        found = [
            one
            for one in await list_receivables(connection)
            if account in (None, one.account_id) and (query.state is None or _is_in(one, query.state, today))
        ]
        return [_out(one) for one in query.cut(found, lambda one: one.id.hex)]

    return admin.page(query, await admin.read(ask), lambda row: row.id.hex)


@operations.get("/{receivable_id}", verb="show", summary="Retrieve a receivable", roles=ALL)
async def retrieve(admin: Read, receivable_id: ReceivableIdText) -> ReceivableOut:
    """What one invoice demands, and what was paid of it."""

    async def ask(connection: AsyncConnection) -> ReceivableOut:
        return _out(await require_receivable(connection, receivable_id))

    return await admin.read(ask)


@operations.post("/{receivable_id}/pay", verb="pay", summary="Record a payment", roles=MONEY)
async def pay(admin: Write, receivable_id: ReceivableIdText, body: PaymentRecord) -> ReceivableOut:
    """Record that an invoice was paid to the bank, in full or in part. The credit line is free again by that much."""

    async def command(work: UnitOfWork) -> ReceivableOut:
        return _out(await record_payment(work, receivable_id, body.amount_usd, body.source, body.note))

    return await admin.change(command)


@operations.post("/{receivable_id}/pay-back", verb="pay-back", summary="Record what was paid back", roles=MONEY)
async def pay_back(admin: Write, receivable_id: ReceivableIdText, body: PaymentRecord) -> ReceivableOut:
    """Record that what is in a customer's favour was paid back at the bank; else the next invoice sets it off."""

    async def command(work: UnitOfWork) -> ReceivableOut:
        found, back = await pay_favour_back(work, receivable_id, body.amount_usd, body.source, body.note)
        await admin.require_second_person(work, MoneyKind.REFUND, found.account_id, back)
        return _out(found)

    return await admin.change(command)


@operations.post("/{receivable_id}/write-off", verb="write-off", summary="Write a receivable off", roles=MONEY)
async def write_off(admin: Write, receivable_id: ReceivableIdText, body: WriteOff) -> ReceivableOut:
    """Give up what will not be paid. The credit line stays used by it, so that nothing is lent in its place."""

    async def command(work: UnitOfWork) -> ReceivableOut:
        found, lost = await write_off_receivable(work, receivable_id, body.amount_usd, body.reason)
        await admin.require_second_person(work, MoneyKind.WRITE_OFF, found.account_id, lost)
        return _out(found)

    return await admin.change(command)


def _is_in(found: Receivable, state: ReceivableState, today: date) -> bool:
    match state:
        case ReceivableState.OPEN:
            return found.open > 0
        case ReceivableState.OVERDUE:
            return found.open > 0 and found.due_on < today
        case ReceivableState.IN_FAVOUR:
            return found.open < 0
        case ReceivableState.PAID:
            return found.open == 0


def _out(found: Receivable) -> ReceivableOut:
    return answer_of(
        ReceivableOut,
        found,
        account=found.account_id,
        invoice=found.source_ref,
        drawn_usd=found.drawn,
        total_usd=found.total,
        paid_usd=found.paid,
        open_usd=found.open,
    )
