"""Shows contracts with the prices that result, and makes, ends and funds them."""

from datetime import datetime
from typing import Any

import msgspec
from typing_extensions import override

from web.answers import Crumb
from web.finance.facts import DoneQuery, Fact, read_one
from web.finance.listing import FINANCE, Cell, Listing, Way, account, instant, link, number, state, words
from web.finance.thing import Section, ThingPage
from web.finance.write import FinanceWrite
from web.forms import Change
from web.ops.write import Field, Json
from web.parts.tables import Column
from web.request import PageRequest

CONTRACTS = Crumb("Contracts", "/finance/contracts")
CRUMBS = (FINANCE, CONTRACTS)
ONE = "/finance/contracts/{contract}"
# So many prices stand on a confirmation; the contract's page has all of them.
RESULTS_SHOWN = 60
LIST = Listing(
    operation="admin_list_contracts",
    title="Contracts",
    explanation="Prices, minimums and commitments that were agreed with one account, also those that ended.",
    caption="Contracts",
    head=(
        Column("Contract"),
        Column("Account"),
        Column("State"),
        Column("From"),
        Column("Until"),
        Column("Minimum a month", "USD", is_number=True),
        Column("Commitment", "USD", is_number=True),
        Column("Left of it", "USD", is_number=True),
    ),
    cells=lambda row: (
        link(row["note"] or row["id"], f"/finance/contracts/{row['id']}"),
        account(row["account"]),
        state(row["state"]),
        instant(row["effective_at"]),
        instant(row["until"]) if row["until"] else words("no end"),
        number(row["minimum_usd"]),
        number(row["commitment_usd"]),
        number(row["commitment_left_usd"]),
    ),
    fields=(Field(name="account", label="Account", hint="Its id or name."),),
    ways=(Way("/finance/contracts/new", "Make a contract"),),
    empty="No contract was made yet: all accounts pay list prices.",
    empty_way=Way("/finance/contracts/new", "Make a contract"),
)
RESULTS_HEAD = (
    Column("Model"),
    Column("List price", "USD per 1M tokens", is_number=True),
    Column("The account pays", "USD per 1M tokens", is_number=True),
    Column("List price, batch", "USD per 1M tokens", is_number=True),
    Column("The account pays, batch", "USD per 1M tokens", is_number=True),
)
TERMS_HEAD = (
    Column("Model"),
    Column("Price", "USD per 1M tokens", is_number=True),
    Column("Price, batch", "USD per 1M tokens", is_number=True),
    Column("Off the list price", "%", is_number=True),
)


class _Term(msgspec.Struct, frozen=True):
    model: str | None
    usd_per_mtok: str | None
    batch_usd_per_mtok: str | None
    percent_off: str | None


class _Result(msgspec.Struct, frozen=True):
    model: str
    list_usd_per_mtok: str | None
    usd_per_mtok: str
    list_batch_usd_per_mtok: str | None
    batch_usd_per_mtok: str | None


class Contract(msgspec.Struct, frozen=True):
    """A contract, as its operation answers it."""

    id: str
    account: str
    state: str
    effective_at: datetime
    until: datetime | None
    prices: list[_Term]
    minimum_usd: str | None
    commitment_usd: str | None
    commitment_left_usd: str | None
    unused: str
    note: str
    reason: str
    end_reason: str
    created_at: datetime
    results: list[_Result]


async def show(request: PageRequest) -> ThingPage:
    """One contract: what was agreed, and what the account pays for each model by it."""
    is_done = request.query_as(DoneQuery).done
    one = await read_one(request, "retrieve_contract", Contract, contract_id=request.values["contract"])
    title = f"Contract {one.note or one.id}"
    return ThingPage(
        title=title,
        crumbs=(*CRUMBS, Crumb(one.note or one.id)),
        facts=_facts(one),
        ways=_ways(one),
        sections=(_terms(one), _results(one)),
        is_done=is_done,
    )


