"""What a payment provider does about invoices, which is handed in where there is one: documents know of none."""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.documents.document import Draft
from billing.documents.tax import TaxDecision
from store.ids import AccountId, DocumentId, ReceivableId

# Has an invoice's receivable collected, in the transaction that issues it: document, receivable, account.
Collect: TypeAlias = Callable[[AsyncConnection, DocumentId, ReceivableId, AccountId], Awaitable[None]]


# Decides the tax of an invoice and how many cents it is. Raises :class:`DocumentWaits`, :class:`DocumentRefused`.
DecideTax: TypeAlias = Callable[[Draft], Awaitable[tuple[TaxDecision, int]]]


class PaymentProvider(msgspec.Struct, frozen=True, kw_only=True):
    """What a payment provider does about invoices; without one nobody collects, and our table decides the tax.

    ``least_cents``: what is collected at least; a month that comes to less is carried to a later one.
    """

    collect: Collect | None = None
    least_cents: int = 0
    decide_tax: DecideTax | None = None


NO_PROVIDER = PaymentProvider()
