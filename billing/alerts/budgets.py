"""Keeps budgets: amounts that an account means to spend per period, with all of its keys or with one."""

from datetime import datetime
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.cap_rules import period_label
from billing.money import NanoUSD
from billing.values import CapPeriod
from store.ids import AccountId, BudgetId, KeyId, new_id

BUDGETS_MAX = 20
_COLUMNS = "id, account_id, key_id, name, period, amount_nano, created_at"
_INSERT = text(
    "INSERT INTO budgets (id, account_id, key_id, name, period, amount_nano, created_by)"
    " VALUES (:id, :account, :key, :name, :period, :amount, :by)"
)
_COUNT = text("SELECT count(*) FROM budgets WHERE account_id = :account")
_OWNS_KEY = text("SELECT EXISTS (SELECT FROM keys WHERE id = :key AND account_id = :account)")
_LIST = text(
    f"SELECT {_COLUMNS} FROM budgets WHERE account_id = :account AND id > :after ORDER BY id LIMIT :limit"  # noqa: S608
)
_FIND = text(f"SELECT {_COLUMNS} FROM budgets WHERE account_id = :account AND id = :id")  # noqa: S608 - constants
_EDIT = text(
    "UPDATE budgets SET name = :name, period = :period, amount_nano = :amount WHERE account_id = :account AND id = :id"
)
_LOCKED = text(f"SELECT {_COLUMNS} FROM budgets WHERE account_id = :account AND id = :id FOR UPDATE")  # noqa: S608
_DELETE = text("DELETE FROM budgets WHERE account_id = :account AND id = :id")
_SPENT = text("""
    SELECT w.id, coalesce((
        SELECT sum(s.spent_nano) FROM key_spend s WHERE s.account_id = :account AND s.period = w.label
            AND (w.key_id IS NULL OR s.key_id = w.key_id)
    ), 0)::bigint AS spent_nano
    FROM unnest(CAST(:ids AS uuid[]), CAST(:keys AS uuid[]), CAST(:labels AS text[])) AS w (id, key_id, label)
""")
_NIL = UUID(int=0)


class Budget(msgspec.Struct, frozen=True):
    """One budget; of all keys of its account, or of ``key_id`` alone."""

    id: BudgetId
    account_id: AccountId
    key_id: KeyId | None
    name: str
    period: CapPeriod
    amount: NanoUSD
    created_at: datetime


class BudgetSpec(msgspec.Struct, frozen=True):
    """What is said of a new budget."""

    name: str
    period: CapPeriod
    amount: NanoUSD
    key_id: KeyId | None = None


async def add_budget(tx: AsyncConnection, account_id: AccountId, spec: BudgetSpec, by: str) -> Budget:
    """Add a budget; the caller has checked it."""
    budget_id = BudgetId(new_id())
    row = {"id": budget_id, "account": account_id, "key": spec.key_id, "name": spec.name, "by": by}
    await tx.execute(_INSERT, {**row, "period": spec.period.value, "amount": spec.amount})
    budget = await find_budget(tx, account_id, budget_id)
    assert budget is not None, "it was written a moment ago; this is a bug"
    return budget


async def count_budgets(tx: AsyncConnection, account_id: AccountId) -> int:
    """How many budgets an account has."""
    return int((await tx.execute(_COUNT, {"account": account_id})).scalar_one())


async def owns_key(tx: AsyncConnection, account_id: AccountId, key_id: KeyId) -> bool:
    """Whether a key is the account's own."""
    return bool((await tx.execute(_OWNS_KEY, {"account": account_id, "key": key_id})).scalar_one())


async def list_budgets(tx: AsyncConnection, account_id: AccountId, *, after: UUID | None, limit: int) -> list[Budget]:
    """An account's budgets, the oldest first."""
    rows = await tx.execute(_LIST, {"account": account_id, "after": after or _NIL, "limit": limit})
    return [_budget(row) for row in rows]


async def find_budget(
    tx: AsyncConnection, account_id: AccountId, budget_id: BudgetId, *, locked: bool = False
) -> Budget | None:
    """An account's budget of that id."""
    row = (await tx.execute(_LOCKED if locked else _FIND, {"account": account_id, "id": budget_id})).one_or_none()
    return None if row is None else _budget(row)


async def edit_budget(tx: AsyncConnection, budget: Budget) -> None:
    """Write what a budget says now; what was spent counts as before, and another amount alerts anew."""
    row = {"account": budget.account_id, "id": budget.id, "name": budget.name, "amount": budget.amount}
    await tx.execute(_EDIT, {**row, "period": budget.period.value})


async def delete_budget(tx: AsyncConnection, account_id: AccountId, budget_id: BudgetId) -> bool:
    """Delete a budget; False where the account has none of that id."""
    return (await tx.execute(_DELETE, {"account": account_id, "id": budget_id})).rowcount > 0


async def read_spent(
    tx: AsyncConnection, account_id: AccountId, budgets: list[Budget], at: datetime
) -> dict[BudgetId, NanoUSD]:
    """What was spent of each of an account's budgets in the period of ``at`` (UTC), those of its calls before it."""
    labels = [period_label(budget.period, at) for budget in budgets]
    values = {"account": account_id, "ids": [budget.id for budget in budgets], "labels": labels}
    rows = await tx.execute(_SPENT, {**values, "keys": [budget.key_id for budget in budgets]})
    return {BudgetId(row.id): NanoUSD(row.spent_nano) for row in rows}


def _budget(row: object) -> Budget:
    columns = {name: getattr(row, name.replace("amount", "amount_nano")) for name in Budget.__struct_fields__}
    return Budget(**{**columns, "period": CapPeriod(columns["period"])})
