"""``/admin/v1/finance/corrections``: entries that a person books, between ledger accounts of the house."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field
from sqlalchemy import text

from billing.corrections import Correctable, Correction, Side
from router.admin.ledger_corrections import book_correction
from router.api.admin.request import Write
from router.api.document_answers import Month
from router.api.fields import EntryIdText, Instant, Usd, UsdAboveZero, text_of
from router.api.forms import Answer, Body
from router.api.operation import MONEY, V1, Operations
from router.changes.second_person import MoneyKind
from router.changes.transaction import UnitOfWork

operations = Operations("corrections", f"{V1}/finance/corrections", tag="Finance")
_BOOKED = text("SELECT period, booked_at FROM entries WHERE id = :id")


class CorrectionForm(Body):
    """An entry of two legs: an amount that goes from one ledger account to another."""

    debit: Correctable = Field(description="The ledger account that is debited.")
    credit: Correctable = Field(description="The ledger account that is credited.")
    amount_usd: UsdAboveZero = Field(description="How much.")
    source: Annotated[str, text_of(200)] = Field(
        description="The fact behind it, such as the id of a movement at Stripe; one fact is booked once."
    )
    reason: Annotated[str, text_of(500)] = Field(
        description="Why, for whoever looks next; it stays for good, so no personal data."
    )
    debit_detail: str = Field(
        "", max_length=64, description="Of tax_payable the jurisdiction, of a payable the provider."
    )
    credit_detail: str = Field("", max_length=64, description="The same of the credited account.")
    period: Month | None = Field(None, description="The month that it belongs to, which is open; null: this one.")


class CorrectionOut(Answer):
    """An entry that a person booked."""

    columns: ClassVar[tuple[str, ...]] = ("id", "period", "debit", "credit", "amount_usd", "source")

    id: EntryIdText = Field(description="The entry: resolving a difference by it names it.")
    period: Month
    booked_at: Instant
    debit: Correctable
    debit_detail: str
    credit: Correctable
    credit_detail: str
    amount_usd: Usd
    source: str
    reason: str
    currency: Literal["USD"] = "USD"
    object: Literal["correction"] = "correction"


@operations.post("", verb="book", summary="Book a correction", roles=MONEY, status=201)
async def book(admin: Write, body: CorrectionForm) -> CorrectionOut:
    """Book what nothing else books, such as a movement at Stripe of a kind that no rule knows; a dry run shows it.

    Customers' ledger accounts are moved by grants, refunds and receivables alone. Above the limit of write-offs it
    takes a second person.
    """

    async def command(work: UnitOfWork) -> CorrectionOut:
        correction = Correction(
            debit=Side(body.debit, body.debit_detail),
            credit=Side(body.credit, body.credit_detail),
            amount=body.amount_usd,
            source=body.source,
            reason=body.reason,
            period=body.period,
        )
        entry_id = await book_correction(work, correction)
        await admin.require_second_person(work, MoneyKind.WRITE_OFF, None, body.amount_usd)
        booked = (await work.connection.execute(_BOOKED, {"id": entry_id})).one()
        same = ("debit", "debit_detail", "credit", "credit_detail", "amount_usd", "source", "reason")
        return CorrectionOut(
            id=entry_id,
            period=booked.period,
            booked_at=booked.booked_at,
            **{name: getattr(body, name) for name in same},
        )

    return await admin.change(command)
