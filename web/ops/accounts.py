"""Lists accounts with their balances for operators: the oldest first, by cursor; one is found by id or name."""

from datetime import datetime
from typing import ClassVar

import msgspec

from router.api.in_process import OperationRefused
from web.answers import Answer, Crumb, Page, Redirect
from web.ops.lists import Listed, cursor_of, next_page
from web.ops.write import OPERATIONS
from web.parts.tables import Column
from web.request import PageRequest

HEAD = (
    Column("Account"),
    Column("Status"),
    Column("Credit", "USD", is_number=True),
    Column("Debt", "USD", is_number=True),
    Column("Since"),
)


class AccountsQuery(msgspec.Struct, frozen=True):
    """``find``: an account's id or name."""

    find: str = ""
    cursor: str = ""


class AccountRow(msgspec.Struct, frozen=True):
    """An account in the list."""

    id: str
    name: str
    status: str
    credit_usd: str
    debt_usd: str
    created_at: datetime


class AccountsPage(Page, frozen=True, kw_only=True):
    """The list. ``not_found``: what was looked for and is not there."""

    template: ClassVar[str] = "ops/accounts.html"

    head: tuple[Column, ...]
    rows: list[AccountRow]
    next_href: str | None
    find: str
    not_found: str = ""


async def show(request: PageRequest) -> Answer:
    """A page of accounts, or the way to the one that was looked for."""
    query = request.query_as(AccountsQuery)
    not_found = ""
    if query.find:
        try:
            found = await request.run("admin_retrieve_account", AccountRow, path={"account_id": query.find})
            return Redirect(to=f"/ops/accounts/{found.value.id}", status=302)
        except OperationRefused as refused:
            not_found = refused.error.message
    listed = await request.run("list_accounts", Listed[AccountRow], query=cursor_of(request, limit=50))
    return AccountsPage(
        title="Accounts",
        crumbs=(OPERATIONS, Crumb("Accounts")),
        head=HEAD,
        rows=listed.value.data,
        next_href=next_page(request, listed.value),
        find=query.find,
        not_found=not_found,
    )