def _facts(one: Contract) -> tuple[Fact, ...]:
    facts = [
        Fact("Account", account(one.account)),
        Fact("State", state(one.state)),
        Fact("From", Cell("", kind="time", at=one.effective_at)),
        Fact("Until", Cell("", kind="time", at=one.until) if one.until else words("no end was agreed")),
        Fact("Minimum a month, USD", number(one.minimum_usd) if one.minimum_usd else words("none")),
        Fact("Reason", words(one.reason)),
        Fact("Made", Cell("", kind="time", at=one.created_at)),
    ]
    if one.commitment_usd is not None:
        left = number(one.commitment_left_usd) if one.commitment_left_usd else words("not paid yet")
        facts += [
            Fact("Commitment, USD", number(one.commitment_usd)),
            Fact("Left of it, USD", left),
            Fact("What is left at the end", words(one.unused)),
        ]
    return (*facts, Fact("Ended because", words(one.end_reason))) if one.end_reason else tuple(facts)


def _ways(one: Contract) -> tuple[Way, ...]:
    base = f"/finance/contracts/{one.id}"
    ways = []
    if one.commitment_usd is not None and one.commitment_left_usd is None:
        ways.append(Way(f"{base}/fund", "Record its commitment's payment"))
    if one.state != "ended":
        ways.append(Way(f"{base}/end", "End it"))
    return tuple(ways)


def _terms(one: Contract) -> Section:
    return Section(
        title="What was agreed",
        caption="Terms",
        head=TERMS_HEAD,
        rows=tuple(
            (
                words(term.model, "all others"),
                number(term.usd_per_mtok),
                number(term.batch_usd_per_mtok),
                number(term.percent_off),
            )
            for term in one.prices
        ),
        empty="No price was agreed: the account pays list prices.",
    )


def _results(one: Contract) -> Section:
    return Section(
        title="Prices that result",
        caption="What the account pays by it, at the list prices of now",
        head=RESULTS_HEAD,
        rows=tuple(
            (
                link(row.model, f"/models/{row.model}"),
                number(row.list_usd_per_mtok),
                number(row.usd_per_mtok),
                number(row.list_batch_usd_per_mtok),
                number(row.batch_usd_per_mtok),
            )
            for row in one.results
        ),
        empty="It changes no model's price.",
    )


def _meaning(contract: Json) -> tuple[Change, ...]:
    """What a contract means, as lines of a confirmation: each price that results, and last month's calls by them."""
    rows = [
        Change(
            f"{row['model']}, USD per 1M tokens",
            f"list price {row['list_usd_per_mtok'] or 'none'}",
            row["usd_per_mtok"]
            + (f", batch {row['batch_usd_per_mtok']}" if row["batch_usd_per_mtok"] is not None else ""),
        )
        for row in contract["results"][:RESULTS_SHOWN]
    ]
    if len(contract["results"]) > RESULTS_SHOWN:
        rows.append(Change("Further models", "", str(len(contract["results"]) - RESULTS_SHOWN)))
    impact = contract["last_month"]
    if impact is not None:
        what = f"The {impact['calls']} calls of {impact['month']}, USD"
        rows.append(Change(what, impact["cost_usd"], f"{impact['would_cost_usd']} ({impact['difference_usd']})"))
        rows.append(Change("What the minimum adds to them, USD", "", impact["minimum_shortfall_usd"]))
    return tuple(rows)


class ContractWrite(FinanceWrite, frozen=True, kw_only=True):
    """Makes a contract. Its prices are typed a line each: a model, and a price, two prices or a percentage."""

    @override
    def _body(self, request: PageRequest, form: tuple[tuple[str, str], ...]) -> Json | None:
        body = FinanceWrite._body(self, request, form) or {}
        if "prices" in body:
            body["prices"] = [_term(line) for line in str(body["prices"]).splitlines() if line.strip()]
        return body


