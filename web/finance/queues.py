"""Declares the other lists of finance and their writes: comparisons, reviews, disputes, refunds, payments, debts."""

from enum import StrEnum

from billing.stripe.dispute_rules import DisputeStatus
from billing.stripe.refund_rules import RefundStatus
from billing.stripe.topup_rules import TopupStatus
from store.ids import ReviewId
from web.answers import Crumb
from web.finance.listing import FINANCE, Listing, Way, account, instant, link, number, state, words
from web.finance.write import FinanceWrite
from web.ops.write import Field, Json, Write
from web.parts.tables import Column

ACCOUNT = Field(name="account", label="Account", hint="Its id or name.")
SEARCH = Field(
    name="search",
    label="Search",
    hint="The beginning or end of an id (ours or Stripe's), words of the account's name or a reason, an amount.",
)
PERIOD = Field(name="period", label="Period", hint="Such as 2026-11, 2026-Q4 or 2026.")


def _states(kind: type[StrEnum]) -> Field:
    options = (("", "Any"), *((one.value, one.value) for one in kind))
    return Field(name="status", label="State", kind="choice", options=options)


OF_ACCOUNT = Field(name="account", label="Account", hint="Its id or name.", is_required=True)

RECONCILIATIONS = Listing(
    operation="list_reconciliations",
    title="Reconciliations",
    explanation="Comparisons of the ledger with Stripe and with providers' invoices, the newest first.",
    caption="Comparisons",
    head=(
        Column("With"),
        Column("State"),
        Column("Ordered"),
        Column("Ended"),
        Column("Looked at", is_number=True),
        Column("Differ", is_number=True),
        Column("Why it failed"),
    ),
    cells=lambda row: (
        words(row["kind"]),
        state(row["state"]),
        instant(row["requested_at"]),
        instant(row["ended_at"]),
        number(row["examined"]),
        number(row["found"]),
        words(row["failure"]),
    ),
    ways=(
        Way("/finance/reconciliations/new", "Reconcile now"),
        Way("/finance/differences", "Differences"),
        Way("/finance/meter-mirrors", "Usage at Stripe's meters"),
    ),
    empty="Nothing was compared yet. Jobs make one comparison of each kind a day.",
    empty_way=Way("/finance/reconciliations/new", "Reconcile now"),
)
RECONCILE = Write(
    operation="run_reconciliation",
    verb="Reconcile with",
    noun="others",
    name="kind",
    explanation="Jobs begin within seconds. One that waits already is the same.",
    fields=(
        Field(
            name="kind",
            label="With whom",
            kind="choice",
            options=(
                ("stripe", "Stripe"),
                ("providers", "Providers: all invoices that are not settled"),
                ("meters", "Mirrored usage at Stripe's meters"),
            ),
        ),
    ),
    names={"kind": "With", "state": "State"},
    back="/finance/reconciliations",
    crumbs=(FINANCE, Crumb("Reconciliations", "/finance/reconciliations")),
)
REVIEWS = Listing(
    operation="list_reviews",
    title="Reviews",
    explanation="Payments that a person has to look at, the oldest first.",
    caption="The queue",
    head=(
        Column("Subject"),
        Column("Cause"),
        Column("What happened"),
        Column("Account"),
        Column("Since"),
        Column("Decision"),
    ),
    cells=lambda row: (
        words(row["subject"]),
        words(row["cause"].replace("_", " ")),
        words(row["message"]),
        account(row["account"]),
        instant(row["opened_at"]),
        words(row["resolution"])
        if row["resolution"]
        else link("Say what was decided", f"/finance/reviews/{row['id']}/resolve"),
    ),
    fields=(ACCOUNT, Field(name="all", label="Resolved ones, too", kind="check")),
    empty="No payment needs a person.",
    empty_way=Way("/finance/payments", "Look at the payments"),
)
RESOLVE_REVIEW = Write(
    operation="resolve_review",
    verb="Resolve",
    noun="{review}",
    name="subject",
    explanation="It is taken off the queue, with what was found and done.",
    values={"review_id": "review"},
    kinds={"review": ReviewId},
    fields=(Field(name="resolution", label="What was found and done", kind="area", is_required=True),),
    names={"subject": "Subject", "message": "What happened", "resolution": "Decision"},
    back="/finance/reviews",
    crumbs=(FINANCE, Crumb("Reviews", "/finance/reviews")),
)
DISPUTES = Listing(
    operation="list_disputes",
    title="Disputes",
    explanation="Payments that a card's owner disputes. They are answered in Stripe's dashboard; "
    "what Stripe decides is booked by itself.",
    caption="Disputes",
    head=(
        Column("Dispute"),
        Column("Account"),
        Column("Top-up"),
        Column("State"),
        Column("Amount", "USD", is_number=True),
        Column("Reason"),
        Column("Opened"),
    ),
    cells=lambda row: (
        words(row["id"]),
        account(row["account"]),
        words(row["topup"]),
        state(row["status"]),
        number(row["amount_usd"]),
        words(row["reason"].replace("_", " ")),
        instant(row["opened_at"]),
    ),
    fields=(SEARCH, ACCOUNT, _states(DisputeStatus), PERIOD),
    empty="Nobody disputes a payment.",
    empty_way=Way("/finance/payments", "Look at the payments"),
)
REFUNDS = Listing(
    operation="admin_list_refunds",
    title="Refunds",
    explanation="Credit that was paid for and is paid back, the newest first.",
    caption="Refunds, one for each top-up",
    head=(
        Column("Refund"),
        Column("Account"),
        Column("State"),
        Column("Wanted", "USD", is_number=True),
        Column("Credit", "USD", is_number=True),
        Column("Tax", "USD", is_number=True),
        Column("Reason"),
        Column("Ordered"),
    ),
    cells=lambda row: (
        words(row["id"]),
        account(row["account"]),
        state(row["status"]),
        number(row["wanted_usd"]),
        number(row["credit_usd"]),
        number(row["tax_usd"]),
        words(f"{row['reason']} {row['problem']}".strip()),
        instant(row["created_at"]),
    ),
    fields=(SEARCH, ACCOUNT, _states(RefundStatus), PERIOD),
    ways=(Way("/finance/refunds/new", "Refund unused credit"),),
    empty="Nothing was paid back yet.",
    empty_way=Way("/finance/refunds/new", "Refund unused credit"),
)


