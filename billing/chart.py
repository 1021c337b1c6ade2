"""Pure. The chart of ledger accounts, and the sign convention of their postings.

A posting's amount is positive for a credit and negative for a debit, and the legs of an entry sum to zero. So what we
owe (customer credit, provider payable) and what we earned (revenue, breakage) show positive, what we own or spent
(clearing, overdraft, provider cost, contra accounts) shows negative. The hot path posts to the first nine of them only.
"""

from enum import StrEnum
from uuid import UUID

from store.ids import LedgerAccountId


class LedgerKind(StrEnum):
    """The kinds of ledger accounts."""

    CUSTOMER_CREDIT = "customer_credit"
    """Prepaid credit that is left: what we owe the customer in service. Never below zero."""
    CUSTOMER_OVERDRAFT = "customer_overdraft"
    """Debt: what was served or taken back beyond the credit. The customer owes it, and new credit pays it first."""
    REVENUE = "revenue"
    """Usage that no given credit paid for."""
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
    """What we owe providers for it; with a detail, one of them."""
    CUSTOMER_UNBILLED = "customer_unbilled"
    """Drawn from a credit line and on no invoice yet: the customer owes it."""
    CUSTOMER_RECEIVABLE = "customer_receivable"
    """On an invoice and not paid yet."""
    CREDIT_LINES = "credit_lines"
    """Credit that is lent (debit) and given back (credit): what makes a line a grant."""
    TAX_PAYABLE = "tax_payable"
    """Tax that we owe; the detail is its jurisdiction."""
    STRIPE_CLEARING = "stripe_clearing"
    """Money that is at Stripe, pending or available."""
    STRIPE_FEES = "stripe_fees"
    """What Stripe keeps of payments."""
    BANK = "bank"
    """Money at the bank."""
    REFUNDS = "refunds"
    """Sold credit that was taken back and is to be paid back."""
    DISPUTES = "disputes"
    """Sold credit that was taken back because its payment is disputed."""
    WRITE_OFF = "write_off"
    """What customers owed and will not pay."""
    ROUNDING = "rounding"
    """What is left where nano-dollars become cents."""


def _house(number: int) -> LedgerAccountId:
    return LedgerAccountId(UUID(f"00000000-0000-7000-8000-{number:012d}"))


# The house's ledger accounts without a detail exist once, under fixed ids, made by the migration.
HOUSE: dict[LedgerKind, LedgerAccountId] = {
    LedgerKind.REVENUE: _house(1),
    LedgerKind.PROMOTIONAL_CONTRA: _house(2),
    LedgerKind.GOODWILL_EXPENSE: _house(3),
    LedgerKind.CLEARING: _house(4),
    LedgerKind.BREAKAGE: _house(5),
    LedgerKind.PROVIDER_COST: _house(6),
    LedgerKind.PROVIDER_PAYABLE: _house(7),
    LedgerKind.STRIPE_CLEARING: _house(8),
    LedgerKind.STRIPE_FEES: _house(9),
    LedgerKind.BANK: _house(10),
    LedgerKind.REFUNDS: _house(11),
    LedgerKind.DISPUTES: _house(12),
    LedgerKind.WRITE_OFF: _house(13),
    LedgerKind.ROUNDING: _house(14),
    LedgerKind.CREDIT_LINES: _house(15),
}
# Customers' ledger accounts with a running balance: each posting to them has a version.
RUNNING = frozenset({LedgerKind.CUSTOMER_CREDIT, LedgerKind.CUSTOMER_OVERDRAFT})
