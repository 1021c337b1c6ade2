"""Reads which payments, refunds or disputes are looked for, from the query of their lists."""

from enum import StrEnum

from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.stripe.search import Wanted
from router.api.admin.references import account_of
from router.api.document_answers import SearchText
from router.api.fields import AccountRef
from router.api.forms import PageQuery
from router.api.periods import PeriodText


class PaymentQuery(PageQuery):
    """Which of them are listed."""

    account: AccountRef | None = Field(None, description="Those of one account.")
    period: PeriodText | None = Field(None, description="Those of a month, quarter or year (UTC), such as 2026-11.")
    search: SearchText | None = Field(
        None,
        description="Beginnings of words of the account's name, a reason or a problem; the beginning or the end of an"
        " id (ours or Stripe's); or an amount.",
    )


async def wanted_of(connection: AsyncConnection, query: PaymentQuery, status: StrEnum | None) -> Wanted:
    """What the query asks for. Raises ``NotFound`` for an account that is none."""
    account = await account_of(connection, query.account) if query.account else None
    return Wanted(
        account_id=account.id if account else None,
        status=status,
        search=query.search,
        since=query.period.since if query.period else None,
        until=query.period.until if query.period else None,
    )
