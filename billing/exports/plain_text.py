"""Pure. Writes journals as hledger and beancount read them: all nine decimals, every customer an account of their own.

Positive is a debit there. Names of accounts are ids: no person's words are in them.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import date

from billing.chart import LedgerKind
from billing.exports.formats import ExportFormat

_NAMES: dict[str, str] = {
    LedgerKind.CUSTOMER_CREDIT: "Liabilities:Customers:Credit",
    LedgerKind.CUSTOMER_OVERDRAFT: "Assets:Customers:Debt",
    LedgerKind.CUSTOMER_UNBILLED: "Assets:Customers:Unbilled",
    LedgerKind.CUSTOMER_RECEIVABLE: "Assets:Customers:Receivable",
    LedgerKind.REVENUE: "Income:Usage",
    LedgerKind.PROMOTIONAL_CONTRA: "Income:Promotional",
    LedgerKind.GOODWILL_EXPENSE: "Expenses:Goodwill",
    LedgerKind.CLEARING: "Assets:Clearing",
    LedgerKind.BREAKAGE: "Income:Breakage",
    LedgerKind.PROVIDER_COST: "Expenses:Providers",
    LedgerKind.PROVIDER_PAYABLE: "Liabilities:Providers",
    LedgerKind.PROVIDER_VARIANCE: "Expenses:ProviderVariance",
    LedgerKind.CREDIT_LINES: "Assets:CreditLines",
    LedgerKind.TAX_PAYABLE: "Liabilities:Tax",
    LedgerKind.STRIPE_CLEARING: "Assets:Stripe",
    LedgerKind.STRIPE_FEES: "Expenses:StripeFees",
    LedgerKind.BANK: "Assets:Bank",
    LedgerKind.REFUNDS: "Liabilities:Refunds",
    LedgerKind.DISPUTES: "Liabilities:Disputes",
    LedgerKind.WRITE_OFF: "Expenses:WriteOff",
    LedgerKind.ROUNDING: "Expenses:Rounding",
}
EXTENSION = {ExportFormat.HLEDGER: "journal", ExportFormat.BEANCOUNT: "beancount"}


def account_name(kind: str, detail: str, account_hex: str) -> str:
    """What a ledger account is called there: unique, and of letters, digits and dashes."""
    parts = [_NAMES.get(kind) or f"Equity:{kind.title().replace('_', '')}"]
    if account_hex:
        parts.append(f"Acct-{account_hex}")
    if detail:
        parts.append("D-" + re.sub("[^A-Za-z0-9]", lambda found: f"-x{ord(found[0]):x}-", detail))
    return ":".join(parts)


def amount_text(nano: int) -> str:
    """A ledger's amount as it is there: nine decimals, debit positive."""
    whole, rest = divmod(abs(nano), 10**9)
    return f"{'-' if nano > 0 else ''}{whole}.{rest:09d}"


class Transactions:
    """Writes transactions whose legs come one after the other, across any number of blocks."""

    def __init__(self, format: ExportFormat, names: dict[str, str]) -> None:
        self._format = format
        self._names = names
        self._key = ""

    def write(self, legs: Iterable[Sequence[str]]) -> str:
        """The text of some legs: (entry or empty, day, kind, ledger account, amount). A new entry begins one."""
        lines: list[str] = []
        names, key = self._names, self._key
        for entry, day, kind, account, amount in legs:
            if (following := entry or day + kind) != key:
                key = following
                lines.append(self.header(day, kind, entry))
            lines.append(f"  {names[account]}  {amount} USD\n")
        self._key = key
        return "".join(lines)

    def header(self, day: str, kind: str, entry: str = "") -> str:
        """The first line of a transaction, with a blank one before it."""
        match self._format:
            case ExportFormat.BEANCOUNT:
                return f'\n{day} * "{kind}"{f" ^entry_{entry}" if entry else ""}\n'
            case _:
                return f"\n{day} * {kind}{f' | entry_{entry}' if entry else ''}\n"


def opening(format: ExportFormat, day: date, balances: Iterable[tuple[str, int]]) -> str:
    """The balances before the journal begins, by accounts' names, as a transaction of the day before."""
    header = Transactions(format, {}).header(f"{day:%Y-%m-%d}", "opening balances")
    legs = "".join(f"  {name}  {amount_text(nano)} USD\n" for name, nano in balances if nano)
    return header + legs if legs else ""


def closing(format: ExportFormat, day: date, balances: Iterable[tuple[str, int]]) -> str:
    """What all balances must be at the beginning of ``day``; the program refuses the books where one is not."""
    if format is ExportFormat.BEANCOUNT:
        return "".join(f"{day} balance {name}  {amount_text(nano)} ~ 0.0000000001 USD\n" for name, nano in balances)
    legs = "".join(f"  {name}  0 USD = {amount_text(nano)} USD\n" for name, nano in balances)
    return f"\n{day} * closing balances\n{legs}" if legs else ""


def main(format: ExportFormat, title: str, files: Iterable[str]) -> str:
    """The file that includes the others."""
    head: Iterator[str] = iter(())
    if format is ExportFormat.BEANCOUNT:
        head = iter(
            (
                f'option "title" "gigarouter {title}"\n',
                'option "operating_currency" "USD"\n',
                'plugin "beancount.plugins.auto_accounts"\n',
            )
        )
    quote = '"' if format is ExportFormat.BEANCOUNT else ""
    return "".join([*head, *(f"include {quote}{file}{quote}\n" for file in files)])
