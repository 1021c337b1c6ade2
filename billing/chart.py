"""Pure. The chart of ledger accounts, and the sign convention of their postings.

A posting's amount is positive for a credit and negative for a debit, and the legs of an entry sum to zero. So what we
owe (customer credit, provider payable) and what we earned (revenue, breakage) show positive, what we own or spent
(clearing, overdraft, provider cost, contra accounts) shows negative.
"""

from enum import StrEnum
from uuid import UUID

from store.ids import LedgerAccountId


class LedgerKind(StrEnum):
    """The kinds of ledger accounts."""

    CUSTOMER_CREDIT = "customer_credit"
    """Prepaid credit that is left: what we owe the customer in service. Never below zero."""
    CUSTOMER_OVERDRAFT = "customer_overdraft"
    """Served beyond the credit, where an estimate was too low: the customer owes it, an alarm tells."""
    REVENUE = "revenue"
    """Usage paid from purchased credit."""
    PROMOTIONAL_CONTRA = "promotional_contra"
    """Promotional credit given (debit) and used (credit): it never inflates revenue."""
    GOODWILL_EXPENSE = "goodwill_expense"
    """Credit given to make up for something, and its use."""
    CLEARING = "clearing"
    """Money on its way to us for purchased credit."""
    BREAKAGE = "breakage"
    """Purchased credit that expired unused."""
    PROVIDER_COST = "provider_cost"
    """What the usage cost us at providers."""
    PROVIDER_PAYABLE = "provider_payable"
    """What we owe providers for it."""


def _house(number: int) -> LedgerAccountId:
    return LedgerAccountId(UUID(f"00000000-0000-7000-8000-{number:012d}"))


# The house's own ledger accounts exist once, under fixed ids, made by the migration.
HOUSE: dict[LedgerKind, LedgerAccountId] = {
    LedgerKind.REVENUE: _house(1),
    LedgerKind.PROMOTIONAL_CONTRA: _house(2),
    LedgerKind.GOODWILL_EXPENSE: _house(3),
    LedgerKind.CLEARING: _house(4),
    LedgerKind.BREAKAGE: _house(5),
    LedgerKind.PROVIDER_COST: _house(6),
    LedgerKind.PROVIDER_PAYABLE: _house(7),
}
