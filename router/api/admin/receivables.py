"""``/admin/v1/finance/receivables``: what invoices of drawn credit demand, and what was paid of it."""

from datetime import date
from typing import Annotated, ClassVar, Literal

from fastapi import Query
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.receivables import Receivable, list_receivables
from router.admin.lines import pay_favour_back, record_payment, write_off_receivable
from router.api.admin.request import Read, Write
from router.api.fields import AccountIdText, Instant, ReceivableIdText, Usd, UsdAboveZero, text_of
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
    note: str = Field("", description="For whoever reads the audit log.")


class WriteOff(Body):
    """Money that will not come."""

    reason: Annotated[str, text_of(500)] = Field(description="Why, for whoever reads the audit log.")
    amount_usd: UsdAboveZero | None = Field(None, description="How much; by default all that is open.")


@operations.get("", verb="list", summary="List receivables", roles=ALL)
async def list_(admin: Read, query: Annotated[PageQuery, Query()]) -> Page[ReceivableOut]:
    """What all invoices of drawn credit demand, the oldest first."""

    async def ask(connection: AsyncConnection) -> list[ReceivableOut]:
        return [_out(found) for found in query.cut(await list_receivables(connection), lambda found: found.id.hex)]

    return admin.page(query, await admin.read(ask), lambda row: row.id.hex)


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
