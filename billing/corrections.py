"""Books by hand what nothing else books: an entry of two legs between ledger accounts of the house, with its reason.

Customers' accounts are none of them, since their credit follows grants and their debts follow invoices; nor what other
checks compare with its own facts: lent credit, the cost of calls, what is accrued of it.
"""

from datetime import date
from enum import StrEnum

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.chart import LedgerKind
from billing.ledger import Posting, post
from billing.money import NanoUSD
from store.ids import EntryId


class Correctable(StrEnum):
    """The ledger accounts that a person may book to."""

    BANK = "bank"
    STRIPE_CLEARING = "stripe_clearing"
    CLEARING = "clearing"
    STRIPE_FEES = "stripe_fees"
    REFUNDS = "refunds"
    DISPUTES = "disputes"
    TAX_PAYABLE = "tax_payable"
    PROVIDER_PAYABLE = "provider_payable"
    PROVIDER_VARIANCE = "provider_variance"
    BREAKAGE = "breakage"
    GOODWILL_EXPENSE = "goodwill_expense"
    WRITE_OFF = "write_off"
    ROUNDING = "rounding"

    @property
    def has_detail(self) -> bool:
        """Whether it is one of many: a jurisdiction's, a provider's."""
        return self in (Correctable.TAX_PAYABLE, Correctable.PROVIDER_PAYABLE)


class Side(msgspec.Struct, frozen=True):
    """The ledger account of a leg; ``detail`` is the jurisdiction or the provider where it has one."""

    account: Correctable
    detail: str = ""


class Correction(msgspec.Struct, frozen=True, kw_only=True):
    """What is booked: ``amount`` from the credited to the debited account. ``source`` is the fact behind it, once.

    ``period`` None: the month of the booking.
    """

    debit: Side
    credit: Side
    amount: NanoUSD
    source: str
    reason: str
    period: date | None = None

    def fault(self) -> str:
        """What cannot be booked of it, as a sentence; empty where nothing is wrong."""
        if self.debit == self.credit:
            return "It is debited and credited to the same ledger account."
        for side in (self.debit, self.credit):
            if side.account.has_detail and not side.detail:
                return f"{side.account.value} is one of many: which jurisdiction, or which provider?"
            if side.detail and not side.account.has_detail:
                return f"{side.account.value} is one account, without a detail."
        return ""


async def book(tx: AsyncConnection, correction: Correction) -> EntryId:
    """Book it. Raises the database's ``IntegrityError`` for a source that was booked before, or a closed month."""
    debit, credit = correction.debit, correction.credit
    legs = [
        Posting(LedgerKind(debit.account.value), NanoUSD(-correction.amount), detail=debit.detail),
        Posting(LedgerKind(credit.account.value), correction.amount, detail=credit.detail),
    ]
    source, note = f"correction:{correction.source}", correction.reason
    return await post(tx, "correction", source, legs, note=note, period=correction.period)
