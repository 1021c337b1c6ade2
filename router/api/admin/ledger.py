"""``/admin/v1/ledger``: whether the books balance."""

from typing import ClassVar, Literal

from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.ledger import drifted_credits, trial_balance, unbalanced_entries
from billing.money import NanoUSD
from router.api.admin.request import Read
from router.api.fields import AccountIdText, Usd
from router.api.forms import Answer
from router.api.operation import ALL, V1, Operations

operations = Operations("ledger", f"{V1}/ledger")


class BalanceRow(Answer):
    """The sum of one kind of ledger account: positive is a credit, negative a debit."""

    columns: ClassVar[tuple[str, ...]] = ("ledger_account", "balance_usd", "postings")

    ledger_account: str
    balance_usd: Usd
    postings: int


class TrialBalanceOut(Answer):
    """All of the ledger, and what is wrong with it, which is nothing where ``balanced`` is true."""

    columns: ClassVar[tuple[str, ...]] = ("total_usd", "postings", "unbalanced_entries", "drifted_credits", "balanced")

    data: list[BalanceRow]
    total_usd: Usd = Field(description="The sum of all rows, which is zero.")
    postings: int
    unbalanced_entries: int = Field(description="Entries whose postings do not sum to zero.")
    drifted_credits: tuple[AccountIdText, ...] = Field(
        description="Accounts whose running credit differs from its postings or grants."
    )
    balanced: bool
    currency: Literal["USD"] = "USD"
    object: Literal["trial_balance"] = "trial_balance"


@operations.get(
    ":trial-balance", verb="trial-balance", name="trial_balance", summary="Is the ledger in balance?", roles=ALL
)
async def show(admin: Read) -> TrialBalanceOut:
    """Sums by kind of ledger account, which add up to zero; and every running credit against its postings."""

    async def ask(connection: AsyncConnection) -> TrialBalanceOut:
        lines = await trial_balance(connection)
        unbalanced, drifted = await unbalanced_entries(connection), await drifted_credits(connection)
        total = sum(line.amount for line in lines)
        return TrialBalanceOut(
            data=[
                BalanceRow(ledger_account=line.kind, balance_usd=line.amount, postings=line.postings) for line in lines
            ],
            total_usd=NanoUSD(total),
            postings=sum(line.postings for line in lines),
            unbalanced_entries=unbalanced,
            drifted_credits=tuple(drifted),
            balanced=not (total or unbalanced or drifted),
        )

    return await admin.read(ask)
