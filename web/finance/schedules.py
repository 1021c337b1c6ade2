"""Shows credit that accounts are given each month, and begins and stops it."""

from web.answers import Crumb
from web.finance.listing import FINANCE, Listing, Way, account, instant, link, number, words
from web.finance.write import FinanceWrite
from web.ops.write import Field
from web.parts.tables import Column

SCHEDULES = Crumb("Grant schedules", "/finance/grant-schedules")
CRUMBS = (FINANCE, SCHEDULES)
LIST = Listing(
    operation="list_grant-schedules",
    title="Grant schedules",
    explanation="Credit that accounts are given from the first instant (UTC) of each month, the oldest first.",
    caption="Schedules, also those that ended",
    head=(
        Column("Account"),
        Column("Kind"),
        Column("A month", "USD", is_number=True),
        Column("First month"),
        Column("Last month"),
        Column("Next"),
        Column("Note"),
        Column("Stop"),
    ),
    cells=lambda row: (
        account(row["account"]),
        words(row["kind"]),
        number(row["amount_usd"]),
        words(row["first_month"]),
        words(row["last_month"], "until it is stopped"),
        words("none" if row["ended_at"] else row["next_month"]),
        words(row["note"]),
        instant(row["ended_at"]) if row["ended_at"] else link("Stop it", f"/finance/grant-schedules/{row['id']}/end"),
    ),
    fields=(Field(name="account", label="Account", hint="Its id or name."),),
    ways=(Way("/finance/grant-schedules/new", "Give credit each month"),),
    empty="No account is given credit each month.",
    empty_way=Way("/finance/grant-schedules/new", "Give credit each month"),
)
_NAMES = {
    "kind": "Kind",
    "amount_usd": "Amount a month, USD",
    "first_month": "First month",
    "last_month": "Last month",
    "next_month": "Next month",
    "lasts_months": "A month's credit ends with so many months",
}
NEW = FinanceWrite(
    operation="create_grant_schedule",
    verb="Give",
    noun="credit each month",
    name="number",
    explanation="Credit from the first instant (UTC) of each month on. This month's is given within a minute.",
    fields=(
        Field(name="account", label="Account", is_required=True, hint="Its id or name."),
        Field(name="amount_usd", label="Amount a month, USD", is_required=True),
        Field(name="first_month", label="First month", is_required=True, hint="Such as 2026-12."),
        Field(name="last_month", label="Last month", hint="Empty: until it is stopped."),
        Field(
            name="lasts_months",
            label="How long a month's credit lasts, months",
            kind="count",
            hint="1: until its own month ends; empty: it does not expire.",
        ),
        Field(
            name="kind",
            label="Kind",
            kind="choice",
            options=(("promotional", "promotional: spent first"), ("goodwill", "goodwill")),
        ),
        Field(name="note", label="Reason", kind="area", is_required=True, hint="For whoever reads the audit."),
    ),
    names={"account": "Account", **_NAMES},
    back="/finance/grant-schedules",
    crumbs=CRUMBS,
)
STOP = FinanceWrite(
    operation="end_grant_schedule",
    verb="Stop the credit each month of",
    name="account",
    explanation="No further month is given; what was given stays.",
    values={"schedule_id": "schedule"},
    reads="retrieve_grant-schedule",
    # Its note says why it began.
    view=lambda schedule: {name: value for name, value in schedule.items() if name != "note"},
    fields=(Field(name="note", label="Reason", kind="area", is_required=True, hint="For whoever reads the audit."),),
    names={**_NAMES, "ended_by": "Stopped by", "ended_at": "Stopped"},
    back="/finance/grant-schedules",
    crumbs=CRUMBS,
    is_dangerous=True,
)
