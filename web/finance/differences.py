"""Shows finance the queue of differences between the ledger and others' statements, and has them explained."""

from datetime import datetime

import msgspec

from web.answers import Crumb
from web.finance.facts import DoneQuery, Fact, read_one
from web.finance.listing import FINANCE, Cell, Listing, Way, instant, link, number, state, words
from web.finance.thing import ThingPage
from web.ops.write import Field, Write
from web.parts.tables import Column
from web.request import PageRequest

DIFFERENCES = Crumb("Differences", "/finance/differences")
LIST = Listing(
    operation="list_differences",
    title="Differences",
    explanation="Where the ledger and what Stripe or a provider says are not one, the oldest first. The amount is what "
    "the ledger lacks.",
    caption="The queue",
    head=(
        Column("What differs"),
        Column("Kind"),
        Column("Amount", "USD", is_number=True),
        Column("Found"),
        Column("Why"),
        Column("Owner"),
        Column("State"),
    ),
    cells=lambda row: (
        link(row["object"], f"/finance/differences/{row['id']}"),
        words(row["kind"].replace("_", " ")),
        number(row["amount_usd"]),
        instant(row["found_at"]),
        words(row["message"]),
        words(row["owner"] or "nobody"),
        state(row["state"]),
    ),
    fields=(
        Field(name="scope", label="Comparison", hint="stripe, meters, or invoice: and its id."),
        Field(name="owner", label="Owner"),
        Field(name="all", label="Resolved and gone ones, too", kind="check"),
    ),
    ways=(
        Way("/finance/reconciliations", "Reconciliations"),
        Way("/finance/meter-mirrors", "Usage at Stripe's meters"),
    ),
    empty="Nothing differs. Jobs compare with Stripe and with providers' invoices once a day.",
    empty_way=Way("/finance/reconciliations/new", "Reconcile now"),
)


class Difference(msgspec.Struct, frozen=True):
    """One difference, as its operation answers it."""

    id: str
    scope: str
    kind: str
    object: str
    amount_usd: str
    message: str
    state: str
    age_days: int
    found_at: datetime
    seen_at: datetime
    gone_at: datetime | None
    owner: str
    note: str
    resolved_at: datetime | None
    resolved_by: str | None
    reason: str
    entry: str | None


async def show(request: PageRequest) -> ThingPage:
    """What differs, since when, and who looks after it."""
    is_done = request.query_as(DoneQuery).done
    one = await read_one(request, "retrieve_difference", Difference, difference_id=request.values["difference"])
    base = f"/finance/differences/{one.id}"
    ways = [Way(f"{base}/edit", "Give it an owner or a note")]
    if one.state == "open":
        ways.insert(0, Way(f"{base}/resolve", "Resolve it"))
    return ThingPage(
        title=f"Difference of {one.amount_usd} USD",
        crumbs=(FINANCE, DIFFERENCES, Crumb(one.object)),
        facts=_facts(one),
        ways=tuple(ways),
        is_done=is_done,
    )


def _facts(one: Difference) -> tuple[Fact, ...]:
    facts = [
        Fact("What differs", words(one.object)),
        Fact("Kind", words(one.kind.replace("_", " "))),
        Fact("Comparison", words(one.scope)),
        Fact("The ledger lacks, USD", number(one.amount_usd)),
        Fact("Why", words(one.message)),
        Fact("State", state(one.state)),
        Fact("Found", Cell("", kind="time", at=one.found_at)),
        Fact("Seen the last time", Cell("", kind="time", at=one.seen_at)),
        Fact("Days", number(one.age_days)),
        Fact("Owner", words(one.owner or "nobody")),
        Fact("What is known", words(one.note or "nothing yet")),
    ]
    if one.resolved_at is not None:
        facts += [
            Fact("Resolved", Cell("", kind="time", at=one.resolved_at)),
            Fact("Resolved by", words(one.resolved_by)),
            Fact("Reason", words(one.reason or "none")),
            Fact("Entry", words(one.entry, "none")),
        ]
    return tuple(facts)


def _write(operation: str, verb: str, explanation: str, fields: tuple[Field, ...], names: dict[str, str]) -> Write:
    return Write(
        operation=operation,
        verb=verb,
        name="object",
        explanation=explanation,
        values={"difference_id": "difference"},
        reads="retrieve_difference",
        fields=fields,
        names={"amount_usd": "The ledger lacks, USD", **names},
        back="/finance/differences/{difference}",
        crumbs=(FINANCE, DIFFERENCES),
    )


EDIT = _write(
    "edit_difference",
    "Look after",
    "Say who looks after it, and what is known so far.",
    (
        Field(name="owner", label="Owner", hint="Who looks after it."),
        Field(name="note", label="Note", kind="area", hint="What is known so far."),
    ),
    {"owner": "Owner", "note": "Note"},
)
RESOLVE = _write(
    "resolve_difference",
    "Resolve",
    "The entry that books it, the reason that explains it, or both. With another amount it is open again.",
    (
        Field(name="entry", label="Entry", hint="The id of the entry that books it, such as entry_0192."),
        Field(
            name="reason",
            label="Reason and evidence",
            kind="area",
            hint="Why it is right as it is, and where that is written, such as the address of a letter.",
        ),
    ),
    {"state": "State", "entry": "Entry", "reason": "Reason and evidence"},
)
