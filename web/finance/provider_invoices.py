"""Shows what providers bill beside what our calls cost there, and imports, settles, pays and voids their invoices."""

from datetime import date, datetime

import msgspec

from web.answers import Crumb
from web.finance.facts import DoneQuery, Fact, read_one
from web.finance.listing import FINANCE, Cell, Listing, Way, instant, link, number, state, words
from web.finance.thing import Section, ThingPage
from web.finance.write import FinanceWrite
from web.forms import Change
from web.ops.write import Field, Json
from web.parts.tables import Column
from web.request import PageRequest

INVOICES = Crumb("Provider invoices", "/finance/provider-invoices")
CRUMBS = (FINANCE, INVOICES)
ONE = "/finance/provider-invoices/{invoice}"
# So many models and days stand on a page; all of them are in the operation's answer.
COMPARED_SHOWN = 200
PROVIDER = Field(name="provider", label="Provider", hint="Its id or name.")
LIST = Listing(
    operation="list_provider-invoices",
    title="Provider invoices",
    explanation="What providers bill us, the newest first: each is imported, compared with our cost, and booked.",
    caption="Invoices of providers",
    head=(
        Column("Invoice"),
        Column("Provider"),
        Column("From"),
        Column("Until"),
        Column("Total", "USD", is_number=True),
        Column("State"),
        Column("Settled"),
        Column("Paid"),
    ),
    cells=lambda row: (
        link(row["number"], f"/finance/provider-invoices/{row['id']}"),
        link(row["provider"], f"/ops/providers/{row['provider']}"),
        words(row["since"]),
        words(row["until"]),
        number(row["total_usd"]),
        state(row["state"]),
        instant(row["settled_at"]),
        instant(row["paid_at"]),
    ),
    fields=(PROVIDER,),
    ways=(
        Way("/finance/provider-invoices/import", "Import an invoice"),
        Way("/finance/invoice-maps", "Maps of columns"),
        Way("/finance/differences?scope=provider", "Differences"),
    ),
    empty="No provider's invoice was imported yet. Store a map of its columns first.",
    empty_way=Way("/finance/provider-invoices/import", "Import an invoice"),
)
HEAD = (
    Column("Model"),
    Column("Day", is_number=True),
    Column("Billed", "USD", is_number=True),
    Column("Our cost", "USD", is_number=True),
    Column("Undelivered", "USD", is_number=True),
    Column("Unexplained", "USD", is_number=True),
    Column("Tokens", "billed, ours"),
    Column("Verdict"),
)


class _Compared(msgspec.Struct, frozen=True):
    day: date | None
    model: str
    billed_usd: str
    cost_usd: str
    undelivered_usd: str
    difference_usd: str
    billed_tokens: int | None
    tokens: int
    verdict: str


class ProviderInvoice(msgspec.Struct, frozen=True):
    """An invoice with its comparison, as the operation answers it."""

    id: str
    provider: str
    number: str
    since: date
    until: date
    total_usd: str
    lines: int
    map_version: int
    sha256: str
    state: str
    imported_at: datetime
    imported_by: str
    settled_at: datetime | None
    accrued_usd: str | None
    entry: str | None
    paid_at: datetime | None
    compared: list[_Compared]


async def show(request: PageRequest) -> ThingPage:
    """One invoice, by model and day beside our cost."""
    is_done = request.query_as(DoneQuery).done
    known = request.values["invoice"]
    one = await read_one(request, "retrieve_provider-invoice", ProviderInvoice, invoice_id=known)
    return ThingPage(
        title=f"Provider invoice {one.number}",
        crumbs=(*CRUMBS, Crumb(one.number)),
        facts=_facts(one),
        ways=_ways(one),
        sections=(_comparison(one),),
        is_done=is_done,
    )


def _facts(one: ProviderInvoice) -> tuple[Fact, ...]:
    return (
        Fact("Provider", link(one.provider, f"/ops/providers/{one.provider}")),
        Fact("Days (UTC)", words(f"{one.since} up to {one.until}")),
        Fact("Total, USD", number(one.total_usd)),
        Fact("State", state(one.state)),
        Fact("Booked cost of its days, USD", number(one.accrued_usd) if one.accrued_usd else words("not settled")),
        Fact("Imported", Cell("", kind="time", at=one.imported_at)),
        Fact("Imported by", words(one.imported_by)),
        Fact("Lines of the file", number(one.lines)),
        Fact("Read by the map's version", number(one.map_version)),
        Fact("SHA-256 of the file", words(one.sha256)),
        Fact("Settled", Cell("", kind="time", at=one.settled_at)),
        Fact("Entry", words(one.entry, "none")),
        Fact("Paid", Cell("", kind="time", at=one.paid_at)),
    )


