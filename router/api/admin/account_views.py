"""``/admin/v1/account-views``: an operator sees an account as its owner does, for half an hour, and changes nothing."""

from typing import Annotated, ClassVar, Literal

from fastapi import Query
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from router.api.admin.references import account_of
from router.api.admin.request import Read, Write
from router.api.fields import AccountIdText, AccountRef, AccountViewIdText, Instant, MemberIdText, text_of
from router.api.forms import Answer, Body, Page, PageQuery, answer_of
from router.api.operation import ALL, OPS, V1, Operations
from router.changes.transaction import UnitOfWork
from router.errors import NotAllowed
from router.identity.account_views import (
    REASON_MAX,
    AccountView,
    end_view,
    get_view,
    list_views,
    start_view,
)
from store.ids import AccountViewId, wire

operations = Operations("account-views", f"{V1}/account-views", tag="Accounts")


class AccountViewOut(Answer):
    """An operator's look at an account, which its owners see in their audit."""

    columns: ClassVar[tuple[str, ...]] = (
        "id",
        "account_name",
        "operator",
        "reason",
        "started_at",
        "expires_at",
        "ended_at",
    )

    id: AccountViewIdText
    account: AccountIdText
    account_name: str
    member: MemberIdText
    operator: str = Field(description="Whose it is, by e-mail address.")
    reason: str
    started_at: Instant
    expires_at: Instant = Field(description="When it ends by itself; with the operator's session, if that is earlier.")
    ended_at: Instant | None = Field(description="When it was ended before that.")
    object: Literal["account_view"] = "account_view"


class AccountViewStart(Body):
    """Which account is looked at, and why."""

    account: AccountRef = Field(description="The account, by id or name.")
    reason: Annotated[str, text_of(REASON_MAX)] = Field(description="Why. The account's owners read it in their audit.")


class AccountViewQuery(PageQuery):
    """Which views."""

    account: AccountRef | None = Field(None, description="Those of this account, by id or name.")


@operations.get("", verb="list", summary="List who saw which account as its owner", roles=ALL)
async def list_(admin: Read, query: Annotated[AccountViewQuery, Query()]) -> Page[AccountViewOut]:
    """All of them, the newest first."""
    known = query.after_id(AccountViewId)
    before = None if known is None else AccountViewId(known)

    async def ask(connection: AsyncConnection) -> list[AccountViewOut]:
        account_id = None if query.account is None else (await account_of(connection, query.account)).id
        rows = await list_views(connection, account_id=account_id, before=before, most=query.limit + 1)
        return [_out(row) for row in rows]

    return admin.page(query, await admin.read(ask), lambda row: wire(AccountViewId, row.id))


@operations.get("/{view_id}", verb="show", summary="Retrieve a view of an account", roles=ALL)
async def retrieve(admin: Read, view_id: AccountViewIdText) -> AccountViewOut:
    """One of them."""

    async def ask(connection: AsyncConnection) -> AccountViewOut:
        return _out(await get_view(connection, view_id))

    return await admin.read(ask)


@operations.post("", verb="start", summary="See an account as its owner does", roles=OPS, status=201)
async def start(admin: Write, body: AccountViewStart) -> AccountViewOut:
    """Start to see an account's pages as its owner does, in a browser in which this operator is signed in.

    It changes nothing, shows no secret, lasts half an hour, and ends the operator's view of another account. Started
    in a browser it ends with that session; started with a key it is for any session of the operator.
    """
    operator = admin.exchange.operator
    if operator is None:
        raise NotAllowed("Who sees an account is a person: sign in, or send an operator's key. This machine is none.")

    async def command(work: UnitOfWork) -> AccountViewOut:
        account = await account_of(work.connection, body.account)
        view = await start_view(work, account.id, operator.member_id, operator.session_id, body.reason)
        return _out(view)

    return await admin.change(command)


@operations.post("/{view_id}/end", verb="end", summary="End a view of an account", roles=OPS)
async def end(admin: Write, view_id: AccountViewIdText) -> AccountViewOut:
    """End one's own; on the machine, anybody's."""
    member_id = None if admin.exchange.operator is None else admin.exchange.operator.member_id

    async def command(work: UnitOfWork) -> AccountViewOut:
        return _out(await end_view(work, view_id, member_id))

    return await admin.change(command)


def _out(view: AccountView) -> AccountViewOut:
    return answer_of(AccountViewOut, view, account=view.account_id, member=view.member_id)
