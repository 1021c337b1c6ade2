"""``/v1/account/grants``: what is left of an account's credit, in the order in which calls spend it."""

from typing import Annotated, Literal

from fastapi import Query
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.credits import Grant, GrantKind, list_grants
from router.api.fields import GrantIdText, Instant, Usd
from router.api.forms import Answer, Page, PageQuery
from router.api.operation import Operations, Who
from router.api.public.postgres import ask_postgres
from router.api.public.request import Private
from router.identity.scopes import Scope

operations = Operations("grants", "/v1/account/grants", tag="Account", who=Who.KEY)

# As the charge does it in Postgres: by kind, of one kind what expires first, then what was given first.
SPENT = (GrantKind.PROMOTIONAL, GrantKind.GOODWILL, GrantKind.PURCHASED, GrantKind.LINE)
_NEVER = "9999"


class GrantLeft(Answer):
    """An amount of credit of which something is left."""

    id: GrantIdText
    kind: GrantKind = Field(description="promotional, goodwill, purchased, or line: credit that is lent.")
    amount_usd: Usd
    remaining_usd: Usd
    source: str = Field(description="What it was given for.")
    granted_at: Instant
    expires_at: Instant | None = Field(description="When what is left of it is taken; null: never.")
    currency: Literal["USD"] = "USD"
    object: Literal["grant"] = "grant"


@operations.get(
    "",
    verb="list",
    scope=Scope.BILLING_READ,
    name="list_account_grants",
    summary="List credit in the order of spending",
)
async def list_(request: Private, query: Annotated[PageQuery, Query()]) -> Page[GrantLeft]:
    """What is left of the account's credit: what is spent first stands first."""

    async def ask(tx: AsyncConnection) -> list[Grant]:
        left = [grant for grant in await list_grants(tx, request.account_id) if grant.remaining > 0]
        return query.cut(left, order_of)

    found = {grant.id: grant for grant in await ask_postgres(request.context, ask)}
    rows = [_out(grant) for grant in found.values()]
    return request.paging.page(query, rows, lambda row: order_of(found[row.id]))


def order_of(grant: Grant) -> str:
    """The place of a grant in the order of spending, as text that sorts."""
    expires = grant.expires_at.isoformat() if grant.expires_at else _NEVER
    return f"{SPENT.index(grant.kind)}|{expires}|{grant.granted_at.isoformat()}|{grant.id.hex}"


def _out(grant: Grant) -> GrantLeft:
    return GrantLeft(
        id=grant.id,
        kind=grant.kind,
        amount_usd=grant.amount,
        remaining_usd=grant.remaining,
        source=grant.source_ref,
        granted_at=grant.granted_at,
        expires_at=grant.expires_at,
    )