def _term(line: str) -> dict[str, Any]:
    """A line as a term; what cannot be one, the operation refuses."""
    model, *prices = line.split(maxsplit=2)
    if len(prices) == 1 and prices[0].endswith("%"):
        return {"model": model, "percent_off": prices[0].removesuffix("%")}
    return {"model": model, **dict(zip(("usd_per_mtok", "batch_usd_per_mtok"), prices, strict=False))}


def _ending(contract: Json) -> Json:
    """A contract, of which the end and the reason that were agreed are no answer to what the form wants to know."""
    others = {name: value for name, value in contract.items() if name not in ("until", "reason")}
    return {**others, "ends": contract["until"], "why": contract["end_reason"] or None}


_NAMES = {
    "state": "State",
    "effective_at": "From",
    "until": "Until",
    "minimum_usd": "Minimum a month, USD",
    "commitment_usd": "Commitment, USD",
    "commitment_left_usd": "Left of it, USD",
}
NEW = ContractWrite(
    operation="create_contract",
    verb="Make",
    noun="a contract",
    name="number",
    explanation="A contract is never edited: it is ended, and another begins. What was charged stays as it was.",
    fields=(
        Field(name="account", label="Account", is_required=True, hint="Its id or name."),
        Field(name="effective_at", label="From", hint="Such as 2026-12-01T00:00:00Z; empty: from now."),
        Field(name="until", label="Until", hint="Empty: until it is ended."),
        Field(name="percent_off", label="Off all list prices, %", hint="Such as 12.5, for models that have no line."),
        Field(
            name="prices",
            label="Prices of single models",
            kind="area",
            hint="A line each: model 0.008 (USD per 1M tokens), model 0.008 0.004 (batch, too), or model 12.5%.",
        ),
        Field(name="minimum_usd", label="Minimum a month, USD", hint="What each whole month costs at least."),
        Field(name="commitment_usd", label="Commitment, USD", hint="What is paid in advance."),
        Field(
            name="unused",
            label="What is left of the commitment at the end",
            kind="choice",
            options=(("expires", "expires"), ("stays", "stays as credit")),
        ),
        Field(name="note", label="Note", hint="The account sees it; such as the contract's number."),
        Field(name="reason", label="Reason", kind="area", is_required=True, hint="Such as who agreed on it."),
    ),
    names={"account": "Account", "note": "Note", **_NAMES},
    rows=_meaning,
    back="/finance/contracts",
    done="/finance/contracts/{id}",
    crumbs=CRUMBS,
)
END = FinanceWrite(
    operation="end_contract",
    verb="End contract",
    name="note",
    noun="{contract}",
    explanation="A month that it does not hold to its end has no minimum. A commitment that was paid stays until the "
    "end that was agreed.",
    values={"contract_id": "contract"},
    reads="retrieve_contract",
    view=_ending,
    view_after=_ending,
    fields=(
        Field(name="until", label="Until", hint="Such as 2026-12-31T00:00:00Z; empty: until now."),
        Field(name="reason", label="Reason", kind="area", is_required=True, hint="For whoever reads the audit."),
    ),
    names={"state": "State", "ends": "Until", "why": "Ended because"},
    rows=_meaning,
    back=ONE,
    crumbs=CRUMBS,
    is_dangerous=True,
)
FUND = FinanceWrite(
    operation="fund_contract",
    verb="Record the payment of",
    name="note",
    noun="{contract}",
    explanation="The account gets the commitment as credit that was paid for, once its payment is at the bank.",
    values={"contract_id": "contract"},
    reads="retrieve_contract",
    fields=(
        Field(name="reference", label="Reference", is_required=True, hint="The bank's."),
        Field(name="seller", label="Seller", hint="Whose tax invoice it gets; empty: none is made."),
        Field(name="tax_usd", label="Tax, USD", hint="That was paid with it; empty: none."),
    ),
    names=_NAMES,
    back=ONE,
    crumbs=CRUMBS,
)