def _refunds(answer: Json) -> Json:
    rows = [f"{row['wanted_usd']} USD of {row['topup']}" for row in answer["data"]]
    return {"account": answer["data"][0]["account"], "refunds": rows}


REFUND = FinanceWrite(
    operation="admin_create_refund",
    verb="Refund unused credit",
    noun="",
    name="number",
    explanation="Credit that was paid for and not used is paid back, that of the newest top-up first.",
    view_after=_refunds,
    fields=(
        OF_ACCOUNT,
        Field(name="amount_usd", label="Credit, USD", hint="In whole cents; empty: all that can be."),
        Field(name="topup", label="Top-up", hint="Its id; empty: the newest first."),
        Field(name="reason", label="Reason", kind="area", is_required=True, hint="For whoever looks next."),
    ),
    names={"account": "Account", "refunds": "Refunds"},
    back="/finance/refunds",
    crumbs=(FINANCE, Crumb("Refunds", "/finance/refunds")),
    is_dangerous=True,
    notes=("Jobs take the credit, then have Stripe pay it back. What is spent meanwhile is not paid back.",),
)
PAYMENTS = Listing(
    operation="admin_list_topups",
    title="Payments",
    explanation="Top-ups that were ordered and what was paid of them, the newest first.",
    caption="Top-ups",
    head=(
        Column("Top-up"),
        Column("Account"),
        Column("State"),
        Column("Amount", "USD", is_number=True),
        Column("Paid", "USD", is_number=True),
        Column("Ordered"),
        Column("Problem"),
    ),
    cells=lambda row: (
        words(row["id"]),
        account(row["account"]),
        state(row["status"]),
        number(row["amount_usd"]),
        number(row["paid_usd"]),
        instant(row["created_at"]),
        words(row["problem"]),
    ),
    fields=(SEARCH, ACCOUNT, _states(TopupStatus), PERIOD),
    ways=(Way("/finance/reviews", "Reviews"), Way("/finance/disputes", "Disputes"), Way("/finance/refunds", "Refunds")),
    empty="No top-up was ordered yet. Credit that was paid for otherwise is given as a grant.",
    empty_way=Way("/ops/accounts", "Look at the accounts"),
)
