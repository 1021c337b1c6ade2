"""Shows contracts to operators and to their accounts: forms of the API, amounts in USD as text."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.contracts.impact import Impact
from billing.contracts.results import Result, read_results
from billing.contracts.rules import Contract, Unused, percent_text, read_percent
from billing.contracts.store import read_commitments
from billing.money import NanoUSD
from router.api.fields import AccountIdText, ContractIdText, Instant, TextValue, Usd
from router.api.forms import Answer, Resource, answer_of
from router.api.periods import MonthText
from store.ids import ContractId

Percent = Annotated[
    int,
    TextValue(
        read_percent,
        percent_text,
        'a percentage as text, 0.01 to 100 with at most two decimals, such as "12.5"',
        pattern=r"^\d{1,3}(\.\d{1,2})?$",
        examples=["12.5"],
    ),
]
State = Literal["to_come", "in_force", "ended"]


class TermOut(Answer):
    """What is agreed about a model's price, or about the prices of all models that are not named."""

    model: str | None = Field(description="null: every model that is not named.")
    usd_per_mtok: Usd | None = Field(description="The price, in USD per million tokens; null: a percentage off.")
    batch_usd_per_mtok: Usd | None = Field(description="The batch lane's; null: no other price there.")
    percent_off: Percent | None = Field(
        description="Taken off the list price per million tokens of each lane, once, half-even to 0.000000001 USD."
    )


class ResultOut(Answer):
    """What the account pays for a model by the contract, in USD per million tokens, beside the list price."""

    model: str
    list_usd_per_mtok: Usd | None = Field(description="null: the model has no list price.")
    usd_per_mtok: Usd
    list_batch_usd_per_mtok: Usd | None = Field(description="The batch lane's; null: no other price there.")
    batch_usd_per_mtok: Usd | None


class ContractFacts(Resource):
    """What both sides of a contract see of it."""

    volatile: ClassVar[frozenset[str]] = frozenset({"state", "commitment_left_usd"})

    id: ContractIdText
    state: State
    effective_at: Instant
    until: Instant | None = Field(description="null: no end was agreed.")
    prices: list[TermOut]
    minimum_usd: Usd | None = Field(description="What each whole UTC month costs at least.")
    commitment_usd: Usd | None = Field(description="What is paid in advance.")
    commitment_left_usd: Usd | None = Field(
        description="What is left of it; null: it is not paid yet, or there is none."
    )
    unused: Unused = Field(description="What becomes of the commitment's rest at the end.")
    note: str
    currency: Literal["USD"] = "USD"
    object: Literal["contract"] = "contract"


class ImpactOut(Answer):
    """What last month's usage would have cost at the prices of then, and what a minimum would have added."""

    month: MonthText
    calls: int
    cost_usd: Usd = Field(description="What the month's calls cost.")
    would_cost_usd: Usd = Field(description="The same calls at the prices that hold after the change.")
    difference_usd: Usd = Field(description="The second less the first: negative is less revenue.")
    minimum_shortfall_usd: Usd = Field(description="What the minimum would have added to that.")


class ContractOut(ContractFacts):
    """A contract as operators see it."""

    volatile: ClassVar[frozenset[str]] = ContractFacts.volatile | {"last_month", "results"}
    columns: ClassVar[tuple[str, ...]] = (
        *("id", "account", "state", "effective_at", "until", "minimum_usd", "commitment_usd", "note"),
    )

    account: AccountIdText
    reason: str
    end_reason: str = Field(description="Why it was ended before its time; empty: it was not.")
    created_at: Instant
    last_month: ImpactOut | None = Field(description="What the change means; null where nothing is changed.")
    results: list[ResultOut] | None = Field(
        description="The prices that result, by model, at the list prices of now; null in a list."
    )


async def ops_contract(
    tx: AsyncConnection, contract: Contract, now: datetime, impact: Impact | None = None
) -> ContractOut:
    """A contract for operators, with the prices that result, and what a change of it means."""
    left, results = await read_commitments(tx, [contract]), await read_results(tx, contract, now)
    return _for_operators(contract, left, now, impact, results)


async def ops_contracts(tx: AsyncConnection, contracts: Sequence[Contract], now: datetime) -> list[ContractOut]:
    """Several contracts for operators, by one statement."""
    left = await read_commitments(tx, contracts)
    return [_for_operators(contract, left, now) for contract in contracts]


async def own_contracts(tx: AsyncConnection, contracts: Sequence[Contract], now: datetime) -> list[ContractFacts]:
    """Contracts for their account."""
    left = await read_commitments(tx, contracts)
    return [answer_of(ContractFacts, contract, **_shown(contract, left, now)) for contract in contracts]


def _for_operators(
    contract: Contract,
    left: Mapping[ContractId, NanoUSD],
    now: datetime,
    impact: Impact | None = None,
    results: Sequence[Result] | None = None,
) -> ContractOut:
    return answer_of(
        ContractOut,
        contract,
        account=contract.account_id,
        last_month=None if impact is None else impact_out(impact),
        results=None if results is None else [_result_out(result) for result in results],
        **_shown(contract, left, now),
    )


def _result_out(result: Result) -> ResultOut:
    return ResultOut(
        model=result.model,
        list_usd_per_mtok=result.listed,
        usd_per_mtok=result.price,
        list_batch_usd_per_mtok=result.listed_batch,
        batch_usd_per_mtok=result.batch_price,
    )


def impact_out(impact: Impact) -> ImpactOut:
    """Convert an impact to its form in the API."""
    return ImpactOut(
        month=impact.period,
        calls=impact.calls,
        cost_usd=impact.cost,
        would_cost_usd=impact.would_cost,
        difference_usd=NanoUSD(impact.would_cost - impact.cost),
        minimum_shortfall_usd=impact.would_lack,
    )


def _shown(contract: Contract, left: Mapping[ContractId, NanoUSD], now: datetime) -> dict[str, object]:
    """What is not a field of the contract by its name."""
    ended = contract.until is not None and contract.until <= now
    state: State = "ended" if ended else "to_come" if now < contract.effective_at else "in_force"
    return {
        "state": state,
        "prices": [answer_of(TermOut, term, model=term.model_id) for term in contract.terms],
        "minimum_usd": contract.minimum,
        "commitment_usd": contract.commitment,
        "commitment_left_usd": left.get(contract.id),
    }
