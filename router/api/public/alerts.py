"""``/v1/alerts``: the alerts that caps and budgets have raised.

What raises them is set elsewhere: a key's caps with the key, the account's by ``/v1/account/caps``, budgets by
``/v1/account/budgets``; where they are sent to, by ``/v1/account/webhooks`` and the billing profile.
"""

from typing import Annotated, ClassVar, Literal

from fastapi import Query
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.alerts.raised import RaisedAlert, list_raised
from billing.alerts.rules import Threshold
from router.api.fields import AlertIdText, BudgetIdText, Instant, KeyIdText, Usd
from router.api.forms import Answer, Page, PageQuery, answer_of
from router.api.operation import Operations, Who
from router.api.public.account_request import AccountRead
from router.identity.scopes import SPENDING
from store.ids import AlertId, wire

operations = Operations("alerts", "/v1/alerts", tag="Account", who=Who.MANAGER)


class AlertOut(Answer):
    """An alert that was raised, once per cap or budget, period, threshold and amount."""

    columns: ClassVar[tuple[str, ...]] = ("raised_at", "kind", "budget_name", "key", "threshold", "spent_usd", "period")

    id: AlertIdText
    raised_at: Instant
    kind: Literal["cap", "budget"] = Field(description="cap: calls are refused at its end; budget: none is.")
    budget: BudgetIdText | None
    budget_name: str | None = Field(description="Null for a cap, and where the budget is deleted.")
    key: KeyIdText | None = Field(description="The one key that it is about; null: all of the account's.")
    threshold: Threshold = Field(description="50, 80 or 100 percent; forecast: the pace leads beyond the amount.")
    period: str = Field(description="Whose spending it is: a month such as 2027-01, a day, or total.")
    amount_usd: Usd
    spent_usd: Usd = Field(description="What was spent when it was raised.")
    object: Literal["alert"] = "alert"


@operations.get("", verb="list", summary="List alerts", scope=SPENDING)
async def list_(request: AccountRead, query: Annotated[PageQuery, Query()]) -> Page[AlertOut]:
    """The alerts that were raised, the newest first; kept for 90 days, those of total caps and budgets for good."""
    before = query.after_id(AlertId)

    async def ask(connection: AsyncConnection) -> list[AlertOut]:
        found = await list_raised(connection, request.account_id, before=before, most=query.limit + 1)
        return [_out(alert) for alert in found]

    return request.page(query, await request.read(ask), lambda row: wire(AlertId, row.id))


def _out(alert: RaisedAlert) -> AlertOut:
    return answer_of(
        AlertOut,
        alert,
        budget=alert.budget_id,
        key=alert.key_id,
        period=alert.label,
        amount_usd=alert.amount,
        spent_usd=alert.spent,
    )
