"""Shows credit lines: what is drawn, free and overdue of each, and opens, changes and stops them."""

from datetime import datetime

import msgspec
from typing_extensions import override

from web.answers import Crumb
from web.finance.facts import DoneQuery, Fact, read_one
from web.finance.listing import FINANCE, Cell, Listing, Way, account, instant, link, number, words
from web.finance.thing import ThingPage
from web.finance.write import FinanceWrite
from web.ops.write import Field, Json
from web.parts.tables import Column
from web.request import PageRequest

LINES = Crumb("Credit lines", "/finance/lines")
CRUMBS = (FINANCE, LINES)
ONE = "/finance/lines/{line}"
LIST = Listing(
    operation="list_lines",
    title="Credit lines",
    explanation="What accounts may use before they pay, what they drew of it, and who is late. Amounts are USD.",
    caption="Credit lines, also those that ended",
    head=(
        Column("Account"),
        Column("Limit", "USD", is_number=True),
        Column("Free", "USD", is_number=True),
        Column("Drawn", "USD, since the last daily turn", is_number=True),
        Column("Unbilled", "USD", is_number=True),
        Column("Billed", "USD, not paid", is_number=True),
        Column("Overdue", "days", is_number=True),
        Column("Ended"),
    ),
    cells=lambda row: (
        link(row["account"], f"/finance/lines/{row['account']}"),
        number(row["limit_usd"]),
        number(row["available_usd"]),
        number(row["drawn_usd"]),
        number(row["unbilled_usd"]),
        number(row["billed_usd"]),
        number(max(0, row["days_overdue"])),
        instant(row["ended_at"]) if row["ended_at"] else words("no"),
    ),
    fields=(
        Field(name="account", label="Account", hint="Its id or name."),
        Field(name="overdue", label="Overdue ones alone", kind="check"),
    ),
    ways=(Way("/finance/lines/open", "Open a line"), Way("/finance/receivables", "Receivables")),
    empty="No account may use before it pays.",
    empty_way=Way("/finance/lines/open", "Open a line"),
)


class Line(msgspec.Struct, frozen=True):
    """A credit line, as its operation answers it."""

    account: str
    limit_usd: str
    lendable_usd: str
    available_usd: str
    drawn_usd: str
    unbilled_usd: str
    billed_usd: str
    terms_days: int
    days_overdue: int
    opened_at: datetime
    ended_at: datetime | None


async def show(request: PageRequest) -> ThingPage:
    """One line, and what of it is drawn, free and overdue."""
    is_done = request.query_as(DoneQuery).done
    one = await read_one(request, "retrieve_line", Line, account_id=request.values["line"])
    base = f"/finance/lines/{one.account}"
    open_ways = (Way(f"{base}/edit", "Change it"), Way(f"{base}/end", "Stop it"))
    again = (Way(f"/finance/lines/open?account={one.account}", "Open it again"),)
    receivables = Way(f"/finance/receivables?account={one.account}", "Its receivables")
    overdue = words("not overdue") if one.days_overdue <= 0 else number(one.days_overdue)
    return ThingPage(
        title=f"Credit line of {one.account}",
        crumbs=(*CRUMBS, Crumb(one.account)),
        facts=(
            Fact("Account", account(one.account)),
            Fact("Limit, USD", number(one.limit_usd)),
            Fact("Limit that holds now, USD", number(one.lendable_usd)),
            Fact("Free, USD", number(one.available_usd)),
            Fact("Drawn since the last daily turn, USD", number(one.drawn_usd)),
            Fact("Drawn, and on no invoice yet, USD", number(one.unbilled_usd)),
            Fact("On invoices and not paid, without tax, USD", number(one.billed_usd)),
            Fact("Days to pay an invoice", number(one.terms_days)),
            Fact("Days overdue", overdue),
            Fact("Opened", Cell("", kind="time", at=one.opened_at)),
            Fact("Ended", Cell("", kind="time", at=one.ended_at) if one.ended_at else words("no")),
        ),
        ways=(*(again if one.ended_at else open_ways), receivables),
        is_done=is_done,
    )


class OpenWrite(FinanceWrite, frozen=True, kw_only=True):
    """Opens a line. Whose it is, is typed, and stands in the operation's path."""

    @override
    def _path(self, request: PageRequest) -> dict[str, str]:
        which = request.typed("account") or dict(request.query).get("account", "")
        return {"account_id": which.strip() or "nobody"}

    @override
    def _body(self, request: PageRequest, form: tuple[tuple[str, str], ...]) -> Json | None:
        body = FinanceWrite._body(self, request, form) or {}
        return {name: value for name, value in body.items() if name != "account"}


_NOTE = Field(name="note", label="Reason", kind="area", is_required=True, hint="For whoever reads the audit.")
_LIMIT = Field(name="limit_usd", label="Limit, USD", is_required=True, hint="The most that may be drawn and not paid.")
_TERMS = Field(name="terms_days", label="Days to pay an invoice", kind="count", hint="Empty: 30.")
_NAMES = {
    "limit_usd": "Limit, USD",
    "lendable_usd": "Limit that holds now, USD",
    "available_usd": "Free, USD",
    "terms_days": "Days to pay an invoice",
    "ended_at": "Ended",
}
OPEN = OpenWrite(
    operation="open_line",
    verb="Open a credit line of",
    noun="an account",
    name="account",
    explanation="The account may use so much before it pays. It is drawn last, and no call passes the limit.",
    fields=(
        Field(name="account", label="Account", is_required=True, hint="Its id or name."),
        _LIMIT,
        _TERMS,
        _NOTE,
    ),
    names={"account": "Account", **_NAMES},
    back="/finance/lines",
    done="/finance/lines/{account}",
    crumbs=CRUMBS,
)
EDIT = FinanceWrite(
    operation="edit_line",
    verb="Change the credit line of",
    name="account",
    explanation="More is lent at once. Less is taken back within seconds, what calls in flight hold after them.",
    values={"account_id": "line"},
    reads="retrieve_line",
    fields=(_LIMIT, _TERMS, _NOTE),
    names=_NAMES,
    back=ONE,
    crumbs=CRUMBS,
)
STOP = FinanceWrite(
    operation="end_line",
    verb="Stop the credit line of",
    name="account",
    explanation="Nothing is lent any more; what was drawn stays owed.",
    values={"account_id": "line"},
    reads="retrieve_line",
    fields=(_NOTE,),
    names=_NAMES,
    back=ONE,
    crumbs=CRUMBS,
    is_dangerous=True,
)
