"""``/admin/v1/finance/disputes``: payments that a card's owner disputes."""

from datetime import datetime
from typing import Annotated, ClassVar

from fastapi import Query
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.stripe.dispute_rows import list_disputes
from billing.stripe.dispute_rules import DisputeStatus
from router.api.admin.payment_search import PaymentQuery, wanted_of
from router.api.admin.request import Read
from router.api.fields import AccountIdText, Instant, TopupIdText, UsdCents
from router.api.forms import Answer, Page
from router.api.operation import ALL, V1, Operations
from router.errors import InvalidRequest

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


class DisputeQuery(PaymentQuery):
    """Which disputes are listed."""

    status: DisputeStatus | None = Field(None, description="Those in this state.")

    def before(self) -> tuple[datetime, str] | None:
        """The last dispute of the page before. Raises ``InvalidRequest``."""
        at, _, known = (self.after() or "").partition(" ")
        try:
            return (datetime.fromisoformat(at), known) if at else None
        except ValueError:
            raise InvalidRequest("'cursor' is the next_cursor of the page before.", param="cursor") from None


@operations.get("", verb="list", summary="List disputes", roles=ALL)
async def list_(admin: Read, query: Annotated[DisputeQuery, Query()]) -> Page[DisputeOut]:
    """Disputes, the newest first."""
    before = query.before()

    async def ask(connection: AsyncConnection) -> list[DisputeOut]:
        wanted = await wanted_of(connection, query, query.status)
        rows = await list_disputes(connection, wanted, before=before, most=query.limit + 1)
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

    return admin.page(query, await admin.read(ask), lambda row: f"{row.opened_at.isoformat()} {row.id}")