def _ways(one: ProviderInvoice) -> tuple[Way, ...]:
    base = f"/finance/provider-invoices/{one.id}"
    if one.state == "imported":
        return Way(f"{base}/settle", f"Settle {one.number}"), Way(f"{base}/void", f"Void {one.number}")
    if one.state == "settled" and one.paid_at is None:
        return (Way(f"{base}/pay", f"Record the payment of {one.number}"),)
    return ()


def _comparison(one: ProviderInvoice) -> Section:
    rows = one.compared[:COMPARED_SHOWN]
    return Section(
        title="By model and day",
        caption=f"What was billed beside what calls cost: {len(rows)} of {len(one.compared)} rows",
        head=HEAD,
        rows=tuple(
            (
                words(row.model),
                number(row.day or "all"),
                number(row.billed_usd),
                number(row.cost_usd),
                number(row.undelivered_usd),
                number(row.difference_usd),
                words(f"{'unknown' if row.billed_tokens is None else f'{row.billed_tokens:,}'}, {row.tokens:,}"),
                state(row.verdict),
            )
            for row in rows
        ),
        empty="It has no lines.",
    )


def _compared(answer: Json) -> tuple[Change, ...]:
    """The comparison as lines of a confirmation: what was billed beside our cost."""
    rows = tuple(
        Change(
            f"{row['model']}, {row['day'] or 'all days'}",
            "",
            f"billed {row['billed_usd']} USD, our cost {row['cost_usd']}, unexplained {row['difference_usd']}: "
            + row["verdict"].replace("_", " "),
        )
        for row in answer["compared"][:COMPARED_SHOWN]
    )
    rest = len(answer["compared"]) - len(rows)
    return (*rows, Change("Further rows", "", str(rest))) if rest else rows


def legs_of(answer: Json) -> tuple[Change, ...]:
    """The legs of the entry that is booked."""
    return tuple(
        Change(f"Booked on {leg['ledger_account']} {leg['detail']}".strip(), "none", f"{leg['amount_usd']} USD")
        for leg in answer["postings"]
    )


IMPORT = FinanceWrite(
    operation="import_provider_invoice",
    verb="Import",
    noun="an invoice",
    name="number",
    explanation="The file is read by the provider's map of columns, and each model and day compared with our cost.",
    fields=(
        Field(name="provider", label="Provider", is_required=True, hint="Its id or name."),
        Field(name="number", label="Number of the invoice", is_required=True),
        Field(name="period", label="Period", is_required=True, hint="A month, quarter or year, such as 2026-11."),
        Field(name="total_usd", label="Total, USD", is_required=True, hint="What the invoice says it comes to."),
        Field(name="file", label="CSV file", kind="file", is_required=True, hint="At most 2 MiB."),
    ),
    names={
        "number": "Number",
        "since": "From",
        "until": "Until",
        "total_usd": "Total, USD",
        "lines": "Lines of the file",
        "map_version": "Version of the map",
        "state": "State",
    },
    rows=_compared,
    back="/finance/provider-invoices",
    done="/finance/provider-invoices/{id}",
    crumbs=CRUMBS,
    notes=("Nothing is booked yet: that is what settling it does. An import can be taken back until then.",),
)
_NAMES = {
    "state": "State",
    "total_usd": "Total, USD",
    "accrued_usd": "Booked cost of its days, USD",
    "settled_at": "Settled",
    "paid_at": "Paid",
}


SETTLE = FinanceWrite(
    operation="settle_provider_invoice",
    verb="Settle",
    name="number",
    explanation="The invoice becomes payable. What of it nothing explains needs a reason, and is booked as variance.",
    values={"invoice_id": "invoice"},
    reads="retrieve_provider-invoice",
    fields=(Field(name="reason", label="Reason", kind="area", hint="Needed where something of it is not explained."),),
    names=_NAMES,
    rows=legs_of,
    back=ONE,
    crumbs=CRUMBS,
    is_dangerous=True,
    notes=("A settled invoice cannot be taken back.",),
)
PAY = FinanceWrite(
    operation="pay_provider_invoice",
    verb="Record the payment of",
    name="number",
    explanation="It was paid from the bank.",
    values={"invoice_id": "invoice"},
    reads="retrieve_provider-invoice",
    fields=(Field(name="reference", label="Reference", is_required=True, hint="The bank's."),),
    names=_NAMES,
    rows=legs_of,
    back=ONE,
    crumbs=CRUMBS,
)
VOID = FinanceWrite(
    operation="void_provider_invoice",
    verb="Void",
    name="number",
    explanation="The import is taken back: its number, its file and its days are free again.",
    values={"invoice_id": "invoice"},
    reads="retrieve_provider-invoice",
    fields=(Field(name="reason", label="Reason", kind="area", is_required=True, hint="For whoever looks next."),),
    names=_NAMES,
    back=ONE,
    crumbs=CRUMBS,
    is_dangerous=True,
)
