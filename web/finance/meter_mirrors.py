"""Shows whose usage is at Stripe's meters, too, and what waits for Stripe; switches an account's mirror on and off."""

from typing_extensions import override

from web.answers import Crumb
from web.finance.lines import OpenWrite
from web.finance.listing import FINANCE, Listing, Way, account, instant, link, number, state, words
from web.finance.write import FinanceWrite
from web.ops.write import Field, Json
from web.parts.tables import Column
from web.request import PageRequest

MIRRORS = Crumb("Usage at Stripe's meters", "/finance/meter-mirrors")
CRUMBS = (FINANCE, MIRRORS)
_DIFFERENCES = Way("/finance/differences?scope=meters", "Days that differ at Stripe")


def _state(row: Json) -> str:
    if not row["is_on"]:
        return "off"
    return "failed" if row["fault"] else "waiting" if row["waiting_days"] else "ok"


LIST = Listing(
    operation="admin_list_meter_mirrors",
    title="Usage at Stripe's meters",
    explanation="Accounts whose usage is told to Stripe, too, every ten minutes. Nothing is charged by it. A day that "
    "Stripe refuses is told again in an hour; every night days are compared, and what differs is in the queue.",
    caption="Mirrors, also those that were switched off",
    head=(
        Column("Account"),
        Column("State"),
        Column("Told from"),
        Column("Wait", "totals of days", is_number=True),
        Column("Oldest that waits"),
        Column("Told last"),
        Column("Why Stripe did not take a day"),
        Column("Switch"),
    ),
    cells=lambda row: (
        account(row["account"]),
        state(_state(row)),
        words(row["since"]),
        number(row["waiting_days"]),
        words(row["oldest_day"], "none"),
        instant(row["sent_at"]),
        words(row["fault"]),
        link("Switch off", f"/finance/meter-mirrors/{row['account']}/off")
        if row["is_on"]
        else link("Switch on", f"/finance/meter-mirrors/on?account={row['account']}"),
    ),
    ways=(
        Way("/finance/meter-mirrors/on", "Mirror an account"),
        _DIFFERENCES,
        Way("/finance/reconciliations/new?kind=meters", "Compare now"),
        Way("/finance/manual/stripe#usage-at-stripes-meters", "How it is done"),
    ),
    empty="No account has its usage at Stripe's meters.",
    empty_way=Way("/finance/meter-mirrors/on", "Mirror an account"),
)
_NAMES = {"account": "Account", "is_on": "Mirrored", "since": "Told from"}


class _SwitchOn(OpenWrite, frozen=True, kw_only=True):
    """Switches a mirror on. Whose it is, is typed, and is all that is."""

    @override
    def _body(self, request: PageRequest, form: tuple[tuple[str, str], ...]) -> Json | None:
        return None


ON = _SwitchOn(
    operation="admin_start_meter_mirror",
    verb="Tell Stripe's meters of",
    noun="an account",
    name="account",
    explanation="Stripe is told the account's usage from today (UTC) on. Nothing is charged by it.",
    fields=(Field(name="account", label="Account", is_required=True, hint="Its id or name."),),
    names=_NAMES,
    back="/finance/meter-mirrors",
    crumbs=CRUMBS,
    notes=("Put no price on our meters at Stripe: invoices come from our own books.",),
)
OFF = FinanceWrite(
    operation="admin_stop_meter_mirror",
    verb="Tell Stripe no more of",
    name="account",
    explanation="Stripe is told no more, also of what waits. What it has stays there.",
    values={"account_id": "mirror"},
    reads="admin_show_meter_mirror",
    names=_NAMES,
    back="/finance/meter-mirrors",
    crumbs=CRUMBS,
    has_body=False,
)
