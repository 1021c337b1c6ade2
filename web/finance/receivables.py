"""Declares receivables: what invoices of drawn credit demand, what was paid, given up, or paid back to a customer."""

from web.answers import Crumb
from web.finance.listing import FINANCE, Cell, Listing, Way, account, link, number, words
from web.ops.write import Field, Json, Write
from web.parts.tables import Column

STATES = (
    ("", "Any"),
    ("open", "open"),
    ("overdue", "overdue"),
    ("in_favour", "in the customer's favour"),
    ("paid", "paid"),
)


def _acts(row: Json) -> tuple[Cell, Cell]:
    base = f"/finance/receivables/{row['id']}"
    if row["open_usd"].startswith("-"):
        return link("Pay it back", f"{base}/pay-back"), words("")
    if float(row["open_usd"]) == 0:
        return words(""), words("")
    return link("Record a payment", f"{base}/pay"), link("Write off", f"{base}/write-off")


RECEIVABLES = Listing(
    operation="list_receivables",
    title="Receivables",
    explanation="What invoices of drawn credit demand, and what was paid of it, the oldest first. An amount below zero "
    "is in the customer's favour: the next invoice sets it off, or it is paid back at the bank.",
    caption="Receivables",
    head=(
        Column("Invoice"),
        Column("Account"),
        Column("Due on"),
        Column("Total", "USD", is_number=True),
        Column("Paid", "USD", is_number=True),
        Column("Open", "USD", is_number=True),
        Column("Record"),
        Column("Give up"),
    ),
    cells=lambda row: (
        link(row["invoice"], f"/finance/documents/{row['invoice']}"),
        account(row["account"]),
        words(row["due_on"]),
        number(row["total_usd"]),
        number(row["paid_usd"]),
        number(row["open_usd"]),
        *_acts(row),
    ),
    fields=(
        Field(name="account", label="Account", hint="Its id or name."),
        Field(name="state", label="State", kind="choice", options=STATES),
    ),
    ways=(Way("/finance/lines", "Credit lines"),),
    empty="No invoice of drawn credit demands anything.",
    empty_way=Way("/finance/documents", "Look at the documents"),
)


def _receivable(operation: str, verb: str, explanation: str, *fields: Field, is_dangerous: bool) -> Write:
    return Write(
        operation=operation,
        verb=verb,
        noun="{receivable}",
        name="invoice",
        explanation=explanation,
        values={"receivable_id": "receivable"},
        reads="retrieve_receivable",
        fields=(*fields, Field(name="amount_usd", label="Amount, USD", hint="Empty: all of it.")),
        names={"invoice": "Invoice", "total_usd": "Total, USD", "paid_usd": "Paid, USD", "open_usd": "Open, USD"},
        back="/finance/receivables",
        crumbs=(FINANCE, Crumb("Receivables", "/finance/receivables")),
        is_dangerous=is_dangerous,
    )


PAY = _receivable(
    "pay_receivable",
    "Record a payment of",
    "An invoice was paid to the bank, in full or in part. The credit line is free again by that much.",
    Field(name="source", label="Source", is_required=True, hint="The bank's reference; the same is recorded once."),
    Field(name="note", label="Note", kind="area", hint="For whoever reads the audit."),
    is_dangerous=False,
)
WRITE_OFF = _receivable(
    "write_off_receivable",
    "Write off",
    "What will not be paid is given up. The credit line stays used by it.",
    Field(name="reason", label="Reason", kind="area", is_required=True, hint="For whoever reads the audit."),
    is_dangerous=True,
)
PAY_BACK = _receivable(
    "pay_back_receivable",
    "Pay back what was paid too much of",
    "What is in the customer's favour was paid back at the bank. Else their next invoice sets it off.",
    Field(name="source", label="Source", is_required=True, hint="The bank's reference; the same is recorded once."),
    Field(name="note", label="Note", kind="area", hint="For whoever reads the audit."),
    is_dangerous=True,
)
