"""Adds and deletes an account's budgets through the one write path."""

from billing.alerts import budgets
from billing.alerts.budgets import BUDGETS_MAX, Budget, BudgetSpec, count_budgets, find_budget, owns_key
from billing.money import MAX_AMOUNT, NanoUSD, to_usd
from router.admin.accounts import require_account
from router.admin.own_changes import require_few_changes
from router.changes.audit import Change
from router.changes.transaction import UnitOfWork
from router.errors import Conflict, InvalidRequest, NotFound
from router.tables import Json
from store.ids import AccountId, BudgetId, wire


async def add_budget(work: UnitOfWork, account_id: AccountId, spec: BudgetSpec) -> Budget:
    """Add a budget. Raises ``InvalidRequest``, ``NotFound`` for a key of another's, ``Conflict`` for too many."""
    _require_amount(spec.amount)
    await require_account(work, account_id, locked=True)
    if spec.key_id is not None and not await owns_key(work.connection, account_id, spec.key_id):
        raise NotFound("The account has no such key.", param="key")
    if await count_budgets(work.connection, account_id) >= BUDGETS_MAX:
        raise Conflict(f"The account has {BUDGETS_MAX} budgets. Delete one first.")
    await require_few_changes(work, account_id, "budget", "budgets")
    budget = await budgets.add_budget(work.connection, account_id, spec, work.actor)
    work.record_change(Change("budget.add", wire(BudgetId, budget.id), account_id, after=_facts(budget)))
    return budget


async def edit_budget(work: UnitOfWork, before: Budget, after: Budget) -> Budget:
    """Change a budget's name, period or amount. Raises ``InvalidRequest``, and ``Conflict`` for too many changes."""
    _require_amount(after.amount)
    if after != before:
        await require_few_changes(work, before.account_id, "budget", "budgets")
        await budgets.edit_budget(work.connection, after)
        subject = wire(BudgetId, before.id)
        work.record_change(Change("budget.edit", subject, before.account_id, _facts(before), _facts(after)))
    return after


async def delete_budget(work: UnitOfWork, account_id: AccountId, budget_id: BudgetId) -> Budget:
    """Delete a budget, which alerts no more. Raises ``NotFound``."""
    budget = await find_budget(work.connection, account_id, budget_id)
    if budget is None or not await budgets.delete_budget(work.connection, account_id, budget_id):
        raise NotFound("The account has no such budget.", param="budget_id")
    work.record_change(Change("budget.delete", wire(BudgetId, budget_id), account_id, before=_facts(budget)))
    return budget


def _require_amount(amount: NanoUSD) -> None:
    if not 1 <= amount <= MAX_AMOUNT:
        raise InvalidRequest(f"A budget is above 0.00 and at most {to_usd(MAX_AMOUNT)} USD.", param="amount_usd")


def _facts(budget: Budget) -> Json:
    return {"name": budget.name, "period": budget.period.value, "amount_usd": to_usd(budget.amount)}
