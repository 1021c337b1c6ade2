"""``/admin/v1/finance/disputes``: payments that a card's owner disputes."""

from typing import Annotated, ClassVar

from fastapi import Query
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.stripe.dispute_rows import list_disputes
from billing.stripe.dispute_rules import DisputeStatus
from router.api.admin.request import Read
from router.api.fields import AccountIdText, Instant, TopupIdText, UsdCents
from router.api.forms import Answer, Page, PageQuery
from router.api.operation import ALL, V1, Operations

operations = Operations("disputes", f"{V1}/finance/disputes", tag="Finance")


class DisputeOut(Answer):
    """A dispute; it is answered in Stripe's dashboard."""

    columns: ClassVar[tuple[str, ...]] = ("id", "account", "topup", "status", "amount_usd", "reason", "opened_at")

    id: str = Field(description="Stripe's id.")
    account: AccountIdText
    topup: TopupIdText
    status: DisputeStatus = Field(
        description="inquiry: no money has moved. open, lost: the credit is taken, what was spent of it is debt. won: "
        "all of it is given back."
    )
    amount_usd: UsdCents
    reason: str
    opened_at: Instant


@operations.get("", verb="list", summary="List disputes", roles=ALL)
async def list_(admin: Read, query: Annotated[PageQuery, Query()]) -> Page[DisputeOut]:
    """All disputes, in the order of Stripe's ids."""

    async def ask(connection: AsyncConnection) -> list[DisputeOut]:
        rows = await list_disputes(connection, after=query.after(), most=query.limit + 1)
        return [
            DisputeOut(
                id=row.id,
                account=row.account_id,
                topup=row.topup_id,
                status=row.status,
                amount_usd=row.amount_cents,
                reason=row.reason,
                opened_at=row.opened_at,
            )
            for row in rows
        ]

    return admin.page(query, await admin.read(ask), lambda row: row.id)
