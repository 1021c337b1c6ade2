"""``/admin/v1/ledger``: whether the books balance, and whether anything was changed that was sealed."""

from typing import Annotated, ClassVar, Literal

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.chart import CODES, AccountClass, LedgerKind
from billing.ledger import drifted_credits, trial_balance, unbalanced_entries
from billing.money import NanoUSD
from billing.seal import verify
from router.api.admin.books import HeadOut, head_of
from router.api.admin.request import Read
from router.api.fields import AccountIdText, Usd
from router.api.forms import Answer
from router.api.operation import ALL, V1, Operations

operations = Operations("ledger", f"{V1}/ledger")


class BalanceRow(Answer):
    """The sum of one kind of ledger account: positive is a credit, negative a debit."""

    columns: ClassVar[tuple[str, ...]] = ("code", "ledger_account", "balance_usd", "postings")

    ledger_account: str
    code: str = Field(description="Its code in exports, where no mapping gives it another.")
    account_class: AccountClass
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
                BalanceRow(
                    ledger_account=line.kind,
                    code=CODES[LedgerKind(line.kind)].code,
                    account_class=CODES[LedgerKind(line.kind)].account_class,
                    balance_usd=line.amount,
                    postings=line.postings,
                )
                for line in lines
            ],
            total_usd=NanoUSD(total),
            postings=sum(line.postings for line in lines),
            unbalanced_entries=unbalanced,
            drifted_credits=tuple(drifted),
            balanced=not (total or unbalanced or drifted),
        )

    return await admin.read(ask)


class VerifyQuery(BaseModel):
    """Which batches to verify."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    first: int = Field(1, ge=1, description="The first batch; what is before it is taken as right.")
    last: int | None = Field(None, ge=1, description="The last batch; null: the newest.")


class VerifyOut(Answer):
    """What a walk along the chain of sealed batches found."""

    columns: ClassVar[tuple[str, ...]] = ("ok", "batches", "entries", "wrong_batch", "message")

    ok: bool
    batches: int = Field(description="How many batches are right, up to the first wrong one.")
    entries: int
    postings: int
    wrong_batch: int | None = Field(description="The number of the first wrong batch.")
    message: str = Field(description="What is wrong with it.")
    head: HeadOut | None = Field(description="The last batch that is right.")
    object: Literal["verification"] = "verification"


@operations.get(
    ":verify", verb="verify", name="verify_ledger", summary="Was anything changed that was sealed?", roles=ALL
)
async def verify_chain(admin: Read, query: Annotated[VerifyQuery, Query()]) -> VerifyOut:
    """Computes the digests of sealed batches again, from their entries and postings; names the first wrong one."""

    async def ask(connection: AsyncConnection) -> VerifyOut:
        found = await verify(connection, first=query.first, last=query.last)
        return VerifyOut(
            ok=found.wrong_batch is None,
            batches=found.batches,
            entries=found.entries,
            postings=found.postings,
            wrong_batch=found.wrong_batch,
            message=found.message,
            head=head_of(found.head),
        )

    return await admin.read(ask)
