"""Reads the alerts that were raised for an account, with the cap or budget that each is about."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.alerts.rules import Threshold
from billing.money import NanoUSD
from store.ids import AccountId, AlertId, BudgetId, KeyId

_LIST = text("""
    SELECT a.*, b.name, b.key_id AS budget_key
    FROM spend_alerts a
        LEFT JOIN budgets b ON b.id = CASE WHEN a.subject LIKE 'budget:%' THEN CAST(substr(a.subject, 8) AS uuid) END
    WHERE a.account_id = :account AND (CAST(:before AS uuid) IS NULL OR a.id < :before)
    ORDER BY a.id DESC LIMIT :most
""")


class RaisedAlert(msgspec.Struct, frozen=True):
    """An alert. ``key_id``: the one key that it is about; None: all of the account's. ``label``: the period's.

    ``budget_name`` is None for a cap, and for a budget that is deleted.
    """

    id: AlertId
    kind: Literal["cap", "budget"]
    raised_at: datetime
    threshold: Threshold
    amount: NanoUSD
    spent: NanoUSD
    label: str
    key_id: KeyId | None
    budget_id: BudgetId | None
    budget_name: str | None


async def list_raised(
    connection: AsyncConnection, account_id: AccountId, *, before: UUID | None, most: int
) -> list[RaisedAlert]:
    """List an account's alerts, the newest first; those of periods long over are deleted."""
    rows = await connection.execute(_LIST, {"account": account_id, "before": before, "most": most})
    return [_alert(row, account_id) for row in rows]


def _alert(row: Row[Any], account_id: AccountId) -> RaisedAlert:
    kind, subject, *_ = row.subject.split(":")
    subject_id = UUID(hex=subject)
    is_budget = kind == "budget"
    key_id = row.budget_key if is_budget else None if subject_id == account_id else subject_id
    return RaisedAlert(
        id=AlertId(row.id),
        kind="budget" if is_budget else "cap",
        raised_at=row.raised_at,
        threshold=Threshold(row.threshold),
        amount=NanoUSD(row.amount_nano),
        spent=NanoUSD(row.spent_nano),
        label=row.label,
        key_id=None if key_id is None else KeyId(key_id),
        budget_id=BudgetId(subject_id) if is_budget else None,
        budget_name=row.name,
    )
