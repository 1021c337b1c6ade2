"""Pure. The chart of ledger accounts, and the sign convention of their postings.

A posting's amount is positive for a credit and negative for a debit, and the legs of an entry sum to zero. So what we
owe (customer credit, provider payable) and what we earned (revenue, breakage) show positive, what we own or spent
(clearing, overdraft, provider cost, contra accounts) shows negative. The hot path posts to the first nine of them only.
"""

from enum import StrEnum
from uuid import UUID

import msgspec

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
    """What we owe providers for it; with a detail, what is on the invoices of one of them."""
    PROVIDER_VARIANCE = "provider_variance"
    """By how much providers' invoices are more (debit) or less than what their calls were booked to cost."""
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
    LedgerKind.PROVIDER_VARIANCE: _house(16),
}
# Customers' ledger accounts with a running balance: each posting to them has a version.
RUNNING = frozenset({LedgerKind.CUSTOMER_CREDIT, LedgerKind.CUSTOMER_OVERDRAFT})


class AccountClass(StrEnum):
    """The five classes of accounts in bookkeeping."""

    ASSET = "asset"
    LIABILITY = "liability"
    EQUITY = "equity"
    REVENUE = "revenue"
    EXPENSE = "expense"


class AccountCode(msgspec.Struct, frozen=True):
    """How a ledger account is called outside: its code in exports, where no mapping gives another, and its class."""

    code: str
    account_class: AccountClass
    title: str


# Codes sort by class. They are proposals: which accounts they are in your own chart is for an adviser to confirm.
CODES: dict[LedgerKind, AccountCode] = {
    LedgerKind.BANK: AccountCode("1000", AccountClass.ASSET, "Bank"),
    LedgerKind.STRIPE_CLEARING: AccountCode("1010", AccountClass.ASSET, "Stripe clearing"),
    LedgerKind.CLEARING: AccountCode("1020", AccountClass.ASSET, "Other clearing"),
    LedgerKind.CUSTOMER_RECEIVABLE: AccountCode("1100", AccountClass.ASSET, "Receivables from customers"),
    LedgerKind.CUSTOMER_UNBILLED: AccountCode("1110", AccountClass.ASSET, "Unbilled usage"),
    LedgerKind.CUSTOMER_OVERDRAFT: AccountCode("1120", AccountClass.ASSET, "Debts of customers"),
    # What is lent and not drawn is no asset: it stands against the credit that customers see.
    LedgerKind.CREDIT_LINES: AccountCode("1190", AccountClass.ASSET, "Credit lines granted"),
    LedgerKind.CUSTOMER_CREDIT: AccountCode("2000", AccountClass.LIABILITY, "Credit of customers (deferred revenue)"),
    LedgerKind.PROVIDER_PAYABLE: AccountCode("2100", AccountClass.LIABILITY, "Payable to providers"),
    LedgerKind.TAX_PAYABLE: AccountCode("2200", AccountClass.LIABILITY, "Tax payable"),
    LedgerKind.REFUNDS: AccountCode("2300", AccountClass.LIABILITY, "Refunds to be paid"),
    LedgerKind.DISPUTES: AccountCode("2310", AccountClass.LIABILITY, "Disputed payments"),
    LedgerKind.REVENUE: AccountCode("4000", AccountClass.REVENUE, "Usage"),
    LedgerKind.BREAKAGE: AccountCode("4100", AccountClass.REVENUE, "Expired credit"),
    LedgerKind.PROVIDER_COST: AccountCode("5000", AccountClass.EXPENSE, "Cost of providers"),
    LedgerKind.PROVIDER_VARIANCE: AccountCode("5010", AccountClass.EXPENSE, "Variance of providers' invoices"),
    LedgerKind.PROMOTIONAL_CONTRA: AccountCode("6000", AccountClass.EXPENSE, "Promotional credit"),
    LedgerKind.GOODWILL_EXPENSE: AccountCode("6010", AccountClass.EXPENSE, "Goodwill credit"),
    LedgerKind.STRIPE_FEES: AccountCode("6100", AccountClass.EXPENSE, "Fees of Stripe"),
    LedgerKind.WRITE_OFF: AccountCode("6200", AccountClass.EXPENSE, "Bad debts"),
    LedgerKind.ROUNDING: AccountCode("6900", AccountClass.EXPENSE, "Rounding"),
}
